"""The contract test of a network, as one line a check: `dnabench check-model`.

N examples, K task outputs.
"""

import dataclasses
import io
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from dnabench.host.machine import bf16_flags
from dnabench.models.outside.loaded import own_weights
from dnabench.splits import streams
from dnabench.train import contract
from dnabench.train.build import tokenizer_of
from dnabench.train.contract import alone, apart, predicted
from dnabench.train.ghost import BATCH_NORMS
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised
from dnabench.types import Model, Sequences, Split, Task

N, SHORTER, CLASSES = 12, 0.7, 3
TINY = 1e-12  # a gradient below it is rounding
IDS = "; ids are 0 to 7: A C G T N, padding, [CLS], [SEP]"
NORMS = (
    "its batch norms count padding in training, so that their means and variances, which scores "
    "are computed with, depend on how long the sequences of training batches were: take them over "
    "bases alone, or use nn.LayerNorm on each base"
)
COMPARING = ("neighbours", "strands", "bf16", "save/load")  # checks of two readings
LACKS = {  # by what is said of scores: what they lack, and which checks need it
    contract.RANDOM: ("scores that are the same when they are read again", COMPARING),
    contract.NOT_FINITE: ("scores that are finite", (*COMPARING, "gradients", "first loss")),
}


class Check(NamedTuple):
    """One check: whether it held, what was found, and what to do if it did not.

    `ok` is None where nothing was checked, since the network does not answer as it must.
    """

    name: str
    ok: bool | None
    says: str


class _ShapeError(ValueError):
    """Logits of another shape than (N, K)."""


class _Subject(NamedTuple):
    """A model under test, with random sequences of one length and of several."""

    model: Model
    options: Mapping[str, Any]
    task: Task
    even: Split
    uneven: Split

    def net(self, seed: int) -> Any:
        torch.manual_seed(seed)
        return self.model.build(self.task, self.options)

    def learner(self, split: Split, seed: int = 0, **recipe: Any) -> NetLearner:
        chosen = dataclasses.replace(self.model.recipes["default"], epochs=1, **recipe)
        words = tokenizer_of(self.model, self.options, split.seqs)
        examples = Examples(self.model, self.task, split, words)
        order = streams(seed, self.task.name)
        return NetLearner(self.net(seed), examples, Supervised(self.task), chosen, order)


def check_model(model: Model, options: Mapping[str, Any], length: int) -> Iterator[Check]:
    """Run every check on random sequences, three classes; those that fail say what to do.

    None but the first is made with a network that does not answer, or not in the right shape, and
    none of those that compare scores where these are not finite or differ when read again.

    Args:
        model: a network.
        options: all of them.
        length: bp; a quarter of the sequences is this long, the others down to 0.7 of it.

    Raises:
        ValueError: a model that is not a network, or a length that it does not read.
    """
    if model.custom_trainer:
        raise ValueError(f"{model.name} is not a network: it trains itself, nothing is checked")
    if not model.min_length <= math.ceil(SHORTER * length) <= length <= model.context:
        raise ValueError(
            f"--length {length}: {model.name} reads {model.min_length:,} to {model.context:,} bp, "
            f"and sequences of {math.ceil(SHORTER * length)} to {length} bp are checked"
        )
    subject = _subject(model, options, length)
    needs = dict.fromkeys(CHECKS, "")  # what a check needs that the network lacks
    for name, check in CHECKS.items():
        if needs[name]:
            yield Check(name, None, f"not checked: it needs {needs[name]}")
            continue
        answers = True
        try:
            ok, says = check(subject)
            yield Check(name, ok, says)
            for why, (what, where) in LACKS.items():
                needs |= dict.fromkeys(where, what) if says.endswith(why) else {}
        except _ShapeError as e:
            yield Check(name, False, str(e))
            answers = False
        except Exception as e:  # a network may raise anything, and the other checks go on
            last = (str(e).strip() or "no message").splitlines()[0]
            hint = IDS if isinstance(e, IndexError) and model.tokenizer == "char" else ""
            yield Check(name, False, f"{type(e).__name__}: {last}{hint}")
            answers = name != "builds"
        if not answers:
            needs = dict.fromkeys(CHECKS, "a network that builds")


