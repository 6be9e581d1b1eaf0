"""Our speed against the authors' form of the same step, side by side; prints Markdown.

    python tests/bench/speed.py [ROW ...] [--rounds N] [--more]

Every arm is a process of its own that stays, one thread, with the same
weights and the same batch. First the arms' answers are compared. Then rounds, in each of which the
arms take their steps in turn, another one first each time; a step's cost is its process's own CPU
time. A round gives one ratio. A row passes when the lower quartile of the ratios reaches its gate;
it is void when the control, the authors' form against itself, is not within 5 % in the median.
Our arms have the memory settings of `dnabench run` (KEEP_MEMORY of harness/executors/local.py), the
authors' run with malloc as it comes; --more adds arms that tell what the settings do, and what the
direct convolution. BENCH_SPEED_BP=100000 shortens the long rows, for a trial run.

With one of the options --arm it is such a process: it reads commands, a line each, and answers.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/, for its fixtures

import torch
from speed_rows import AGAIN, ARMS, OURS, ROWS, THEIRS

from dnabench.host import memory
from dnabench.host.machine import bf16_flags
from dnabench.models.kernels.context import VARIABLE, active
from dnabench.results.provenance import here

# A process that is an arm


def serve(name, arm):
    """Answer "answer FILE", "step", "forms" until the end of the input."""
    torch.set_num_threads(1)
    row = ROWS[name]
    subject = row.make(arm)
    if not row.fresh:
        memory.reset_peak("cpu")
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "answer":
            torch.save({k: v.clone() for k, v in subject.answer().items()}, rest)
            print("{}", flush=True)
        elif word == "forms":
            print(json.dumps(active().used, sort_keys=True), flush=True)
        else:
            memory.reset_peak("cpu")
            before, start = memory.peak("cpu"), time.process_time()
            subject.step()
            cost = (time.process_time() - start) / subject.units
            print(json.dumps({"cost": cost, "bytes": memory.peak("cpu") - before}), flush=True)


class Arm:
    """The parent's side of it."""

    def __init__(self, name, arm):
        unset = ("MALLOC_", VARIABLE)
        env = {k: v for k, v in os.environ.items() if not k.startswith(unset)}
        env |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **ARMS[arm]}
        argv = [sys.executable, __file__, "--arm", arm, name]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(argv, env=env, **pipes)

    def ask(self, line):
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        if not said:
            raise RuntimeError(f"the process ended with {self._process.wait()}")
        return json.loads(said)

    def end(self):
        self._process.stdin.close()
        self._process.wait()


# The parent


def compared(files):
    """Largest difference of ours from theirs, each tensor relative to its largest number."""
    if THEIRS not in files:
        return 0.0, ""
    theirs, ours = (torch.load(files[arm]) for arm in (THEIRS, OURS))
    assert theirs.keys() == ours.keys()
    return max(
        ((float((ours[k] - v).abs().max() / max(1e-30, float(v.abs().max()))), k)
         for k, v in theirs.items()), default=(0.0, ""),
    )  # fmt: skip


def measured(name, rounds, names, folder):
    """The arms' costs by round, their peak bytes, the comparison and the forms of ours."""
    row, costs, peaks, forms = ROWS[name], {}, {}, {}
    files = {arm: str(folder / f"{name}-{arm}.pt") for arm in names}
    arms = {} if row.fresh else {arm: Arm(name, arm) for arm in names}
    if row.fresh:  # what is measured once on a machine is measured before
        first = Arm(name, OURS)
        first.ask("step")
        first.end()
    for arm, process in arms.items():
        process.ask(f"answer {files[arm]}")
        process.ask("step")
        process.ask("step")
    for i in range(rounds):
        turn = i % len(names)
        for arm in names[turn:] + names[:turn]:
            process = Arm(name, arm) if row.fresh else arms[arm]
            told = process.ask("step")
            costs.setdefault(arm, []).append(told["cost"])
            peaks.setdefault(arm, []).append(told["bytes"])
            if arm == OURS:
                forms |= process.ask("forms")
            if row.fresh:
                process.ask(f"answer {files[arm]}")
                process.end()
    for process in arms.values():
        process.end()
    return costs, peaks, compared(files), forms


def spread(values):
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return values * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def ratios(costs, arm):
    return [a / b for a, b in zip(costs[THEIRS], costs[arm], strict=True)]


