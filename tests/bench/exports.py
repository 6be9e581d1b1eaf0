"""Which family's kept network gives its stored logits again, and exports to which format.

    python tests/bench/exports.py [--bases] [--formats onnx,torch-export,hf] [MODEL ...]

The smallest model of each family, at its reduced options, and the families of transformers that
tests/tiny_transformers.py makes, learn for an epoch: a class for each sequence of 80 bp; for each
base with --bases, and where a family can do nothing else. Every export is checked against the
network by the command itself; a file may take any length or that of training alone.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/, for its fixtures

import tiny_transformers as tiny
from kept_cases import flat, job_of, kept, smallest, task_of_kind

from dnabench import MODELS, TASKS
from dnabench.models.outside.references import model_named
from dnabench.networks.export import FORMS, export
from dnabench.results.provenance import here

KINDS = {"multiclass": "sequence", "per_base": "base"}


def cell(network, form, folder):
    """yes, yes at one length, or why not."""
    try:
        done = export(network, form, folder / form)
    except ValueError as e:
        return "–", str(e)
    return ("yes" if done.any_length else "one length"), ""


def row(name, model, kind, folder, options, formats):
    """Cells of a family on a kind of task, and the reasons for a dash."""
    task = task_of_kind(kind)
    TASKS._entries[task.name] = task
    network, _, stored = kept(job_of(model, task, options), folder)
    logits = flat(task, network.logits(task.load("test").seqs))
    off = float(np.abs(logits - stored["logits"]).max())
    assert off < 1e-4, f"{name}: its kept network gives other logits, by {off}"
    cells = {form: cell(network, form, folder) for form in formats}
    return [name, KINDS[kind], f"{off:.0e}", *(shown for shown, _ in cells.values())], {
        form: why for form, (_, why) in cells.items() if why
    }


def main():
    words = argparse.ArgumentParser()
    words.add_argument("models", nargs="*")
    words.add_argument("--bases", action="store_true")
    words.add_argument("--formats", default=",".join(FORMS))
    asked = words.parse_args()
    list(TASKS)
    at, reasons, formats = here(), list[str](), asked.formats.split(",")
    print(f"{at['cpu']}, CPython {at['python']}, torch {at['torch']}, commit {at['commit']}\n")
    print(f"| model | a class for each | stored logits, off by | {' | '.join(formats)} |")
    print("|---|---|---:|" + "---|" * len(formats))
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        place = Path(place)
        for name in [*smallest(), "gena_lm", *tiny.FAMILIES]:
            if asked.models and name not in asked.models:
                continue
            options = {}
            if name in tiny.FAMILIES:
                tiny.make(place / name, name)
                model, options = model_named(f"hf:./{name}"), {"pooling": "transformers"}
            else:
                model = MODELS[name]
            able = [kind for kind in KINDS if kind in model.kinds]
            for kind in able[-1:] if asked.bases else able[:1]:
                folder = place / f"{name}-{kind}"
                cells, why = row(model.name, model, kind, folder, options, formats)
                print("| " + " | ".join(cells) + " |", flush=True)
                reasons += [f"- {form}: {text}" for form, text in why.items()]
    print("\n" + "\n".join(dict.fromkeys(reasons)))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