def _subject(model: Model, options: Mapping[str, Any], length: int) -> _Subject:
    rng = np.random.default_rng(0)
    letters = np.array(list("ACGT"))[rng.integers(0, 4, (N, length))]
    cut = np.linspace(math.ceil(SHORTER * length), length, N).astype(int)
    y, ids = np.arange(N) % CLASSES, np.arange(N).astype(str)

    def split(ends: Iterable[int]) -> Split:
        rows = zip(letters, ends, strict=True)
        return Split(Sequences.parse("".join(row[:n]) for row, n in rows), y, ids)

    even, uneven = split([length] * N), split(cut)

    def load(split: str) -> Split:
        return even

    task = Task(
        name="check/random", kind="multiclass", classes=("0", "1", "2"), metric="mcc", load=load,
        length=length, counts={"train": N, "test": N}, data="0" * 16, source="", license="",
    )  # fmt: skip
    return _Subject(model, options, task, even, uneven)


def _builds(s: _Subject) -> tuple[bool, str]:
    net, share = s.net(0), own_weights(s.model, s.task, s.options)
    if says := contract.sixteen_bits(net):
        return False, says
    one = s.learner(s.even)
    made = {*one.net.parameters()}
    logits = predicted(one, s.even)
    contract.check_made(one.net, made, s.model.name)
    if logits.shape != (N, CLASSES):
        raise _ShapeError(
            f"{N} sequences give logits {logits.shape}: make it (sequences, n_outputs)"
        )
    n = sum(p.numel() for p in net.parameters())
    own = f"; its own code loads {100 * share:.3g} % of them, so it is not called scratch"
    return True, f"{n:,} parameters{own * (share > 0)}"


def _padding(s: _Subject) -> tuple[bool, str]:
    one = s.learner(s.uneven)
    one.train_epoch()
    found = apart(predicted(one, s.uneven), alone(one, s.uneven))
    if found.within:
        but = f"; {NORMS}" * _norms_count_padding(one, s.uneven)
        text = f"a score is the same alone and beside longer ones, to {found.largest:.1e}{but}"
        return True, text
    return (
        False,
        f"differs by {found.largest:.1e}: {contract.why_apart(one, s.uneven, s.model)}",
    )


