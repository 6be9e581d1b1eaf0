"""Caduceus: bidirectional Mamba, plain (Ph) or reverse-complement equivariant (PS).

B batch, L sequence length (bp), D width, K task outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from dnabench.models import _suite_recipes
from dnabench.models.heads import (
    LETTER_CHOICES,
    READS_LETTERS,
    n_words,
    network,
    spare_weight_decay,
)
from dnabench.registry import MODELS
from dnabench.types import Language, Model, Published, Recipe, Task, Weights
from dnabench.weights import prefixed

if TYPE_CHECKING:
    from torch import Tensor

VOCABULARY = 16  # 12 ids, rounded up to a multiple of 8
IDS = [7, 8, 9, 10, 11, 4, 0, 1, 3]  # of A, C, G, T, N, padding, [CLS], [SEP], [MASK] in it
COMPLEMENT = [0, 1, 2, 3, 4, 5, 6, 10, 9, 8, 7, 11, 12, 13, 14, 15]
AGAIN = 2**21  # values of a sequence in a layer: 8,192 bp at width 256, for which it keeps 400 MB
OPTIONS: dict[str, Any] = {"width": 256, "layers": 4, "exempt": True, **READS_LETTERS}


def count(options: Mapping[str, Any]) -> int:
    """Exact number of backbone parameters, equal for Ph and PS.

    Source:
        docs/models.md#sizes-of-caduceus; equal to the counts of the authors' code (golden records).
    """
    d, n = {**OPTIONS, **options}["width"], {**OPTIONS, **options}["layers"]
    rank = math.ceil(d / 16)
    direction = 10 * d + 2 * d * (rank + 32) + 2 * d * rank + 2 * d + 32 * d + 2 * d
    return int(VOCABULARY * d + d + n * (6 * d * d + 2 * direction + d))


def build(task: Task, options: Mapping[str, Any], both_strands: bool) -> Any:
    """Caduceus with a mean-pooled linear head.

    Args:
        task: gives K.
        options: width D, layers; pooling; tokenizer, for Ph also one of words, with an embedding
            of `vocabulary` rows. A word has no complement, so PS reads letters only. exempt: True
            = the parameters of `without_decay` have no weight decay, as in the authors' code;
            False = every parameter has it, as in records from before 2026-11-28.
        both_strands: True = PS: the same weights read the sequence and its reverse complement,
            which trade places at every layer, and the head reads the mean of the two. False = Ph.

    Returns:
        A torch module: `forward(ids (B, L), mask (B, L) or None) -> logits float32 (B, K)`.
        `backbone(ids, mask)` gives float32 (B, L, D), for PS (B, L, 2 D): the reverse complement
        of a sequence gives the same values with L and 2 D flipped. Weights are drawn
        from the global generator of torch. With `exempt`, `param_groups(recipe)` gives the
        optimiser's groups.

    Raises:
        ValueError: for a width or a number of layers below 1.

    Accuracy:
        With equal weights the backbone is within 1e-4 of the authors' code (three golden records).
        PS gives both strands the same logits to float32 rounding. Masked padding must be on the
        right; each sequence is flipped within its own length, so a score does not depend on it.
        Long sequences are read in parts, equal apart from rounding: see `BiMamba.residual`.

    Source:
        Schiff et al. 2024, arXiv 2403.03234; tensor names of kuleshov-group/caduceus, released
        configurations (fused_add_norm: the halves of PS trade places). Ours: the scan in plain
        torch; masked padding on the right (theirs is on the left, read by the layers, and part of
        the mean: padding=left-pad); no [SEP]; the mean of PS is taken before the head, which is
        linear.
    """
    d = int(options["width"])
    head = _strand_head(d, task.n_outputs) if both_strands else None
    net = network(
        task, backbone(options, both_strands), d, str(options.get("pooling", "mean")), head
    )
    return spare_weight_decay(net, without_decay) if options.get("exempt", True) else net


def without_decay(name: str) -> bool:
    """Whether a parameter goes without weight decay, 33 of 72 tensors of four layers.

    Source:
        kuleshov-group/caduceus configs/config.yaml, `optimizer_param_grouping`, as their code
        applies it: A_log, D, the biases of dt_proj and conv1d, and the embedding.
    """
    exempt = (".A_log", ".D", ".dt_proj.bias", ".conv1d.bias")
    return name.endswith(exempt) or ".word_embeddings." in name


def backbone(options: Mapping[str, Any], both_strands: bool) -> Any:
    """The network without its head, under the authors' tensor names; see `build`."""
    import torch
    from torch import nn

    from dnabench.models._layers import lean
    from dnabench.models.kernels.scan import BiMamba, reversal, reverse

    o = {**OPTIONS, **options}
    d, n = o["width"], o["layers"]
    letters = str(o["tokenizer"]).startswith("char")
    for name in ("width", "layers"):
        if o[name] < 1:
            raise ValueError(f"{name} is {o[name]}; Caduceus needs at least 1")

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            mixer = BiMamba(d, n)
            self.mixer = nn.ModuleDict({"submodule": mixer}) if both_strands else mixer
            self.norm = nn.RMSNorm(d, eps=1e-5)

        def forward(self, h: Tensor, order: Tensor | None) -> Tensor:
            mixer: Any = self.mixer["submodule"] if both_strands else self.mixer  # type: ignore[index]
            return mixer.residual(self.norm, h, order)  # type: ignore[no-any-return]

    class Caduceus(nn.Module):
        vocabulary: Tensor
        complement: Tensor

        def __init__(self) -> None:
            super().__init__()
            table: Any = nn.Embedding(VOCABULARY if letters else n_words(o), d)
            nn.init.normal_(table.weight, std=0.02)
            words = nn.ModuleDict({"embedding": table}) if both_strands else table
            self.embeddings = nn.ModuleDict({"word_embeddings": words})
            self.layers = nn.ModuleList(Layer() for _ in range(n))
            self.norm_f = nn.RMSNorm(d, eps=1e-5)
            self.register_buffer("vocabulary", torch.tensor(IDS), persistent=False)
            self.register_buffer("complement", torch.tensor(COMPLEMENT), persistent=False)

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            ids = self.vocabulary[ids.long()] if letters else ids.long()
            if both_strands:
                return self.strands(ids, mask)
            h, order = self.embed(ids), reversal(mask)
            for layer in self.layers:
                h = lean(layer, h, order, long=AGAIN)
            return self.norm_f(h)  # type: ignore[no-any-return]

        def strands(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            """Both strands as one batch, each reversed before every layer.

            As in the authors' code the halves trade places there, so they end swapped after an odd
            number of layers.
            """
            batch = ids.shape[0]
            pair = [ids, self.complement[reverse(ids, reversal(mask))]]
            order = reversal(None if mask is None else mask.repeat(2, 1))
            h = self.embed(torch.cat(pair if n % 2 == 0 else pair[::-1]))
            for layer in self.layers:
                h = reverse(h, order).flip(-1)
                h = lean(layer, h, order, long=AGAIN)
            h = self.norm_f(h)
            return torch.cat([h[:batch], reverse(h, order)[batch:].flip(-1)], -1)

        def embed(self, ids: Tensor) -> Tensor:
            words: Any = self.embeddings["word_embeddings"]
            return (words["embedding"] if both_strands else words)(ids)  # type: ignore[no-any-return]

    return Caduceus()


def _strand_head(width: int, n_outputs: int) -> Any:
    """A linear layer on the mean of both strands; takes (B, 2 D), the other strand flipped."""
    from torch import nn

    class StrandHead(nn.Linear):
        def forward(self, pooled: Tensor) -> Tensor:
            this, other = pooled.chunk(2, -1)
            return super().forward((this + other.flip(-1)) / 2)

    return StrandHead(width, n_outputs)


def language_head(backbone: Any, options: Mapping[str, Any], both_strands: bool) -> Any:
    """The word embeddings as output table; PS adds what the other strand says of it."""
    import torch.nn.functional as F
    from torch import nn

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._of = [backbone]  # a list, so that it stays outside

        def forward(self, h: Tensor) -> Tensor:
            words: Any = self._of[0].embeddings["word_embeddings"]
            if not both_strands:
                return F.linear(h, words.weight)
            table, (this, other) = words["embedding"].weight, h.chunk(2, -1)
            return F.linear(this, table) + F.linear(other.flip(-1), table[self._of[0].complement])

    return Tied()


def language(both_strands: bool) -> Language:
    """A file may repeat the tied table, and has one of complements for PS."""
    table = "backbone.embeddings.word_embeddings." + "embedding." * both_strands + "weight"
    return Language(
        head=partial(language_head, both_strands=both_strands), prefix="lm_head.",
        same={"lm_head.weight": table, "lm_head.lm_head.weight": table,
              "lm_head.complement_map": ""},
        letters=tuple(IDS[:5]), strands="one" if both_strands else "random",
    )  # fmt: skip


PS_CHOICES = {**LETTER_CHOICES, "tokenizer": ("char", "char-sep", "char-cls-sep")}


def weights(repo: str, revision: str) -> Weights:
    """The official weights of a repository; without a revision here the user must name one."""
    unused = ("lm_head.", "score.", "decoder.")
    inside = "caduceus.backbone."
    table = f"{inside}embeddings.word_embeddings."
    return Weights(
        repo=f"kuleshov-group/{repo}", files=("model.safetensors",), revision=revision,
        rename=prefixed({inside: ""}, unused=(*unused, f"{table}complement_map")),
        license="Apache-2.0" if "131k" in repo else "none stated",
    )  # fmt: skip


def add(name: str, both_strands: bool, repo: str, revision: str, **options: Any) -> None:
    """Register one preset."""
    full = {**OPTIONS, **options}
    MODELS.add(
        Model(
            name=name,
            family=name.partition("-")[0],
            build=partial(build, both_strands=both_strands),
            options=full,
            n_params=count(full),
            min_length=1,
            context=1_000_000,  # the authors trained with at most 131,072
            source=f"arXiv 2403.03234, d_model {full['width']}, n_layer {full['layers']}",
            license="Apache-2.0 (our implementation; the authors' code is Apache-2.0)",
            choices=LETTER_CHOICES if not both_strands else PS_CHOICES,
            reduced={"layers": 2, "width": 64},
            recipes=recipes(both_strands),
            weights=weights(repo, revision),
            lora_targets=("in_proj", "out_proj"),
            language=language(both_strands),
        )
    )


def recipes(both_strands: bool) -> dict[str, Recipe]:
    """The house recipe and, per suite, the smallest values of the grids the authors searched."""
    rc: Literal["none", "conjoin"] = "none" if both_strands else "conjoin"
    common: dict[str, Any] = {
        "lr": 1e-3, "weight_decay": 0.1, "batch": 128, "rc": rc, "padding": "left-pad",
        "options": {"exempt": True},
    }  # fmt: skip
    why = {
        "exempt": f"{REPO} configs/config.yaml, optimizer_param_grouping, as their code applies it",
        "rc": f"{REPO} slurm_scripts/wrapper_run_genomics.sh, conjoin_test",
        "precision": "house: any device; theirs is fp16",
        "padding": f"{REPO} src/dataloaders/genomics.py: left, [PAD]",
    }
    differs = (
        "theirs is fp16 (--precision fp16 on CUDA), ours fp32; theirs takes the better of lr 1e-3 "
        "and 2e-3 and of batch 128 and {} for each task, ours the first"
    )
    nt = Published(
        **common, epochs=20, horizon="train", source=f"{REPO} {SCRIPTS[0]}",
        differs=differs.format(512),
        why=why | {"horizon": f"{REPO} configs/dataset, train_len: validation is held out of it"},
    )  # fmt: skip
    gb = Published(
        **common, epochs=10, horizon="train+test", source=f"{REPO} {SCRIPTS[1]}",
        differs=differs.format(256), tasks=LENGTHS,
        why=why | {"horizon": f"{REPO} configs/dataset, train_len: train and test together",
                   "max_length": f"{REPO} configs/dataset, max_length of each task"},
    )  # fmt: skip
    return {
        "default": Recipe(),
        "nt": nt,
        "nt-house": nt.house("nt"),
        "genomic_benchmarks": gb,
        "genomic_benchmarks-house": gb.house("genomic_benchmarks"),
        **({} if both_strands else _suite_recipes.CADUCEUS_PH),
    }


REPO = "kuleshov-group/caduceus"
SCRIPTS = (
    "slurm_scripts/run_nucleotide_transformer.sh and configs/experiment/hg38/"
    "nucleotide_transformer.yaml",
    "slurm_scripts/run_genomics_benchmark.sh and configs/experiment/hg38/genomic_benchmark.yaml",
)
# of tasks whose longest sequences are longer
LENGTHS = {"dummy_mouse_*": {"max_length": 1024}} | {
    f"human_{name}": {"max_length": 512}
    for name in ("enhancers_ensembl", "ensembl_regulatory", "ocr_ensembl")
}
# Revisions of the hub's main branch as pinned in tcztzy/evo.cpp@c281681 and bioedca/tbox-finder,
# for 256 x 4, 118 x 4 and 256 x 16; "" where none was found
REVISIONS = {
    "ph": (
        "9865108985311772704c2ece0bac082153a6167b",
        "",
        "b0477522ac5d044ad03578aa724ec8e4bdbd405b",
    ),
    "ps": (
        "2de36509b76b4395a97bfa39acafeb6f17b537c5",
        "51d88e326c0fadb0dcc63efdd7345119ce672ce5",
        "d89eeb853136ea64da7feb3d0c8e909771b17ae6",
    ),
}
SHORT = "caduceus-{}_seqlen-1k_d_model-{}_n_layer-4_lr-8e-3"
LONG = "caduceus-{}_seqlen-131k_d_model-256_n_layer-16"
for kind, (usual, small, deep) in REVISIONS.items():
    paired = kind == "ps"
    add(f"caduceus_{kind}", paired, SHORT.format(kind, 256), usual)
    add(f"caduceus_{kind}-470k", paired, SHORT.format(kind, 118), small, width=118)
    add(f"caduceus_{kind}-7.7m", paired, LONG.format(kind), deep, layers=16)
