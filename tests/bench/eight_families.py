"""Eight families of transformers models beside a bundled one, in one table on a real task.

    python tests/bench/eight_families.py --data GUE/prom/prom_core_tata [--seeds N] [--epochs N]
                                         [--limit N]

Each family is a tiny model of random weights that `save_pretrained` wrote, with the kind of
tokenizer that published DNA models of it have; a hub on loopback serves them. BPE is learned from
the task's training sequences. First the last hidden states of 200 test sequences are compared with
those of transformers' own base model; a difference above 1e-5 ends the bench.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/, for its fixtures

import tiny_transformers as tiny
from conftest import command
from hub import Hub

from dnabench.models.outside.references import model_named
from dnabench.results.provenance import here
from dnabench.tasks.io.files import task_from_path
from dnabench.tokens.bpe import save, train_bpe
from dnabench.weights import load_regime, resolve


def served(hub, task, folder):
    """Make the models and put them on the hub; name -> (folder, transformers' own model)."""
    made, words = {}, train_bpe(task.load("train").seqs, 128)
    for name in tiny.FAMILIES:
        made[name] = folder / name, tiny.make(folder / name, name)
        if name.endswith("-bpe"):
            save(words, folder / name / "tokenizer.json")
        for file in (folder / name).iterdir():
            hub.put(f"tiny/{name}", file.name, file.read_bytes())
    return made


def difference(path, theirs, task):
    """The largest difference of a hidden state, and the class of the base model."""
    own = model_named(f"hf:{path}")
    net = own.build(task, own.options).eval()
    load_regime(net, own, *resolve(own, "pretrained"))
    seqs = task.load("test").seqs.take(np.arange(200))
    found, wanted = tiny.hidden(net, theirs, own.own_tokenizer(), seqs)
    return float((found - wanted).abs().max()), type(theirs.base_model).__name__, len(found)


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--data", required=True)
    words.add_argument("--seeds", default="3")
    words.add_argument("--epochs", default="5")
    words.add_argument("--limit", default="0")
    asked = words.parse_args()
    hub = Hub()
    with tempfile.TemporaryDirectory() as folder:
        folder, task = Path(folder), task_from_path(Path(asked.data))
        made = served(hub, task, folder / "made")
        at = here()
        print(f"{at['cpu']}, CPython {at['python']}, torch {at['torch']}, commit {at['commit']}\n")
        print("| model | class | tokens compared | largest difference |\n|---|---|---:|---:|")
        for name, (path, theirs) in made.items():
            worst, kind, n = difference(path, theirs, task)
            print(f"| {name} | {kind} | {n:,} | {worst:.1e} |", flush=True)
            if not worst <= 1e-5:
                sys.exit(f"{name}: other hidden states than transformers'")
        models = ",".join(["cnn", *(f"hf:tiny/{name}" for name in made)])
        run = ["run", "-m", models, "--data", asked.data, "--seeds", asked.seeds,
               "--epochs", asked.epochs, "--limit", asked.limit, "--set", "lr=0.001", "--jobs", "1",
               "-o", folder / "runs"]  # fmt: skip
        start = time.perf_counter()
        with hub.serving() as url:
            argv, env = command(*run, cache=folder / "cache")
            env |= {"HF_ENDPOINT": url, "HF_HOME": str(folder / "hf"), "OMP_NUM_THREADS": "1"}
            subprocess.run(argv, env=os.environ | env, check=True)
        print(f"\n    dnabench {' '.join(map(str, run[:-2]))}\n")
        print(f"{time.perf_counter() - start:.0f} s\n")
        argv, env = command("report", "-o", folder / "runs", "--full", cache=folder / "cache")
        subprocess.run(argv, env=os.environ | env, check=True)


if __name__ == "__main__":
    main()
