#!/bin/sh
# Pretrain four models of at most 1 M parameters on the yeast genome, held out chromosome XI, and score them by region.
# Usage: yeast.sh FOLDER [BUDGET [MODEL ...]]; the genome and its genes come from a Python package, 20 M bp take 10 to 30 minutes of a core each.
# A call that was killed goes on with the same command; what is there already is left as it is.
set -eu
folder=$1 budget=${2:-20M}
[ $# -le 2 ] || shift 2
[ $# -gt 0 ] && [ "$1" != "$folder" ] || set -- convnova hyenadna bert gpn
python=${PY:-python}
genome=$folder/S288C_reference_sequence_R64-2-1_20150113.fsa genes=$folder/Saccharomyces_cerevisiae.R64-1-1.99.gff3
mkdir -p "$folder"
if [ ! -f "$genes" ]; then
    $python -m pip download -q --no-deps -d "$folder" transposonmapper==1.1.5
    $python -c 'import sys, zipfile
for name in (z := zipfile.ZipFile(sys.argv[1])).namelist():
    if name.endswith((".fsa", ".gff3")):
        open(sys.argv[2] + "/" + name.rpartition("/")[2], "wb").write(z.read(name))' "$folder"/transposonmapper-*.whl "$folder"
fi
for name in "$@"; do
    case $name in
        convnova) model=convnova-386k ;;
        hyenadna) model=hyenadna-tiny-1k ;;
        gpn) model="gpn-smol --set width=128 --set layers=4 --set inner=496" ;;
        bert) model="dnabert2 --set vocabulary=1024 --set width=128 --set layers=3 --set heads=4 --set inner=512" ;;
    esac
    to=$folder/$budget-$name
    [ -f "$to/network.json" ] || $python -m dnabench pretrain $model --genome "$genome" --holdout XI \
        --set batch=16 --set lr=0.001 --budget "$budget" --looks 8 --to "$to"
    $python -m dnabench evaluate "$to" --genome "$genome" --regions "$genes" > "$to/evaluation.txt"
done
