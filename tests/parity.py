"""Every golden record against our network: `python tests/parity.py > tests/PARITY.md`.

Each family's test file says in PARITY how its network is made into what the record's run printed.
"""

import importlib
from pathlib import Path

import golden
import torch

HERE = Path(__file__).parent
SOURCES = {
    "basenji2": "aim-uofa/ConvNova@c606027", "caduceus": "kuleshov-group/caduceus",
    "convnova": "aim-uofa/ConvNova@c606027", "dnabert2": "frederikkemarin/BEND's copy",
    "gb": "ML-Bioinfo-CEITEC/genomic_benchmarks@605d853", "gena": "AIRI-Institute/GENA_LM",
    "gpn": "songlab-cal/gpn", "hyenadna": "HazyResearch/hyena-dna",
    "legnet": "aim-uofa/ConvNova@c606027", "ntv1": "instadeepai/nucleotide-transformer",
    "ntv2": "instadeepai/nucleotide-transformer",
}  # fmt: skip


HEAD = """# Parity with the authors' code

`python tests/parity.py`, torch {}, float32, one CPU thread: outputs of the authors' code on
deterministic weights and inputs (docs/models.md#golden-records), first, middle and last 8
numbers, mean, standard deviation and largest value, against ours.
"""


def parities():
    """Golden record -> function that gives (output of our network, its number of parameters)."""
    found = {}
    for file in sorted(HERE.glob("test_*.py")):
        if "\nPARITY" in file.read_text():
            found |= importlib.import_module(file.stem).PARITY
    return found


def row(name, make):
    """What is printed of a record: its size in both codes, and the largest difference."""
    record = golden.RECORDS[name]
    out, n_params = make()
    worst = max(golden.differences(record, out).values())
    authors = record.get("params")
    return {
        "record": name, "authors' code": SOURCES[name.partition("_")[0]],
        "shape": "x".join(map(str, record["shape"])), "parameters, theirs": authors,
        "parameters, ours": n_params if authors else None, "largest difference": worst,
        "tolerance": golden.tolerance(name),
    }  # fmt: skip


def main():
    torch.set_num_threads(1)
    rows = [row(name, make) for name, make in sorted(parities().items())]
    print(HEAD.format(torch.__version__))
    heads = list(rows[0])
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for r in rows:
        print("| " + " | ".join(_cell(v) for v in r.values()) + " |")


def _cell(value):
    if isinstance(value, float):
        return f"{value:.1e}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
