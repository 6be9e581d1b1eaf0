"""Twelve small trials and a digest of all that they gave: equal before and after a move of code.

    python tests/bench/twelve_trials.py tests/bench/twelve_trials.json          # write
    python tests/bench/twelve_trials.py --check tests/bench/twelve_trials.json  # compare

Only the command line and the files it leaves are used, so that the script runs at any commit. What
is measured rather than computed (times, memory, rates) is left out. Convolutions take the direct
form, since which form is fastest is measured too. Equal bytes are promised on one machine with one
thread; elsewhere ids are equal and scores agree to rounding.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ALL = ["--suite", "demo", "--limit", "240", "--epochs", "2", "--jobs", "2"]
REDUCED = ["--set", "convnova-386k.blocks=3"]
RUNS = [
    ["-m", "kmer,cnn,convnova-386k", "-t", "splice_junctions", "--seeds", "3"],
    ["-m", "convnova-386k", "-t", "yeast_genes", "--seeds", "2"],
    ["-m", "convnova-386k", "-t", "splice_junctions", "--seeds", "1", "--set", "finetune=probe"],
]
COMPUTED = (
    "trial", "scores", "alternatives", "curve", "best_epoch", "n_params", "n_examples", "flops",
    "flags", "streams", "task", "error",
)  # fmt: skip


def digest(folder: Path) -> dict[str, object]:
    """What was computed, by trial id: the record's fields, and SHA-256 of each array's bytes."""
    out = {}
    for path in sorted((folder / "records").glob("*.json")):
        record = json.loads(path.read_text())
        with np.load(folder / "predictions" / f"{path.stem}.npz") as arrays:
            bytes_of = {
                name: hashlib.sha256(f"{a.dtype} {a.shape}".encode() + a.tobytes()).hexdigest()
                for name, a in arrays.items()
            }
        out[path.stem] = {k: record[k] for k in COMPUTED} | {"predictions": bytes_of}
    return out


def run_all() -> dict[str, object]:
    """Run the twelve in a folder of their own, with a cache of its own."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ, "DNABENCH_CACHE": str(Path(folder, "cache")),
            "DNABENCH_CONVOLUTION": "direct", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        Path(folder, "cache").mkdir()
        for words in RUNS:
            argv = [sys.executable, "-m", "dnabench", "run", *ALL, *REDUCED, *words]
            subprocess.run([*argv, "--out", "runs"], cwd=folder, env=environment, check=True)
        return digest(Path(folder, "runs"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--check", action="store_true", help="compare with the file")
    args = parser.parse_args()
    text = json.dumps(run_all(), indent=1, sort_keys=True) + "\n"
    if not args.check:
        args.file.write_text(text)
        return
    now, before = json.loads(text), json.loads(args.file.read_text())
    different = [i for i in {**before, **now} if before.get(i) != now.get(i)]
    for trial in different:
        print(f"differs: {trial}")
    print(f"{len(before)} trials before, {len(now)} now, {len(different)} differ")
    sys.exit(bool(different) or len(before) != 12)


if __name__ == "__main__":
    main()
