"""Which family's kept network gives its stored logits again, and exports to which format.

    python tests/bench/exports.py [FAMILY ...]

The smallest model of each family, at its reduced options, and the families of transformers that
tests/tiny_transformers.py makes, learn for an epoch: a class for each sequence of 80 bp, and, where
the family can, a class for each base. Every export is checked against the network by the command
itself; a file may take any length or that of training alone.
"""

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


def row(name, model, kind, folder, options):
    """Cells of a family on a kind of task, and the reasons for a dash."""
    task = task_of_kind(kind)
    TASKS._entries[task.name] = task
    network, _, stored = kept(job_of(model, task, options), folder)
    logits = flat(task, network.logits(task.load("test").seqs))
    off = float(np.abs(logits - stored["logits"]).max())
    assert off < 1e-4, f"{name}: its kept network gives other logits, by {off}"
    cells = {form: cell(network, form, folder) for form in FORMS}
    return [name, KINDS[kind], f"{off:.0e}", *(shown for shown, _ in cells.values())], {
        form: why for form, (_, why) in cells.items() if why
    }


def main(chosen):
    list(TASKS)
    at, reasons = here(), list[str]()
    print(f"{at['cpu']}, CPython {at['python']}, torch {at['torch']}, commit {at['commit']}\n")
    print(f"| model | a class for each | stored logits, off by | {' | '.join(FORMS)} |")
    print("|---|---|---:|" + "---|" * len(FORMS))
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        place = Path(place)
        for name in [*smallest(), "gena_lm", *tiny.FAMILIES]:
            if chosen and name not in chosen:
                continue
            options = {}
            if name in tiny.FAMILIES:
                tiny.make(place / name, name)
                model, options = model_named(f"hf:./{name}"), {"pooling": "transformers"}
            else:
                model = MODELS[name]
            for kind in KINDS:
                if kind not in model.kinds:
                    continue
                folder = place / f"{name}-{kind}"
                cells, why = row(model.name, model, kind, folder, options)
                print("| " + " | ".join(cells) + " |", flush=True)
                reasons += [f"- {form}: {text}" for form, text in why.items()]
    print("\n" + "\n".join(dict.fromkeys(reasons)))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1:])
