"""Recipes of the suites bend, deepsea and deepstarr, family by family; each names its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnabench.types import Published, Recipe

PAPER = "ConvNova, arXiv 2502.18538, appendix {} and table 7"
OPEN = "house: the source states none"
CODE = "aim-uofa/ConvNova@c606027 configs/experiment, as for its other suites"
# what the paper's appendix leaves open; cosine, decay, rate and epochs are its own
UNSTATED = {
    "batch": OPEN, "no_decay": OPEN, "horizon": OPEN, "rc": OPEN, "padding": OPEN,
    "warmup": CODE, "warmup_from": CODE, "lr_floor": CODE, "clip": CODE,
}  # fmt: skip
TREE = "open-genome/dna@e38e5b5 configs/experiment/hg38/{}.yaml"
DEVELOPED = (
    "it is of a development tree that resembles ConvNova's, which prints no score of this task"
)
TRAIN_LEN = "train_len of the configured data set"
ALIKE = "house: all sequences have one length"


def chromatin(
    lr: float, lr_from: str, differs: str, why: Mapping[str, str] | None = None, **numbers: Any
) -> Published:
    """DeepSEA as ConvNova's paper trained every model of its table 10.

    Args:
        lr: the learning rate.
        lr_from: where it is from: that of other models is "official" in the paper, not printed.
        differs: what is not as in the paper.
        why: sources of other fields.
        numbers: fields that the paper leaves open, and options.
    """
    return Published(
        lr=lr, weight_decay=0.1, epochs=10, source=PAPER.format("A.2.2"), differs=differs,
        why=UNSTATED | {"lr": lr_from} | dict(why or {}), **numbers,
    )  # fmt: skip


# lengths of table 9 (1K, 2K, 16K) are those of table 8, in pretraining: windows have 1,000 bp
NO_BATCH = "the paper states no batch ({})"
CONVNOVA: dict[str, Recipe] = {
    "deepsea": chromatin(
        1e-3, PAPER.format("A.2.2"),
        NO_BATCH.format("ours is the house's, its table 7 has 256 for pretraining")
        + f"; {TREE.format('deepsea_denoise')} has another rate, batch and length: 1e-5, 512, 50 "
        "epochs",
    ),
    "bend": Published(
        lr=1e-3, weight_decay=0.1, epochs=10, source=PAPER.format("A.2.3"),
        why=UNSTATED | {"precision": OPEN},
        differs=NO_BATCH.format("ours is the house's")
        + " and no precision, and its script for this task is not out",
    ),
    "deepstarr": Published(
        lr=1e-3, weight_decay=0.1, batch=512, epochs=20, horizon="train",
        source=TREE.format("deepstarr_denoise"),
        why={
            "horizon": TRAIN_LEN, "padding": ALIKE, "no_decay": OPEN,
            "batch": "256 on each of two GPUs", "precision": "house: any device; theirs is fp16",
        },
        differs=f"{DEVELOPED}; at that commit the file trains another network and has ConvNova's "
        "forerunner in a comment; it chooses the epoch on test; its max_length is 248, ours reads "
        "all 249 bp; theirs is fp16 (--precision fp16 on CUDA), ours fp32",
    ),
}  # fmt: skip

HYENA_CONFIG = "HazyResearch/hyena-dna@d553021 configs/experiment/hg38/chromatin_profile.yaml"
HYENA_OPTIONS = {"shift": 0.0, "resid_dropout": 0.0, "embed_dropout": 0.1}
HYENA_SHIFT = (
    "the filters of the training code, HazyResearch/hyena-dna src/models/sequence/hyena.py, and of "
    "its copies; 0.05 is that of the released model"
)
HYENA_WHY = {
    "shift": HYENA_SHIFT, "resid_dropout": HYENA_CONFIG, "embed_dropout": HYENA_CONFIG,
}  # fmt: skip
HYENADNA: dict[str, Recipe] = {
    "deepsea": chromatin(
        6e-4, HYENA_CONFIG, NO_BATCH.format(f"ours is that of {HYENA_CONFIG}"),
        batch=1000, options=HYENA_OPTIONS, why=HYENA_WHY | {"batch": HYENA_CONFIG},
    ),
    "deepsea-official": Published(
        lr=6e-4, weight_decay=0.1, batch=1000, epochs=100, source=HYENA_CONFIG,
        options=HYENA_OPTIONS,
        why={
            "shift": HYENA_SHIFT, "precision": "house: any device; theirs is fp16",
            "padding": ALIKE,
        },
        differs="theirs is fp16 (--precision fp16 on CUDA), ours fp32; it reads 1,024 bp of the "
        "genome around 2.2 million windows of one strand, ours the 1,000 bp of DeepSEA's files "
        "with both strands; its width is 128: hyenadna-tiny-1k",
    ),
    "deepstarr": Published(
        lr=1e-5, weight_decay=1e-4, batch=128, epochs=100, horizon="train",
        source=TREE.format("deepstarr_hyena"), options=HYENA_OPTIONS,
        why={"horizon": TRAIN_LEN, "padding": ALIKE, "shift": HYENA_SHIFT},
        differs=f"{DEVELOPED}; it chooses the epoch on test; its max_length is 248, ours reads all "
        "249 bp; meant for the pretrained weights, a fresh network learns little at this rate",
    ),
}  # fmt: skip

CADUCEUS_PH: dict[str, Recipe] = {
    "deepstarr": Published(
        lr=1e-3, weight_decay=0.1, batch=4096, epochs=100, horizon="train",
        source=TREE.format("deepstarr_caduceus"),
        why={"horizon": TRAIN_LEN, "padding": ALIKE, "batch": "2048 on each of two GPUs",
             "no_decay": "house: as in Caduceus' own code (option exempt)"},
        differs=f"{DEVELOPED}; it names no size, and no weights to begin with; it chooses the "
        "epoch on test; its max_length is 248, ours reads all 249 bp",
    ),
}  # fmt: skip

DEEPATT: dict[str, Recipe] = {
    "deepsea": chromatin(
        1e-3, "ljw-struggle/Bioinfor-DeepATT@651b0dc config/config_0.json",
        NO_BATCH.format("ours is that of DeepATT's config_0.json")
        + "; DeepATT's own training, Adam at a constant rate, is recipe 'official'",
        why={"batch": "ljw-struggle/Bioinfor-DeepATT@651b0dc config/config_0.json"},
    ),
}  # fmt: skip

RUN_DNABERT2 = "MAGICS-LAB/DNABERT_2@d87d29f finetune/scripts/run_dnabert2.sh"
DNABERT2: dict[str, Recipe] = {
    "deepsea": chromatin(
        3e-5, RUN_DNABERT2, NO_BATCH.format(f"ours is the 32 of {RUN_DNABERT2}"),
        batch=32, why={"batch": RUN_DNABERT2},
    ),
}  # fmt: skip

LORA = "aim-uofa/ConvNova@c606027, its NTv2 baseline for the NT tasks"
NTV2: dict[str, Recipe] = {
    "deepsea": chromatin(
        1e-4, "MAGICS-LAB/DNABERT_2@d87d29f finetune/scripts/run_nt.sh",
        NO_BATCH.format("ours is the house's")
        + " and not whether it trains all weights: LoRA is that of its NT tasks",
        finetune="lora", lora_r=8, lora_alpha=16, lora_dropout=0.05,
        why={"finetune": LORA, "lora_r": LORA, "lora_alpha": LORA, "lora_dropout": LORA},
    ),
}  # fmt: skip

GENA = "AIRI-Institute/GENA_LM@46250e2 downstream_tasks/DeepSea/finetune_deepsea.sh"
GENA_WHY = dict.fromkeys(("warmup_from", "clip", "precision", "rc", "padding"), OPEN) | {
    "epochs": "no number of the training: max_steps decides",
    "no_decay": "run_deepsea_finetuning.py, run_deepstarr_finetuning.py: all parameters",
}
GENA_BASE = "it is for gena-lm-bert-base; it compares checkpoints every 1000 steps, ours after each"
GENA_LM: dict[str, Recipe] = {
    "deepsea": Published(
        lr=1e-4, weight_decay=1e-4, batch=256, max_steps=1_000_000, schedule="linear", warmup=5000,
        max_length=192, source=GENA, why=GENA_WHY,
        differs=f"{GENA_BASE} epoch, by the mean of the groups' medians; its loss counts positive "
        "labels eight times; its batch is that of a process, of which its README shows two",
    ),
    "deepstarr": Published(
        lr=5e-5, weight_decay=1e-4, batch=64, max_steps=50_000, schedule="constant", warmup=1500,
        max_length=128,
        source="AIRI-Institute/GENA_LM@3d2f416 downstream_tasks/DeepSTARR/finetune_deepstarr.sh",
        why=GENA_WHY, differs=f"{GENA_BASE} epoch",
    ),
}  # fmt: skip

TRAINER = "bend/utils/task_trainer.py, which has none"
# named otherwise than the suite, so that nobody gets frozen weights without asking
BEND_PROBE: dict[str, Recipe] = {
    "bend-probe": Published(
        finetune="probe", head="conv", lr=3e-3, weight_decay=0.01, batch=64, epochs=100,
        schedule="constant", warmup=0.0, clip=0.0,
        source="frederikkemarin/BEND@ac6e80c conf/supervised_tasks/gene_finding.yaml",
        why={"schedule": TRAINER, "warmup": TRAINER, "clip": TRAINER, "padding": OPEN,
             "precision": "house: any device; theirs is fp16"},
        differs="its second convolution reads what the first makes of padding, ours zeros, so that "
        "no score depends on the batch; theirs is fp16 (--precision fp16 on CUDA), ours fp32",
    ),
}  # fmt: skip
