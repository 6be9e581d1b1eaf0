"""Thirty steps of six published recipes, against a loop written from their configurations.

    python tests/bench/fidelity.py tests/bench/fidelity.json          # write the figures
    python tests/bench/fidelity.py --check tests/bench/fidelity.json  # compare with them

The loop below shares with dnabench only the networks, which golden records compare with the
authors' code, and the random draws of order, strands and dropout. Rates, groups, padding, cuts and
batch norms are written out once more, from docs/models.md and the configurations that the recipes
name. Weights are those of docs/models.md#golden-records, sequences of a generator by hand. Sizes
are small: batch 16 of 80 sequences of 40 to 60 bp, 30 steps.
"""

import argparse
import copy
import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
import golden

from dnabench import MODELS, Sequences, Split, Task
from dnabench.splits import streams
from dnabench.tokens.bpe import tokenizer_named
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised
from dnabench.train.schedule import horizon

N_TRAIN, N_TEST, BATCH, EPOCHS, STEPS = 80, 32, 16, 6, 30
NARROW = {"width": 16}
# model -> recipe, its task, options that make it small, recipe fields that make the run short
CASES = {
    "convnova-386k": ("nt", "splice_sites_all", {"blocks": 3}, {"max_length": 66}),
    "hyenadna": ("nt-official", "h3", NARROW, {}),
    "caduceus_ph": ("genomic_benchmarks", "human_ocr_ensembl", NARROW, {"max_length": 48}),
    "legnet": ("genomic_benchmarks", "x", {}, {"norm_batch": 4}),
    "cnn": ("default", "x", {}, {}),
    "dnabert2": (
        "gue", "mouse_0", {"width": 48, "layers": 2, "inner": 96, "vocabulary": 64},
        {"max_steps": STEPS, "warmup": 10, "max_length": 14},
    ),
}  # fmt: skip
LETTERS = "ACGTN"
# as the configurations say: length to pad to, code of the pad (4 N, 5 [PAD]), bp before the cut
PADS = {"convnova-386k": (66, 4), "hyenadna": (60, 5), "caduceus_ph": (48, 5), "legnet": (60, 4)}
WITHOUT_DECAY = {  # endings of names, and parts of names
    "hyenadna": ((), (".implicit_filter.",)),
    "caduceus_ph": ((".A_log", ".D", ".dt_proj.bias", ".conv1d.bias"), (".word_embeddings.",)),
    "dnabert2": (("bias", "LayerNorm.weight", "layernorm.weight"), ()),
}
DECAY = {"cnn": 0.0, "dnabert2": 0.01}  # the others have 0.1


def sequences() -> tuple[list[str], list[int]]:
    """40 to 60 bp each, of a linear congruential generator; class 1 has more G and C."""
    x, texts = 7, []
    for i in range(N_TRAIN):
        letters = []
        for _ in range(40 + 5 * (i % 5)):
            x = (1103515245 * x + 12345) % 2**31
            letters.append(("ACGTGC" if i % 2 else "ACGT")[(x >> 16) % (6 if i % 2 else 4)])
        texts.append("".join(letters))
    return texts, [i % 2 for i in range(N_TRAIN)]


def task_named(name: str) -> Task:
    """A task of the sizes above, of a suite's name; its data are not loaded from it."""
    return Task(
        name=f"x/{name}", kind="binary", classes=("0", "1"), metric="mcc", length=60, data="",
        counts={"train": N_TRAIN, "test": N_TEST}, load=lambda split: None, source="", license="",
    )  # type: ignore[arg-type, return-value]  # fmt: skip


def reference_rate(model: str, step: int) -> float:
    """Of a step from 0: by hand, from the configurations."""
    if model == "cnn":
        return 1e-3
    if model == "dnabert2":  # transformers: linear, 10 of 30 steps of warm-up
        return 3e-5 * (step / 10 if step < 10 else (STEPS - step) / (STEPS - 10))
    seen = N_TRAIN + (N_TEST if model in ("caduceus_ph", "legnet") else 0)  # train_len
    total = math.ceil(seen / BATCH) * EPOCHS
    peak = {"convnova-386k": 1e-3, "caduceus_ph": 1e-3}.get(model, 6e-4)
    if step < 0.01 * total:
        return 1e-6 + step * (peak - 1e-6) / (0.01 * total)
    return 0.1 * peak + 0.9 * peak * (1 + math.cos(math.pi * step / total)) / 2


def reference_decay(model: str, net: nn.Module) -> dict[str, float]:
    """Name of a parameter -> its weight decay."""
    ends, parts = WITHOUT_DECAY.get(model, ((), ()))
    return {
        name: 0.0 if name.endswith(ends) or any(p in name for p in parts)
        else DECAY.get(model, 0.1)
        for name, _ in net.named_parameters()
    }  # fmt: skip


