#!/bin/sh
# What the weight of soft-masked bases does: yeast with a planted repeat in lower case, a tenth of its bases changed in every copy,
# so that a fifth of all bases is soft-masked; the same ConvNova with its loss at weight 1, 0.1 and 0, scored on held-out chromosome XI.
# Usage: softmask.sh FOLDER [BUDGET], after yeast.sh with the same FOLDER, which has the genome; 4 M bp take minutes of a core each.
set -eu
folder=$1 budget=${2:-4M}
python=${PY:-python}
masked=$folder/yeast-with-repeat.fa
[ -f "$masked" ] || $python - "$folder/S288C_reference_sequence_R64-2-1_20150113.fsa" "$masked" <<'END_OF_PYTHON'
import sys
from pathlib import Path

import numpy as np

LENGTH, SHARE = 2_000, 0.2
rng = np.random.default_rng(0)
letters = np.frombuffer(b"acgt", np.uint8)
repeat = rng.integers(0, 4, LENGTH)
out = []
for record in Path(sys.argv[1]).read_text(encoding="ascii").split(">")[1:]:
    head, _, lines = record.partition("\n")
    text = lines.replace("\n", "").upper()
    copies = round(len(text) * SHARE / (1 - SHARE) / LENGTH)
    places = np.sort(rng.integers(0, len(text) + 1, copies))
    parts = [text[: places[0]]] if copies else [text]
    for here, there in zip(places, [*places[1:], len(text)], strict=True):
        copy = (repeat + (rng.random(LENGTH) < 0.1) * rng.integers(1, 4, LENGTH)) % 4
        parts += [letters[copy].tobytes().decode(), text[here:there]]
    out.append(f">{head}\n{''.join(parts)}\n")
Path(sys.argv[2]).write_text("".join(out), encoding="ascii")
END_OF_PYTHON
for weight in 1 0.1 0; do
    to=$folder/$budget-weight-$weight
    [ -f "$to/network.json" ] || $python -m dnabench pretrain convnova-386k --genome "$masked" --holdout XI \
        --set batch=16 --set lr=0.001 --set soft_masked_weight=$weight --budget "$budget" --looks 4 --to "$to"
    $python -m dnabench evaluate "$to" --genome "$masked" > "$to/evaluation.txt"
    grep -i soft "$to/evaluation.txt"
done