@torch.no_grad()
def _norms_count_padding(learner: NetLearner, uneven: Split) -> bool:
    """Whether more padding changes what batch norms make of a training batch; trains the norms."""
    norms = [m for m in learner.net.eval().modules() if isinstance(m, BATCH_NORMS)]
    if not norms:
        return False
    for norm in norms:
        norm.train()
    data = learner._read(uneven, both=False)
    shorter = data.rows(np.argsort(uneven.seqs.lengths, kind="stable")[: N // 2])
    answers = []
    for whole in (False, True):  # padded to the longest of these, and of all
        data.widen(whole)
        batch = data.batch(shorter)
        answers.append(learner.net(batch.ids, batch.mask).float().numpy())
    return not apart(*answers).within


def _neighbours(s: _Subject) -> tuple[bool, str]:
    one = s.learner(s.even)
    one.train_epoch()
    found = apart(predicted(one, s.even), alone(one, s.even))
    if found.within:
        return True, f"a score is the same in any batch, to {found.largest:.1e}"
    return (
        False,
        f"differs by {found.largest:.1e}: {contract.why_apart(one, s.even, s.model)}",
    )


def _strands(s: _Subject) -> tuple[bool, str]:
    other = s.even._replace(seqs=s.even.seqs.reverse_complement())
    plain, both = s.learner(s.even), s.learner(s.even, rc="conjoin")
    if not apart(predicted(both, s.even), predicted(both, other)).within:
        return False, "with --rc conjoin a strand and its reverse complement differ in score"
    same = apart(predicted(plain, s.even), predicted(plain, other))
    if same.within:
        return True, f"both strands score alike, to {same.largest:.1e}"
    return True, "the strands score differently; --rc conjoin takes the mean of both"


def _seed(s: _Subject) -> tuple[bool, str]:
    runs = []
    for _ in range(2):
        one = s.learner(s.even)
        one.train_epoch()
        runs.append(predicted(one, s.even).tobytes())
    if runs[0] != runs[1]:
        return False, (
            "the same seed gives other numbers: draw from torch's generator only, and set no seed"
        )
    a, b = (s.net(seed).state_dict().values() for seed in (0, 1))
    if all(map(torch.equal, a, b)):
        return False, "another seed draws the same weights: do not call torch.manual_seed"
    return True, "the same seed gives the same bytes, another seed other weights"


def _gradients(s: _Subject) -> tuple[bool, str]:
    one = s.learner(s.even, weight_decay=0.0)
    one.train_epoch()
    after = dict(one.net.named_parameters())
    dead = [k for k, p in after.items() if p.grad is None or not p.grad.abs().max() > TINY]
    if all(k.endswith("bias") for k in dead):  # one added to all keys moves no softmax
        but = f", but the biases {', '.join(dead)}" if dead else ""
        return True, f"reach all {len(after)} parameters{but}"
    more = f" and {len(dead) - 5} more" if len(dead) > 5 else ""
    return False, (
        f"do not reach {', '.join(dead[:5])}{more}: use them in forward, or set requires_grad=False"
    )


def _first_loss(s: _Subject) -> tuple[bool, str]:
    guess = contract.guessing(s.task)
    losses = []
    for seed in range(5):
        logits = predicted(s.learner(s.even, seed), s.even)
        losses.append(Supervised(s.task).mean_loss(s.even, logits))
    loss = float(np.median(losses))
    if contract.are_probabilities(s.task, logits):
        return False, contract.PROBABILITIES
    if loss > contract.FAR * guess:
        return False, f"{loss:.2f} against {guess:.2f}: {contract.FIRST_LOSS}"
    return True, f"{loss:.2f}; guessing has {guess:.2f}"


def _bf16(s: _Subject) -> tuple[bool, str]:
    if not bf16_flags():
        return True, "not checked: this processor has no bfloat16"
    full = predicted(s.learner(s.even), s.even)
    half = predicted(s.learner(s.even, precision="bf16"), s.even)
    worst, size = float(np.abs(full - half).max()), float(np.abs(full).max())
    if not worst <= 0.05 * max(1.0, size):
        return False, f"off by {worst:.1e}: keep sums, softmax and norms in float32"
    return True, f"within {worst:.1e} of float32"


def _saves(s: _Subject) -> tuple[bool, str]:
    one, two = s.learner(s.even), s.learner(s.even, seed=1)
    one.train_epoch()
    file = io.BytesIO()
    torch.save(one.net.state_dict(), file)
    file.seek(0)
    two.net.load_state_dict(torch.load(file, weights_only=True))
    if not np.array_equal(predicted(one, s.even), predicted(two, s.even)):
        return False, (
            "its state_dict does not hold all that it learned: register buffers, and keep layers "
            "in nn.ModuleList, not in a list"
        )
    return True, "a saved network gives the same logits"


def _speed(s: _Subject) -> tuple[bool, str]:
    one, rounds = s.learner(s.even), 0
    one.train_epoch()
    start = time.perf_counter()
    while rounds < 3 or time.perf_counter() - start < 1.0:
        one.train_epoch()
        rounds += 1
    speed = rounds * N / (time.perf_counter() - start)
    return True, f"{speed:,.0f} training sequences of {s.task.length} bp a second on this CPU"


CHECKS: Mapping[str, Callable[[_Subject], tuple[bool, str]]] = {
    "builds": _builds, "padding": _padding, "neighbours": _neighbours, "strands": _strands,
    "seed": _seed, "gradients": _gradients, "first loss": _first_loss, "bf16": _bf16,
    "save/load": _saves, "speed": _speed,
}  # fmt: skip
