"""A kept network for other programs: ONNX, an exported program of PyTorch, or transformers.

B batch, T tokens, K task outputs.
"""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dnabench.cache import replacing
from dnabench.models.heads import NO_PLACES
from dnabench.models.kernels.context import Kernels
from dnabench.networks.answers import unit_of
from dnabench.networks.network import Network
from dnabench.tokens.tokenizers import TOKENIZERS, Tokenizer
from dnabench.types import PAD, A, N, Sequences, T

FORMS = {"onnx": "model.onnx", "torch-export": "model.pt2", "hf": "hf"}  # usual names
ROUNDING = 1e-3  # of the largest logit, by which the file's may differ from the network's
BOTH_STRANDS = "give it both strands and take the mean, as in training"  # rc=conjoin
ONE_OF_PAIR = (
    "it reads one allele's window: the effect is f(alternative) - f(reference), of two calls"
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # which messages of the ONNX exporter have
CALL = re.compile(r'raised this error:\s+File "(.+)", line (\d+)')  # in those of torch.export
OTHERS = (-5, -10, -12, -15, 17)  # bp more; lengths tried too: shorter, every remainder by four
Run = Callable[[Tensor, Tensor], Tensor]


class Exported(NamedTuple):
    """A file, or a folder, that was written.

    any_length: whether it takes other numbers of tokens than that of `tokens`. difference: the
    largest of its logits to the network's, over all batches that were tried. longer: whether one
    longer than in training was among them; not where the network itself takes none.
    """

    path: Path
    any_length: bool
    tokens: int
    difference: float
    longer: bool = False


def reading(network: Network) -> list[str]:
    """How an exported network must be used to give the network's own answers; often []."""
    recipe, length, tokenizer = network.recipe, network.task.length, _tokenizer(network)
    notes = [note for note in (ONE_OF_PAIR * network.task.pairs, unit_of(network.card)) if note]
    if most := recipe.max_length:
        kept = f"{most:,}" if tokenizer.end is None else f"{most - 1:,} and the last"
        notes.append(f"of more than {most:,} tokens give it the first {kept}, as in training")
    if recipe.padding != "mask":
        what = f"N (id {N})" if recipe.padding == "left-n" else f"padding (id {PAD})"
        notes.append(
            f"fill shorter sequences on the left with {what} to {length:,} bp, and give a mask of "
            "ones, as in training"
        )
    return [*notes, BOTH_STRANDS] if network.card.strands == "conjoin" else notes


def _tokenizer(network: Network) -> Tokenizer:
    return network.tokenizer or TOKENIZERS[network.model.tokenizer]


class OneStrand(nn.Module):
    """`forward(ids int64 (B, T), mask float32 (B, T)) -> logits (B, K)`, per base (B, T, K)."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Of the strand that is given; the mask is 1 on tokens and 0 on padding."""
        return self.net(ids, mask).float()  # type: ignore[no-any-return]


def export(network: Network, form: str, to: Path) -> Exported:
    """Write a network to a file, read that again, and compare their logits.

    What it was trained for is in the file: task, classes, tokenizer, strands, temperature, trial,
    and under `reading` how to use it where one call is not the network's answer.

    Args:
        network: on the CPU.
        form: a key of FORMS.
        to: the file; of hf the folder.

    Raises:
        ValueError: another form; a model that trains itself, or whose operations the format lacks;
            a file whose logits differ. Nothing is written then.
        ModuleNotFoundError: the extra packages are missing.
    """
    if form not in FORMS:
        raise ValueError(f"--format {form!r}: write {', '.join(FORMS)}")
    name = network.model.name
    if network.model.custom_trainer:
        raise ValueError(f"{name} cannot be exported: it is no network of PyTorch")
    if getattr(network.net, "words", False):  # of `with_convolutions`
        raise ValueError(f"{name} cannot be exported: {NO_PLACES}")
    if form == "hf":
        from dnabench.networks.export_hf import write_folder

        return Exported(to, True, *write_folder(network, to, _about(network), ROUNDING))
    write = _onnx if form == "onnx" else _torch_export
    if form == "onnx":
        _need("onnx", "onnxscript", "onnxruntime")
    inputs, why = _batch(network, 3), ""  # why the last attempt failed, which asks least
    for any_length in (True, False):
        try:
            with warnings.catch_warnings(), Kernels("direct"), _quiet(), torch.no_grad():
                warnings.simplefilter("ignore")
                data, run = write(
                    OneStrand(network.net.eval()), inputs, any_length, _about(network)
                )
                difference, longer = _difference(network, run, any_length)
            if difference <= ROUNDING:
                break
            why = f"it gives other logits, off by {difference:.2g}"
        except Exception as e:  # every layer of the exporters has errors of its own
            why = _reason(e)
    else:
        raise ValueError(f"{name} cannot be exported to {form}, another format may do: {why}")
    with replacing(to) as file:
        file.write(data)
    return Exported(to, any_length, inputs[0].shape[1], difference, longer)


def _reason(error: BaseException) -> str:
    """Why an exporter gave up, in one line: its first cause, and the line of code if it names it.

    The exporters wrap a cause in errors that only say in which of their steps it came up.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    said = COLOUR.sub("", str(error)).strip()
    line = CALL.search(said)
    where = f" ({Path(line[1]).name}, line {line[2]})" if line else ""
    return f"{type(error).__name__}: {said.partition(chr(10))[0][:200]}{where}"


def _need(*packages: str) -> None:
    from importlib.util import find_spec

    if lacking := [p for p in packages if find_spec(p) is None]:
        raise ModuleNotFoundError(
            f"--format onnx needs {', '.join(lacking)}: pip install 'dnabench[export]'"
        )


def _quiet() -> Any:
    """A context in which the exporters do not print."""
    from contextlib import ExitStack, redirect_stderr, redirect_stdout

    stack = ExitStack()
    stack.enter_context(redirect_stdout(io.StringIO()))
    stack.enter_context(redirect_stderr(io.StringIO()))
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    stack.callback(logging.disable, before)
    return stack


def _batch(network: Network, n: int, more: int = 0) -> tuple[Tensor, Tensor]:
    """Ids and mask of n random sequences, `more` bp longer than those of training.

    Those of training's length are read as in training, some shorter where they are then padded on
    the left; others are neither cut nor filled.
    """
    least, recipe = network.model.min_length, network.recipe
    length = max(network.task.length + more, least)
    codes = np.random.default_rng(0).integers(A, T + 1, (n, length), np.uint8)
    seqs = Sequences(codes.reshape(-1), np.arange(n + 1, dtype=np.int64) * length)
    if more:
        encoded = _tokenizer(network)(seqs, length, "mask")
    else:
        if recipe.padding != "mask":
            seqs = Sequences.parse([seqs[i][: max(length - 7 * i, least)] for i in range(n)])
        encoded = _tokenizer(network).shortened(seqs, length, recipe.padding, recipe.max_length)
    ids, width = torch.from_numpy(encoded.ids).long(), encoded.ids.shape[1]
    lengths = np.full(n, width) if encoded.lengths is None else encoded.lengths
    mask = torch.from_numpy(np.arange(width) < lengths[:, None]).float()
    return ids, mask


def _about(network: Network) -> dict[str, str]:
    card = network.card
    about: dict[str, Any] = {
        "dnabench": json.dumps({"trial": card.record.trial.id, "model": network.model.name}),
        "task": card.task["name"], "kind": card.kind, "classes": json.dumps(card.task["classes"]),
        "tokenizer": network.tokenizer.name if network.tokenizer else network.model.tokenizer,
        "strands": card.strands, "temperature": str(card.temperature),
        "licenses": json.dumps(dict(card.licenses)),
    }  # fmt: skip
    notes = reading(network)
    return about | ({"reading": "; ".join(notes)} if notes else {})


def _shapes(any_length: bool) -> dict[str, Any]:
    dynamic = torch.export.Dim.DYNAMIC
    shape = {0: dynamic, 1: dynamic} if any_length else {0: dynamic}
    return {"ids": shape, "mask": shape}


def _torch_export(
    net: nn.Module, inputs: tuple[Tensor, Tensor], any_length: bool, about: dict[str, str]
) -> tuple[bytes, Run]:
    program = torch.export.export(net, inputs, dynamic_shapes=_shapes(any_length))
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"dnabench.json": json.dumps(about)})
    file.seek(0)
    loaded = torch.export.load(file).module()
    return file.getvalue(), lambda ids, mask: loaded(ids, mask)


def _onnx(
    net: nn.Module, inputs: tuple[Tensor, Tensor], any_length: bool, about: dict[str, str]
) -> tuple[bytes, Run]:
    import onnxruntime  # type: ignore[import-untyped]

    program = torch.onnx.export(
        net, inputs, dynamo=True, dynamic_shapes=_shapes(any_length), verbose=False,
        input_names=["ids", "mask"], output_names=["logits"],
    )  # fmt: skip
    assert program is not None
    program.model.metadata_props.update(about)
    data = program.model_proto.SerializeToString()
    silent = onnxruntime.SessionOptions()
    silent.log_severity_level = 4  # what it cannot run it raises too
    session = onnxruntime.InferenceSession(data, silent, providers=["CPUExecutionProvider"])
    known = {i.name for i in session.get_inputs()}

    def run(ids: Tensor, mask: Tensor) -> Tensor:
        given = {"ids": ids.numpy(), "mask": mask.numpy()}
        (found,) = session.run(None, {k: v for k, v in given.items() if k in known})
        return torch.from_numpy(found)

    return data, run


def _difference(network: Network, run: Run, any_length: bool) -> tuple[float, bool]:
    """The largest difference over the largest logit, for batches of other sizes and lengths.

    NaN if one is. And whether a batch longer than in training was compared.
    """
    found, longer = [], False
    for n, more in ((3, 0), *((5, bp) for bp in (OTHERS if any_length else (0,)))):
        ids, mask = _batch(network, n, more)
        try:
            own = network.net(ids, mask)
        except Exception:  # as of a table of positions that ends
            if more <= 0:
                raise
            continue
        scale = max(1.0, float(own.abs().max()))
        found.append(float((run(ids, mask) - own).abs().max()) / scale)
        longer |= more > 0
    return float(np.max(found)), longer