def inputs(
    model: str, texts: list[str], engine: object
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What the network reads of a batch, by string operations alone."""
    if model in PADS:
        length, pad = PADS[model]
        rows = [[LETTERS.index(c) for c in t[:length]] for t in texts]
        return torch.tensor([[pad] * (length - len(r)) + r for r in rows]), None
    if model == "dnabert2":
        engine.enable_truncation(14)
        rows = [engine.encode(t).ids for t in texts]
    else:
        rows = [[LETTERS.index(c) for c in t] for t in texts]
    width = max(map(len, rows))
    ids = torch.tensor([r + [3 if model == "dnabert2" else 5] * (width - len(r)) for r in rows])
    mask = torch.tensor([[1.0] * len(r) + [0.0] * (width - len(r)) for r in rows])
    return ids, None if bool(mask.all()) else mask


def reference(model: str, net: nn.Module, engine: Any, order_seed: int) -> list[float]:
    """The loss of each step of a plain loop; the network is changed."""
    texts, labels = sequences()
    other = str.maketrans("ACGTN", "TGCAN")
    decay = reference_decay(model, net)
    groups = [
        {"params": [p for n, p in net.named_parameters() if decay[n] == d], "weight_decay": d}
        for d in sorted(set(decay.values()))
    ]
    optimizer = (torch.optim.Adam if model == "cnn" else torch.optim.AdamW)(groups, lr=0.0)
    draws, losses, step = np.random.default_rng(order_seed), list[float](), 0
    torch.manual_seed(order_seed)
    net.train()
    for _ in range(EPOCHS):
        order = draws.permutation(N_TRAIN)
        flips = draws.integers(0, 2 if model == "caduceus_ph" else 1, N_TRAIN)
        for start in range(0, N_TRAIN, BATCH):
            rows = order[start : start + BATCH]
            batch = [texts[r].translate(other)[::-1] if flips[r] else texts[r] for r in rows]
            for group in optimizer.param_groups:
                group["lr"] = reference_rate(model, step)
            optimizer.zero_grad()
            loss, parts = 0.0, 4 if model == "legnet" else 1  # GPUs
            for k in range(parts):
                some = slice(k * BATCH // parts, (k + 1) * BATCH // parts)
                kept = copy.deepcopy(dict(net.named_buffers())) if k else {}
                logits = net(*inputs(model, batch[some], engine))
                target = torch.tensor([labels[r] for r in rows[some]])
                one = nn.functional.cross_entropy(logits, target) / parts
                one.backward()
                loss += float(one.detach())
                for name, buffer in net.named_buffers():  # those of the first GPU count
                    if k:
                        buffer.copy_(kept[name])
            if model != "cnn":
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            losses.append(loss)
            step += 1
    return losses


def run(model: str) -> dict[str, Any]:
    """Rates, weight decay and losses of dnabench; how far they are from the loop's."""
    name, task_name, small, short = CASES[model]
    of, task = MODELS[model], task_named(task_name)
    recipe, options = of.recipes[name].for_task(task.name)
    recipe = dataclasses.replace(recipe, batch=BATCH, epochs=EPOCHS, **short)
    texts, labels = sequences()
    split = Split(Sequences.parse(texts), np.array(labels), np.array([str(i) for i in labels]))
    words = tokenizer_named("bpe", vocabulary=64, train=split.seqs) if model == "dnabert2" else None
    engine = None if words is None else copy.deepcopy(words.encode.engine)  # type: ignore[attr-defined]
    length = recipe.max_length if recipe.max_length and words is None else task.length
    sealed = dataclasses.replace(task, length=length)
    torch.manual_seed(0)
    net = of.build(sealed, {**of.options, **options, **small})
    golden.fill(net)
    twin = copy.deepcopy(net)
    seeds = streams(0, task.name)
    examples = Examples(of, sealed, split, words, scheduled=horizon(recipe, task, 0))
    one = NetLearner(net, examples, Supervised(sealed), recipe, seeds)
    rates, losses = list[float](), list[float]()
    step = one._train_step

    def watched(rows: np.ndarray) -> torch.Tensor:
        losses.append(float(step(rows)))
        rates.append(one._optimizer.param_groups[0]["lr"])
        return torch.tensor(losses[-1])

    one._train_step = watched  # type: ignore[method-assign, assignment]
    for _ in range(one.epochs):
        one.train_epoch()
    names = {id(p): n for n, p in net.named_parameters()}
    decay = {
        names[id(p)]: group["weight_decay"]
        for group in one._optimizer.param_groups for p in group["params"]
    }  # fmt: skip
    theirs = reference(model, twin, engine, seeds.order)
    return {
        "rates": rates, "decay": decay, "losses": losses,
        "rate_off": max(abs(a - reference_rate(model, s)) / (a or 1) for s, a in enumerate(rates)),
        "decay_off": sum(decay[n] != d for n, d in reference_decay(model, twin).items()),
        "loss_off": max(abs(a - b) for a, b in zip(losses, theirs, strict=True)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--check", action="store_true", help="compare with the file")
    args = parser.parse_args()
    found = {model: run(model) for model in CASES}
    figures = {m: {k: f[k] for k in ("rates", "decay", "losses")} for m, f in found.items()}
    print(f"{'model':14} {'tensors':>8} {'exempt':>7} {'rate':>9} {'decay':>6} {'loss':>9}")
    wrong = []
    for model, f in found.items():
        decay = f["decay"]
        exempt = sum(d == 0 for d in decay.values())
        print(f"{model:14} {len(decay):8} {exempt:7} {f['rate_off']:9.1e} {f['decay_off']:6} "
              f"{f['loss_off']:9.1e}")  # fmt: skip
        if f["rate_off"] > 1e-12 or f["decay_off"] or f["loss_off"] > 5e-6:
            wrong.append(f"{model}: not the loop's")
    if args.check:
        before = json.loads(args.file.read_text())
        for model, now in figures.items():
            was = before[model]
            far = max(abs(a - b) for a, b in zip(now["losses"], was["losses"], strict=True))
            if now["decay"] != was["decay"] or not np.allclose(
                now["rates"], was["rates"], rtol=1e-9
            ):
                wrong.append(f"{model}: rates or weight decay are not those of the file")
            if far > 1e-4:
                wrong.append(f"{model}: losses are {far:.1e} from those of the file")
    else:
        args.file.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    print("\n".join(wrong) or "all equal")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
