#!/bin/sh
# Scratch against two genomes and three controls on mouse transcription factors: two small models, letters and byte pairs.
# Usage: regimes.sh FOLDER; first `dnabench data import` gue/mouse_2. The genomes come from Python packages: yeast, held out chromosome XI,
# and 39,254 human DNase sites of 200 bp, end to end with 20 N between, those of chromosome 2 held out. SEEDS=2 takes fewer than 5;
# PRETRAIN_SEEDS=5 pretrains each network five times, each fine-tuned with all seeds.
set -eu
folder=$1
python=${PY:-python}
yeast=$folder/S288C_reference_sequence_R64-2-1_20150113.fsa human=$folder/human.fa
mkdir -p "$folder"
if [ ! -f "$yeast" ] || [ ! -f "$human" ]; then
    $python -m pip download -q --no-deps -d "$folder" transposonmapper==1.1.5 dnadiffusion==0.0.0.dev0
    $python - "$folder" <<'END'
import sys
from pathlib import Path
from zipfile import ZipFile

folder = Path(sys.argv[1])
for wheel in folder.glob("*.whl"):
    with ZipFile(wheel) as z:
        for name in z.namelist():
            if name.endswith(".fsa"):
                (folder / Path(name).name).write_bytes(z.read(name))
            if name.endswith("_12k_sequences_per_group.txt"):
                head, *lines = (line.split("\t") for line in z.read(name).decode().splitlines())
                at, split = head.index("sequence"), head.index("data_label")
                parts = {"sites": "training", "chr2": "validation"}
                text = ("N" * 20).join
                rows = {k: text(line[at] for line in lines if line[split] == v) for k, v in parts.items()}
                (folder / "human.fa").write_text("".join(f">{k}\n{v}\n" for k, v in rows.items()))
END
fi
$python -m dnabench regimes --models convnova-386k,dnabert2 --tasks gue/mouse_2 --tokenizers char,bpe \
    --set convnova-386k.width=16 --set convnova-386k.blocks=2 --set vocabulary=256 \
    --set dnabert2.width=32 --set dnabert2.layers=2 --set dnabert2.heads=2 --set dnabert2.inner=64 --set dnabert2.lr=0.001 \
    --genomes "yeast=$yeast,human=$human" --holdout "$(basename "$yeast"):XI" --holdout human.fa:chr2 \
    --budget 250k --pretrain-length 100 --pretrain-set batch=32 --pretrain-set lr=0.003 --looks 1 \
    --epochs 2 --batch-size 32 --seeds "${SEEDS:-5}" --pretrain-seeds "${PRETRAIN_SEEDS:-1}" --device cpu --jobs 1 --out "$folder/runs" > "$folder/regimes.md"
