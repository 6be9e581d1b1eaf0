"""What tests/bench/speed.py measures: its arms, and the rows of its table."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import torch
from bench import official_step as official

from dnabench import MODELS, Sequences
from dnabench.executors.local import KEEP_MEMORY
from dnabench.models.kernels import scan as _scan
from dnabench.models.kernels.context import VARIABLE
from dnabench.tokens.tokenizers import TOKENIZERS
from dnabench.train.batches import Resident

THEIRS, AGAIN, OURS = "theirs", "theirs again", "ours"
KEPT, DIRECT = "theirs, memory kept", "ours, direct"
ARMS = {  # what is in the environment of each
    THEIRS: {}, AGAIN: {}, OURS: KEEP_MEMORY, KEPT: KEEP_MEMORY,
    DIRECT: {**KEEP_MEMORY, VARIABLE: "direct"},
}  # fmt: skip
LENGTH, WIDTH = 500, 128
CODE = {"dilation_schedule": "code"}  # as the authors' code has it
BATCH = 128  # of the loaders
LONG = int(os.environ.get("BENCH_SPEED_BP", "1000000"))  # bp; less for a trial run
TASK = SimpleNamespace(name="bench", kind="binary", n_outputs=2, length=LENGTH)


@dataclass
class Subject:
    """One arm at work.

    step: done once for every ratio. units: how much a step does, to divide its cost by. answer:
    name -> tensor, what must be equal.
    """

    step: Callable[[], object]
    answer: Callable[[], dict[str, torch.Tensor]]
    units: float = 1.0


@dataclass
class Row:
    """A promise.

    make: gives the arm's Subject. gate: least ratio. tolerance: of the answers, the largest
    difference of a tensor relative to its largest number. gflop: of a unit of the authors' step.
    fresh: a new process for every round, whose peak memory counts; the answer is the step's.
    """

    what: str
    make: Callable[[str], Subject]
    gate: float
    tolerance: float = 1e-4
    gflop: float = 0.0
    rounds: int = 9
    fresh: bool = False
    arms: tuple[str, ...] = (THEIRS, AGAIN, OURS)
    more: tuple[str, ...] = ()
    limits: dict[str, float] = field(default_factory=dict)  # GiB, and times less memory


# ConvNova


def networks(arm, options, outputs=2):
    """The arm's network, all with the same weights, a little away from where training starts."""
    torch.manual_seed(0)
    theirs = official.Network(options, outputs)
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(0.01 * torch.randn(p.shape))
    if arm.startswith(THEIRS):
        return theirs
    model = MODELS["convnova"]
    ours = model.build(TASK, {**model.options, **options})
    ours.load_state_dict(theirs.state_dict())
    return ours


def letters(*shape):
    return torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(1))


def training(arm, batch, bf16=False):
    """A step of training; the answer is the logits and every gradient before the first one."""
    net, ids = networks(arm, CODE), letters(batch, LENGTH)
    ids = ids if arm.startswith(THEIRS) else ids.to(torch.uint8)  # as each loader gives it
    labels, fast = letters(batch) % 2, bf16 and arm == OURS
    adam = official.optimizer(net)

    def answer():
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            logits = net(ids, None)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        names = [name for name, _ in net.named_parameters()]
        return {"logits": logits.float().detach(), **dict(zip(names, gradients, strict=True))}

    return Subject(lambda: official.train_step(net, adam, ids, labels, fast), answer)


def inference(arm, batch, bf16=False):
    """Logits of a batch, without gradients."""
    net, ids = networks(arm, CODE).eval(), letters(batch, LENGTH)
    fast = bf16 and arm == OURS

    def step():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
            return net(ids, None).float()

    return Subject(step, lambda: {"logits": step()})


def long(arm, width, blocks=5):
    """Logits of one long sequence, without gradients."""
    net = networks(arm, {**CODE, "width": width, "blocks": blocks}).eval()
    ids, said = letters(1, LONG), {}

    def step():
        with torch.inference_mode():
            said["logits"] = net(ids, None)

    with torch.inference_mode():
        net(ids[:, :2000], None)  # what the libraries load once is no part of a sequence
    return Subject(step, lambda: said)


def gflop(batch, length=LENGTH, d=WIDTH, train=True):
    """Of ConvNova's convolutions and linear layers, padding included; docs/speed.md#flop."""
    stem, rest = 2 * 9 * 5 * d, 2 * 5 * 9 * d * d + 12 * d * d
    token = 2 * (2 * stem + 3 * rest) if train else 2 * (stem + rest)
    return batch * length * token / 1e9


# The data path


