"""Break the code in named ways, one at a time, and see whether the tests notice.

    python tests/bench/mutations.py                  # all of them
    python tests/bench/mutations.py epoch verdict    # those whose names begin so
    python tests/bench/mutations.py finding          # those of findings.py

Each mutation is made in a copy of the checkout, in which the test files named with it are run until
the first failure. "caught" is a failing test, "SURVIVED" a check that is missing. The exit status
is 1 when one survives, or when the text that it changes is no longer there.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from fidelity_mutations import FIDELITY
from findings import FINDINGS

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("harness", "models", "tasks", "results", "reports", "tests")
LOOP, TRIAL = "harness/train/loop.py", "harness/sweep/trial.py"
LOCAL, BASE = "harness/executors/local.py", "harness/executors/base.py"
VERDICT, ANALYSIS = "reports/stats/verdict.py", "reports/analysis.py"


class Mutation(NamedTuple):
    """In `file`, `old`, which occurs once, becomes `new`."""

    name: str
    file: str
    old: str
    new: str
    tests: str  # words for pytest


MUTATIONS = [
    Mutation(
        "epoch: the last one is kept, not the best",
        LOOP, "        learner.restore(out.chosen)\n", "        pass\n",
        "tests/test_loop.py -k epoch",
    ),
    Mutation(
        "epoch: of equals the later one is kept",
        LOOP, "if criterion > out.criterion or", "if criterion >= out.criterion or",
        "tests/test_loop.py -k epoch",
    ),
    Mutation(
        "epoch: the worst one is kept",
        LOOP, "out.criterion, out.best_epoch = criterion, epoch",
        "out.criterion, out.best_epoch = -criterion, epoch", "tests/test_loop.py -k epoch",
    ),
    Mutation(
        "epoch: the greatest loss chooses, not the least",
        LOOP, "sign = -1 if by_loss", "sign = 1 if by_loss",
        "tests/test_protocol_epochs.py -k loss",
    ),
    Mutation(
        "epoch: honest chooses on test where it can",
        LOOP, "chooser = CHOOSES_ON[protocol.checkpoint]",
        'chooser = "test" if "test" in watch else CHOOSES_ON[protocol.checkpoint]',
        "tests/test_loop.py -k 'best or chooses or last'",
    ),
    Mutation(
        "epoch: the record's validation score is that of the last epoch",
        TRIAL, 'fitted.curve[fitted.best_epoch - 1]["val"]', 'fitted.curve[-1]["val"]',
        "tests/test_trial.py -k 'record or chosen'",
    ),
    Mutation(
        "sealing: a model can load a split of its task",
        TRIAL, "sealed = replace(as_read(task, trial), load=_sealed)",
        "sealed = as_read(task, trial)",
        "tests/test_trial.py -k 'back'",
    ),
    Mutation(
        "sealing: the test split is watched under every protocol",
        TRIAL, "if protocol.looks_at_test:", "if True:",
        "tests/test_trial.py -k 'touched or once_and_last'",
    ),
    Mutation(
        "sealing: the test split is read before training",
        TRIAL, "    fitted = meter.train(", '    task.load("test")\n    fitted = meter.train(',
        "tests/test_trial.py -k 'touched or once_and_last'",
    ),
    Mutation(
        "sealing: test-selected says honest would have had its own score",
        TRIAL, 'row: sign * row["val"][task.metric])',
        'row: sign * row["test"][task.metric])',
        "tests/test_trial.py -k 'selected'",
    ),
    Mutation(
        "teardown: a worker is never ended",
        LOCAL, "        self.job = None\n        if self._process is not None:",
        "        self.job = None\n        if False:",
        "tests/test_executors.py tests/test_trial_timeout.py -k 'left or cancel or hangs or stops'",
    ),
    Mutation(
        "teardown: what ends the events early cancels nothing",
        BASE, "            self.cancel(handle)", "            pass",
        "tests/test_executors.py -k 'left or cancel'",
    ),
    Mutation(
        "teardown: a worker outlives a client that is killed",
        LOCAL, "    os._exit(1)", "    pass", "tests/test_executors.py -k client_is_killed",
    ),
    Mutation(
        "verdict: p is not compared with 0.05",
        VERDICT, "if not p_holm < ALPHA:", "if False:", "tests/test_stats.py -k verdict",
    ),
    Mutation(
        "verdict: p of 0.05 itself suffices",
        VERDICT, "if not p_holm < ALPHA:", "if p_holm > ALPHA:", "tests/test_stats.py -k verdict",
    ),
    Mutation(
        "verdict: four seeds suffice",
        VERDICT, "MIN_SEEDS = 5", "MIN_SEEDS = 4", "tests/test_stats.py -k verdict",
    ),
    Mutation(
        "verdict: a win is called a loss",
        VERDICT, '"win" if above == (sign > 0)', '"win" if above != (sign > 0)',
        "tests/test_stats.py -k verdict",
    ),
    Mutation(
        "verdict: a lower error loses",
        VERDICT, '"win" if above == (sign > 0)', '"win" if above',
        "tests/test_stats.py tests/test_metric_choice.py",
    ),
    Mutation(
        "verdict: the interval over test examples is ignored",
        VERDICT, "if nested is not None and not", "if False and not",
        "tests/test_stats.py -k 'verdict or nested or interval'",
    ),
    Mutation(
        "verdict: a difference below the smallest that matters is claimed",
        VERDICT, "if abs(test.difference) < rope - TIE:", "if False:",
        "tests/test_stats.py -k verdict",
    ),
    Mutation(
        "verdict: no spread over seeds passes",
        VERDICT, "if test.degenerate:", "if False:",
        "tests/test_stats.py -k 'verdict or spread or degenerate'",
    ),
    Mutation(
        "verdict: p is not corrected for the number of comparisons",
        ANALYSIS, "test, p_holm, row.rope", "test, p_own, row.rope",
        "tests/test_analysis.py",
    ),
    Mutation(
        "verdict: the model with more seeds counts",
        ANALYSIS, "min(len(a), len(b)), ends",
        "max(len(a), len(b)), ends",
        "tests/test_analysis.py",
    ),
    *(Mutation(*words) for words in FIDELITY),
    *(Mutation(*finding) for finding in FINDINGS),
]  # fmt: skip


def copy(folder: Path) -> Path:
    """A checkout that can be changed, and the path on which it is imported."""
    for name in PARTS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    package = folder / "path" / "dnabench"
    package.mkdir(parents=True)
    for path in [*(folder / "harness").iterdir(), *(folder / name for name in PARTS[1:5])]:
        (package / path.name).symlink_to(path)
    return package.parent


def run(mutation: Mutation, folder: Path, path: Path) -> str:
    """Mutate, test, restore: "caught", "SURVIVED", or why it cannot be said."""
    file = folder / mutation.file
    text = file.read_text()
    if text.count(mutation.old) != 1:
        return f"NOT APPLICABLE: its text occurs {text.count(mutation.old)} times"
    argv = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    env = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    file.write_text(text.replace(mutation.old, mutation.new))
    try:
        done = subprocess.run(
            [*argv, *shlex.split(mutation.tests)], cwd=folder, env=env, capture_output=True,
            text=True,
        )  # fmt: skip
    finally:
        file.write_text(text)
    failed = [x for x in done.stdout.splitlines() if x.startswith(("FAILED", "ERROR"))]
    if done.returncode == 1 and failed:
        return f"caught by {failed[0].split(' - ')[0].rpartition('::')[2]}"
    return "SURVIVED" if done.returncode == 0 else f"NOT RUN: {done.stdout[-300:]}{done.stderr}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of the names of mutations")
    names = parser.parse_args().names
    chosen = [m for m in MUTATIONS if not names or m.name.startswith(tuple(names))]
    caught = 0
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        if (shared := ROOT.parent / "shared").exists():  # cases that some tests read
            (Path(folder) / "shared").symlink_to(shared.resolve())
        path = copy(checkout)
        for mutation in chosen:
            result = run(mutation, checkout, path)
            caught += result.startswith("caught")
            print(f"{mutation.name}: {result}", flush=True)
    print(f"{caught} of {len(chosen)} caught")
    sys.exit(caught < len(chosen))


if __name__ == "__main__":
    main()
