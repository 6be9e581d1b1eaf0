#!/bin/sh
# What pretraining on yeast buys on yeast: a network from scratch, from one that saw the test sequences, and from one that did not.
# Usage: buys.sh FOLDER [BUDGET [STAGE ...]]; first `yeast.sh FOLDER BUDGET convnova`, and `dnabench data import` nt_reduced.
# Stages: h3-tenth (a tenth of train, batches of 16), yeast_genes, h3, h3k4me3; default: all. SEEDS=2 takes fewer than 5; it goes on.
# NETWORK=hyenadna, gpn or bert takes that one of yeast.sh instead of convnova, with and without the test sequences seen.
# PRECISION=bf16 takes half the time on processors that multiply bfloat16; it has trials of its own.
set -eu
folder=$1 budget=${2:-20M}
[ $# -le 2 ] || shift 2
[ "$1" != "$folder" ] || set -- h3-tenth yeast_genes h3 h3k4me3
python=${PY:-python}
genome=$folder/S288C_reference_sequence_R64-2-1_20150113.fsa
case ${NETWORK:=convnova} in
    # the recipe of the histone tasks has another ConvNova, which the weights are not of
    convnova) model=convnova-386k options="" more="--set dilation_schedule=paper --set final_conv=True" unseen=$folder/$budget-unseen ;;
    # nor the filters of its HyenaDNA; its dropout is for a training of 20 epochs
    hyenadna)
        model=hyenadna-tiny-1k options="" more="--set shift=0.05 --set resid_dropout=0.0 --set embed_dropout=0.1"
        unseen=$folder/$budget-hyenadna-unseen ;;
    # from scratch its words are those of the training split; 0.001 as 3e-5, for 117 M parameters, learns nothing in three epochs
    bert)
        model=dnabert2 options="--set vocabulary=1024 --set width=128 --set layers=3 --set heads=4 --set inner=512"
        more="$options --set dnabert2.lr=0.001" unseen=$folder/$budget-bert-unseen ;;
    gpn) model=gpn-smol options="--set width=128 --set layers=4 --set inner=496" more=$options unseen=$folder/$budget-gpn-unseen ;;
esac
saw=$folder/$budget-$NETWORK
# as yeast.sh, but without the test sequences of all three tasks and a window on each side
[ -f "$unseen/network.json" ] || $python -m dnabench pretrain $model $options --genome "$genome" --holdout XI \
    --exclude-task nt_reduced/h3 --exclude-task nt_reduced/h3k4me3 --exclude-task demo/yeast_genes \
    --set batch=16 --set lr=0.001 --budget "$budget" --looks 8 --to "$unseen"
$python "$(dirname "$0")/seen.py" "$saw" "$unseen" -- nt_reduced/h3 nt_reduced/h3k4me3 demo/yeast_genes
for stage in "$@"; do
    how="--precision ${PRECISION:-fp32}"
    case $stage in
        yeast_genes) task=demo/yeast_genes ;;
        h3-tenth) task=nt_reduced/h3 how="$how --train-share 0.1 --batch-size 16" ;;
        *) task=nt_reduced/$stage ;;
    esac
    $python -m dnabench run --models $model --tasks $task --epochs 3 $how $more \
        --regime $model=scratch --regime "$model=checkpoint:$saw" --regime "$model=checkpoint:$unseen" \
        --seeds "${SEEDS:-5}" --jobs 1 --device cpu --out "$folder/runs-$stage"
    $python -m dnabench report --out "$folder/runs-$stage"
done