def verdict(row, costs, peaks, worst):
    """In words, and the control's cell."""
    gib = max(peaks[OURS]) / 2**30
    failed = [f"{gib:.3f} GiB"] if gib > row.limits.get("GiB", 1e9) else []
    if THEIRS not in costs:
        return ("; ".join(failed) or "passes"), ""
    control = spread(ratios(costs, AGAIN))
    cell = f"{control[1]:.3f} [{control[0]:.3f}-{control[2]:.3f}]"
    if worst > row.tolerance:
        return f"**void**: differs by {worst:.1e}", cell
    if not 0.95 <= control[1] <= 1.05:
        return "**void**: the control", cell
    less = min(peaks[THEIRS]) / max(1, max(peaks[OURS]))
    if "times less" in row.limits and less < row.limits["times less"]:
        failed.append(f"{less:.0f}x less memory")
    if spread(ratios(costs, OURS))[0] < row.gate:
        failed.append("too slow")
    return ("**fails**: " + ", ".join(failed) if failed else "passes"), cell


def amount(seconds):
    return f"{seconds:.1f} s" if seconds >= 10 else (
        f"{seconds * 1e3:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e6:.2f} us")  # fmt: skip


def report(name, rounds, more, folder):
    """A line of the table; what else there is to say is returned."""
    row = ROWS[name]
    names = [*row.arms, *(row.more if more else ())]
    rounds = rounds or row.rounds
    costs, peaks, (worst, where), forms = measured(name, rounds, names, folder)
    words, control = verdict(row, costs, peaks, worst)
    cells = [row.what, f"{row.gate:.3g}x" if row.gate else ""]
    if THEIRS in costs:
        low, middle, high = spread(ratios(costs, OURS))
        cells.append(f"{middle:.2f} [{low:.2f}-{high:.2f}]")
        cells.append(amount(statistics.median(costs[THEIRS])))
    else:
        cells += ["", ""]
    cells.append(amount(statistics.median(costs[OURS])))
    rate = row.gflop / statistics.median(costs[OURS])
    cells.append(f"{row.gflop:.3g} ({rate:.0f}/s)" if row.gflop else "")
    memories = [f"{max(peaks[a]) / 2**30:.3f}" for a in (THEIRS, OURS) if a in peaks]
    cells.append(" / ".join(memories) if row.fresh else "")
    cells += [f"{worst:.0e} {where}" if THEIRS in costs else "", control, str(rounds), words]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    notes = [
        f"- {name}: {arm} {statistics.median(ratios(costs, arm)):.2f}x"
        for arm in row.more if arm in costs
    ]  # fmt: skip
    if forms:
        by_form = {}
        for shape, form in forms.items():
            by_form.setdefault(form, []).append(shape)
        notes.append(f"- {name}: " + "; ".join(f"{f}: {', '.join(s)}" for f, s in by_form.items()))
    return notes


def ruler(dtype, n=2048, times=5):
    """GFLOP/s of the fastest of some matrix products, one thread, own CPU time."""
    a, b, costs = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype), []
    for _ in range(times + 1):
        start = time.process_time()
        a @ b
        costs.append(time.process_time() - start)
    return 2 * n**3 / min(costs[1:]) / 1e9


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--more", action="store_true", help="what the memory settings alone do")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = set(args.rows) - set(ROWS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if args.arm:
        serve(args.rows[0], args.arm)
        return
    torch.set_num_threads(1)
    where, flags = here(), bf16_flags()
    print(
        f"{where['cpu']} (bfloat16: {', '.join(flags or []) or 'none'}), {platform.system()}, "
        f"CPython {where['python']}, torch {where['torch']}, commit {where['commit']}, one thread, "
        f"load {os.getloadavg()[0]:.1f} at the start; matrix products of 2048 x 2048: "
        f"{ruler(torch.float32):.0f} GFLOP/s in fp32, {ruler(torch.bfloat16):.0f} in bf16\n"
    )
    print(
        "| row | what | gate | ratio [quartiles] | theirs | ours | GFLOP (of ours) | peak GiB, "
        "theirs / ours | largest difference | control | rounds | verdict |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---|---:|---:|---|")
    notes = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.rows or ROWS:
            notes += report(name, args.rounds, args.more, Path(folder))
    print("\n" + "\n".join(notes))
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
