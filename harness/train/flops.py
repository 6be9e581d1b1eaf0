"""Floating-point operations of a network on one sequence, counted by torch in a forward pass.

L sequence length in bp, T tokens, D width, G directions, E channels, S states.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dnabench.tokens.tokenizers import TOKENIZERS, Tokenizer
from dnabench.train.adapt import with_head
from dnabench.types import Model, Recipe, Sequences, Task

SCAN = 9  # FLOP of one state in one step of a selective scan
STEP = 64  # tokens; if the counts of 1, 2 and 3 STEP are on a line, so are longer sequences
LONGEST_RUN = 2**15  # tokens; no longer sequence is run on the CPU to be counted
_OF_SCAN = (".bmm", ".baddbmm")  # the other parts of a mixer use other operations


def flops_per_sequence(
    model: Model, options: Mapping[str, Any], task: Task, tokens: int = 0,
    recipe: Recipe | None = None,
) -> int | None:  # fmt: skip
    """FLOP of a forward pass over one sequence of `task.length` bp; a multiply and add are 2.

    A training step takes about three times as many. Matrix products, convolutions (padding
    included), attention, Fourier transforms and selective scans count; elementwise operations
    (activations, norms, sums) do not.

    `tokens` is T where the tokenizer does not determine it (BPE); 0 = as many as L bp make. The
    recipe names the head; None = the model's own.

    Returns:
        None for a model that is not a network, a BPE model without `tokens`, more tokens than the
        model reads, and a network that can be run in neither of the two ways below.

    Accuracy:
        Exact for the operations that count: ConvNova at D = 128, k = 9 has 3.365 MFLOP a token.
        A real Fourier transform of n is 2.5 n log2 n, a scan 9 T G E S, however it is computed.
        The network runs on torch's meta device, without numbers; if it cannot, on the CPU, where
        the count must be linear in T or T be at most 32,768. Neither touches the global random
        generator.

    Source:
        torch.utils.flop_counter, tests/test_flops.py against hand formulas. 2.5 n log2 n: the
        convention of benchFFT (Frigo & Johnson). 9 T E S: Gu & Dao's in mamba issue 110.
    """
    t = tokens or n_tokens(model, options, task.length)
    if model.custom_trainer or not t or (model.max_tokens and t > model.max_tokens):
        return None

    def build() -> Any:
        return with_head(model.build(task, options), model, task, options, recipe or Recipe())

    return flops_of(build, t)


def flops_of(build: Callable[[], Any], tokens: int) -> int | None:
    """FLOP of a forward pass over one sequence by the network that `build` makes; as above."""
    for device in ("meta", "cpu"):
        try:
            return _counted(build, tokens, device)
        except Exception:  # the device lacks an operation, or a plugin fails in its own way
            continue
    return None


def n_tokens(model: Model, options: Mapping[str, Any], length: int) -> int:
    """T of a sequence of `length` bp; 0 if it depends on the letters, as with BPE."""
    tokenizer = TOKENIZERS.get(model.tokenizer_name(options))
    if model.own_tokenizer is not None:
        tokenizer = model.own_tokenizer()
    if tokenizer is None or tokenizer.by_letters:
        return 0
    letters = Sequences(np.zeros(length, np.uint8), np.array([0, length]))
    return int(tokenizer(letters, length, "mask").ids.shape[1])


def tokens_of_longest(
    tokenizer: Tokenizer | None, seqs: Sequences, length: int, recipe: Recipe
) -> int:
    """T of the longest sequence, the first of equals, where T depends on the letters; else 0.

    Args:
        tokenizer: None = letters.
        seqs: N of them.
        length: the task's longest, in bp.
        recipe: may cut sequences to `max_length`.
    """
    if tokenizer is None or not tokenizer.by_letters or not len(seqs):
        return 0
    longest = seqs.take(np.array([seqs.lengths.argmax()]))
    plain = tokenizer.uncached or tokenizer  # one sequence is not worth a file
    ids = plain.shortened(longest, length, recipe.padding, recipe.max_length).ids
    return int(ids.shape[1])


def _counted(build: Callable[[], Any], tokens: int, device: str) -> int | None:
    import torch

    from dnabench.models.kernels.context import Kernels

    with (
        torch.random.fork_rng(devices=[]), torch.device(device), torch.no_grad(), Kernels("direct")
    ):  # fmt: skip
        net = build().eval()
        if device == "meta":
            return _count(net, tokens)
        if tokens > 3 * STEP and (line := _line(net)) is not None:
            return line[0] + line[1] * tokens // STEP
        return _count(net, tokens) if tokens <= LONGEST_RUN else None


def _line(net: Any) -> tuple[int, int] | None:
    """(count at T = 0, increase per STEP tokens) if the count is linear in T, else None."""
    try:
        a, b, c = (_count(net, n * STEP) for n in (1, 2, 3))
    except (RuntimeError, ValueError):  # too short for the network
        return None
    return (2 * a - b, b - a) if c - b == b - a else None


def _count(net: Any, tokens: int) -> int:
    """FLOP of one sequence; selective scans by formula instead of their matrix products."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from dnabench.models.kernels.scan import BiMamba

    counter = FlopCounterMode(display=False, custom_mapping=_formulas())
    scans, before = list[int](), list[int]()

    def products() -> int:
        counts = counter.get_flop_counts().get("Global", {})
        return sum(n for op, n in counts.items() if str(op).endswith(_OF_SCAN))

    def enter(module: Any, inputs: Any) -> None:
        before.append(products())

    def leave(module: Any, inputs: Any, output: Any) -> None:
        numbers = module.mamba_fwd.A_log.numel() + module.mamba_rev.A_log.numel()  # G E S
        sequences, length = inputs[0].shape[:2]
        scans.append(SCAN * sequences * length * numbers - (products() - before.pop()))

    mixers = [m for m in net.modules() if isinstance(m, BiMamba)]
    hooks = [m.register_forward_pre_hook(enter) for m in mixers]
    hooks += [m.register_forward_hook(leave) for m in mixers]
    with counter:
        words = net.evenly(tokens) if hasattr(net, "evenly") else ()
        net(torch.zeros(1, tokens, dtype=torch.int16), None, *words)
    for hook in hooks:
        hook.remove()
    return int(counter.get_total_flops()) + sum(scans)


def _formulas() -> dict[Any, Any]:
    """What torch's counter lacks: real Fourier transforms, and attention as a CPU computes it."""
    import torch
    from torch.utils.flop_counter import sdpa_flop_count

    def transform(x: Any, dim: Any, *rest: Any, out_shape: Any = None, **words: Any) -> int:
        """One transform for each row; its spectrum has n / 2 + 1 numbers, the other side n."""
        n: int = max(x[dim[-1]], out_shape[dim[-1]])
        rows: int = math.prod(x) // x[dim[-1]]
        return round(2.5 * n * math.log2(max(n, 2)) * rows)

    def attention(q: Any, k: Any, v: Any, *rest: Any, out_shape: Any = None, **words: Any) -> int:
        return int(sdpa_flop_count(q, k, v))  # type: ignore[no-untyped-call]

    aten = torch.ops.aten
    flash = aten._scaled_dot_product_flash_attention_for_cpu
    return {aten._fft_r2c: transform, aten._fft_c2r: transform, flash: attention}