def loader(arm, n=30_000, each=2_000):
    """Batches of a task of n sequences. Theirs: item by item, through a tokenizer of transformers.

    A step of theirs is `each` items, of ours ten epochs.
    """
    rows = np.random.default_rng(0).integers(0, 4, (n, LENGTH)).astype(np.uint8)
    if arm.startswith(THEIRS):
        texts = [np.frombuffer(b"ACGT", np.uint8)[r].tobytes().decode() for r in rows]
        batches = functools.partial(official.batches, official.items(texts, LENGTH), BATCH)
        return Subject(
            lambda: batches(range(each)), lambda: {"ids": torch.cat(batches(range(300)))}, each
        )
    seqs = Sequences(rows.reshape(-1), np.arange(0, n * LENGTH + 1, LENGTH))
    data = Resident([TOKENIZERS["char"](seqs, LENGTH, "left-n")], "cpu", TOKENIZERS["char"].pad)
    orders = np.random.default_rng(1)

    def step():
        for _ in range(10):
            order = data.rows(orders.permutation(n))
            for at in range(0, n, BATCH):
                data.batch(order[at : at + BATCH])

    return Subject(step, lambda: {"ids": data.batch(data.rows(np.arange(300))).ids.long()}, 10 * n)


# The selective scan


def mamba(arm, length=512, batch=1, width=128, layers=1):
    """A training step of Caduceus; theirs with a scan that indexes position after position."""
    if arm.startswith(THEIRS):
        _scan.selective_scan = official.indexed_scan
    torch.manual_seed(0)
    model, ids = MODELS["caduceus_ph"], letters(batch, length)
    net = model.build(TASK, {**model.options, "width": width, "layers": layers})
    labels, adam = letters(batch) % 2, official.optimizer(net)

    def answer():
        logits = net(ids, None)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        learned = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, [p for _, p in learned], allow_unused=True)
        named = {n: g for (n, _), g in zip(learned, gradients, strict=True) if g is not None}
        return {"logits": logits.detach(), **named}

    step = functools.partial(official.train_step, net, adam, ids, labels)
    return Subject(step, answer, batch * length)


def by_length(arm):
    """Ours alone: "theirs" is the short sequence and "ours" the long one."""
    length = 512 if arm.startswith(THEIRS) else 4096
    torch.manual_seed(0)
    subject = mamba(OURS, length)
    return Subject(subject.step, dict, subject.units)


ROWS = {
    "loader": Row("encoded batches v per-item tokenising loader", loader, 100, 0),
    **{
        f"train-{n}": Row(
            f"fp32 training step, {n} x {LENGTH} bp, d{WIDTH}",
            functools.partial(training, batch=n), gate, gflop=gflop(n), more=(KEPT, DIRECT),
        )
        for n, gate in ((8, 1.6), (32, 1.7), (128, 1.8))
    },
    **{
        f"infer-{n}": Row(
            f"fp32 inference, {n} x {LENGTH} bp, d{WIDTH}", functools.partial(inference, batch=n),
            1.5, gflop=gflop(n, train=False), more=(KEPT, DIRECT),
        )
        for n in (32, 128)
    },
    **{
        f"bf16-train-{n}": Row(
            f"bf16 training step v theirs in fp32, {n} x {LENGTH} bp, d{WIDTH}",
            functools.partial(training, batch=n, bf16=True), gate, 2.0, gflop(n), more=(KEPT,),
        )
        for n, gate in ((8, 3.2), (32, 3.8))
    },
    "bf16-infer-32": Row(
        f"bf16 inference v theirs in fp32, 32 x {LENGTH} bp, d{WIDTH}",
        functools.partial(inference, batch=32, bf16=True), 4.5, 0.05, gflop(32, train=False),
        more=(KEPT,),
    ),
    **{
        f"long-{d}": Row(
            f"{LONG:,} bp forward and pool, d{d}, 5 blocks", functools.partial(long, width=d), 1.7,
            1e-6, gflop(1, LONG, d, False), 3, True, limits={"GiB": 0.25, "times less": 25},
        )
        for d in (196, 256)
    },
    "long-196x10": Row(
        f"{LONG:,} bp forward and pool, d196, 10 blocks (halo 13,664)",
        functools.partial(long, width=196, blocks=10), 0, rounds=1, fresh=True, arms=(OURS,),
        limits={"GiB": 1.0},
    ),
    "mamba": Row("Caduceus training, 512 bp, v indexed scan loop", mamba, 10, 1e-4),
    "mamba-flat": Row("the same a token, 512 bp v 4,096 bp (at most 1.3x)", by_length, 1 / 1.3),
}  # fmt: skip
