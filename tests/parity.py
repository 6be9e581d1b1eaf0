"""Every golden record against our network: `python tests/parity.py > tests/PARITY.md`.

Each family's test file says in PARITY how its network is made into what the record's run printed.
Then models of transformers: `hf:` against transformers' own base model, with the same files.
"""

import importlib
import tempfile
from pathlib import Path

import golden
import torch
from conftest import planted_split, planted_task

from dnabench import Sequences
from dnabench.models.outside.references import model_named
from dnabench.weights import load_regime, resolve

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


OF_TRANSFORMERS = """
## Models of transformers

Tiny models that `save_pretrained` wrote, read by `-m hf:./folder`: last hidden states of 12
sequences of 30 to 85 bp, padded to one length, against transformers' own base model. Buffers, as
rotary frequencies that are in no file, must be equal.
"""


def row_of_transformers(name, folder):
    """What is printed of a family of tiny_transformers."""
    import tiny_transformers as tiny

    theirs, own = tiny.make(folder, name), model_named(f"hf:{folder}")
    net = own.build(planted_task(length=85), own.options).eval()
    load_regime(net, own, *resolve(own, "pretrained"))
    part = planted_split(12, 5, 85).seqs
    seqs = Sequences.parse(part[i][: 30 + 5 * i] for i in range(12))
    found, wanted = tiny.hidden(net, theirs, own.own_tokenizer(), seqs)
    ours, base = net.backbone.model, theirs.base_model
    buffers = dict(base.named_buffers())
    equal = sum(torch.equal(value, buffers[key]) for key, value in ours.named_buffers())
    return {
        "model": name, "class": type(base).__name__, "tokens": f"`{own.own_tokenizer().name}`",
        "shape": "x".join(map(str, found.shape)),
        "parameters, theirs": _size(base, pooler=False), "parameters, ours": _size(ours),
        "buffers, theirs": len(buffers), "buffers, equal": equal,
        "largest difference": float((found - wanted).abs().max()), "tolerance": 1e-5,
    }  # fmt: skip


def _size(net, pooler=True):
    """Numbers in its parameters; the pooler of BERT has no part in hidden states."""
    every = net.named_parameters()
    return sum(p.numel() for name, p in every if pooler or not name.startswith("pooler."))


def rows_of_transformers():
    import tiny_transformers as tiny  # the records above need no transformers

    with tempfile.TemporaryDirectory() as folder:
        return [row_of_transformers(name, Path(folder) / name) for name in tiny.FAMILIES]


def main():
    torch.set_num_threads(1)
    print(HEAD.format(torch.__version__))
    _table([row(name, make) for name, make in sorted(parities().items())])
    print(OF_TRANSFORMERS)
    _table(rows_of_transformers())


def _table(rows):
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
