"""Damaged copies of good files through every reader: a message or a result, in bounds.

    python tests/bench/fuzz.py                      # 10,000 copies, all readers
    python tests/bench/fuzz.py --n 500 --only bend  # of readers whose names begin so
    python tests/bench/fuzz.py --show "own csv" 17  # the traceback of one

Prints a line a reader: copies, refused, read, slowest (CPU s), most memory (MB by which the peak of
the process grew), and what went wrong: a traceback (what the command line does not turn into one
message), over 5 s, over 1 GiB, a process that died. Each reader runs in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fuzzing import READERS, damaged, tried


def one(name, n):
    """All copies for one reader, in this process; a line of JSON each."""
    with tempfile.TemporaryDirectory() as folder:
        for seed, outcome in tried(name, Path(folder), range(n)):
            print(json.dumps([seed, *outcome]), flush=True)


def show(name, seed):
    import numpy as np

    reader = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / reader.file
        path.parent.mkdir(parents=True, exist_ok=True)
        reader.make(path)
        good = path.read_bytes()
        path.write_bytes(damaged(good, np.random.default_rng([seed, len(good)])))
        print(reader.read(path))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--only", default="", help="begins so; several after commas")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--show", nargs=2)
    args = parser.parse_args()
    if args.one:
        return one(args.one, args.n)
    if args.show:
        return show(args.show[0], int(args.show[1]))
    names = [name for name in READERS if name.startswith(tuple(args.only.split(",")))]
    each, wrong = -(-args.n // len(names)), 0
    print(f"{'reader':20} copies refused   read slowest     MB  wrong")
    for name in names:
        argv = [sys.executable, __file__, "--one", name, "--n", str(each)]
        done = subprocess.run(argv, capture_output=True, text=True)
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
        kinds = Counter(row[1] for row in rows)
        bad = [f"seed {row[0]}: {row[1]}" for row in rows if row[1] not in ("read", "refused")]
        if done.returncode:
            bad.append(f"died after seed {rows[-1][0] if rows else '-'}: {done.stderr[-200:]}")
        wrong += len(bad)
        slowest, most = (max((row[k] for row in rows), default=0) for k in (2, 3))
        print(f"{name:20} {len(rows):6} {kinds['refused']:7} {kinds['read']:6} {slowest:7.2f} "
              f"{most / 1e6:6.0f}  {len(bad)}", *bad[:3], sep="\n    ")  # fmt: skip
    print(f"{each * len(names):,} copies, {wrong} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
