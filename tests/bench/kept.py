"""What keeping frozen features is worth: the same probe over seeds, without, with an empty and with
a filled cache.

    python tests/bench/kept.py [--seeds N] [--model NAME] [--task NAME]

The weights are drawn and saved as a checkpoint: how long features take does not depend on them.
The scores of the three are compared first; a difference ends the bench.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/, for its fixtures

from conftest import command
from safetensors.torch import save_file

from dnabench import MODELS, TASKS
from dnabench.results.provenance import here
from dnabench.results.store import Store


def checkpoint(name, task, path):
    torch.manual_seed(0)
    model = MODELS[name]
    net = model.build(TASKS[task], model.options)
    save_file(
        {f"hyena.backbone.{k}": v.clone() for k, v in net.backbone.state_dict().items()}, path
    )


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--seeds", default="5")
    words.add_argument("--model", default="hyenadna-tiny-1k")
    words.add_argument("--task", default="demo/splice_junctions")
    asked = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        checkpoint(asked.model, asked.task, folder / "w.safetensors")
        run = ["run", "-m", asked.model, "--tasks", asked.task, "--seeds", asked.seeds, "--jobs", 1,
               "--set", "finetune=probe", "--protocol", "caduceus-cv",
               "--regime", f"checkpoint:{folder / 'w.safetensors'}"]  # fmt: skip
        at = here()
        print(f"{at['cpu']}, CPython {at['python']}, torch {at['torch']}, commit {at['commit']}")
        print(f"\n    dnabench {' '.join(map(str, run))}\n")
        print("| features | time (s) | ratio |\n|---|---:|---:|")
        base, scores = 0.0, []
        for what, cache in (
            ("computed by every trial", folder / "no/cache"),
            ("kept, none before", folder / "cache"), ("kept, all there", folder / "cache"),
        ):  # fmt: skip
            out = folder / what.replace(" ", "-")
            argv, env = command(*run, "--out", out, cache=cache)
            start = time.perf_counter()
            done = subprocess.run(argv, env=env, capture_output=True, text=True)
            took = time.perf_counter() - start
            if done.returncode:
                sys.exit(done.stderr)
            scores.append({r.trial.id: r.scores for r in Store(out)})
            if scores[-1] != scores[0]:
                sys.exit(f"{what}: other scores than without")
            base = base or took
            print(f"| {what} | {took:.1f} | **{base / took:.2f}** |", flush=True)


if __name__ == "__main__":
    main()
