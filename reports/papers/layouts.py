"""How the tables of the ConvNova paper are laid out: rows, columns, groups, and what is marked."""

from __future__ import annotations

from collections.abc import Iterable

from dnabench.reports.papers.grid import Column, Layout, Line

PAPER = "convnova"


def _models(*texts: str) -> tuple[Column, ...]:
    """Columns from "label|model|params|regime"; what is not said may be anything."""
    split = (text.split("|") for text in texts)
    names = ("model", "params", "regime")
    return tuple(Column((label,), dict(zip(names, rest, strict=False))) for label, *rest in split)


def _tasks(suite: str, text: str, group: str = "") -> tuple[Line, ...]:
    """Lines from "label=task" with commas between; without a task it is the label in lower case."""
    pairs = (item.split("=") for item in text.split(", "))
    return tuple(
        Line(label, {"task": f"{suite}/{(task or [label.lower()])[0]}"}, group)
        for label, *task in pairs
    )


MARKS = "H3, H3K4me1, H3K4me2, H3K4me3, H3K9ac, H3K14ac, H3K36me3, H3K79me3"
NT = (
    *_tasks("nt", f"{MARKS}, H4, H4ac", "Histone"),
    *_tasks(
        "nt",
        "Enhancer=enhancers, Enhancer Types=enhancers_types, Promoter All=promoter_all, "
        "Promoter non-TATA=promoter_no_tata, Promoter TATA=promoter_tata",
        "Regulatory",
    ),
    *_tasks(
        "nt",
        "Splice Acceptor=splice_sites_acceptors, Splice Donor=splice_sites_donors, "
        "Splice All=splice_sites_all",
        "Splice sites",
    ),
)
GENOMIC = (
    *_tasks(
        "genomic_benchmarks",
        "Mouse Enhancers=dummy_mouse_enhancers_ensembl, "
        "Human Enhancers Cohn=human_enhancers_cohn, Human Enhancer Ensembl=human_enhancers_ensembl",
        "Enhancers",
    ),
    *_tasks(
        "genomic_benchmarks",
        "Coding vs. Intergenic=demo_coding_vs_intergenomic_seqs, Human vs. Worm=demo_human_or_worm",
        "Species Classification",
    ),
    *_tasks(
        "genomic_benchmarks",
        "Human Regulatory=human_ensembl_regulatory, "
        "Human Non-TATA Promoters=human_nontata_promoters, Human OCR Ensembl=human_ocr_ensembl",
        "Regulatory Elements",
    ),
)
TABLE_1 = _models(
    "NTv2 (500M)|ntv2|500M|pretrained",
    "HyenaDNA (1.6M)|hyenadna|1.6M|pretrained",
    "DNABERT-2 (117M)|dnabert2|117M|pretrained",
    "Caduceus-Ph (1.9M)|caduceus_ph|1.9M|pretrained",
    "ConvNova (1.7M)|convnova|1.7M|pretrained",
)
TABLE_2 = _models(
    "CNN (264K)|cnn|264K|scratch",
    "HyenaDNA (436K)|hyenadna|436K|pretrained",
    "Caduceus-Ph (470K)|caduceus_ph|470K|pretrained",
    "ConvNova (386K)|convnova|386K|pretrained",
)


def _sizes(regime: str, said: str, text: str) -> Iterable[Column]:
    """Columns of Table 10 from "label model size size ..." with semicolons between."""
    for item in text.split("; "):
        label, model, *sizes = item.split()
        for size in sizes:
            fields = {"model": model, "params": size, "regime": regime}
            yield Column((said, label, size), fields)


SEEDS = ("2222", *map(str, range(42, 51)))
SEED_COLUMNS = tuple(Column((seed,), {"seed": seed}) for seed in SEEDS)
RUNS = (
    ("ConvNova (4 dilation)", "convnova", "dilation=4"),
    ("ConvNova (1 dilation)", "convnova", "dilation=1"),
    ("Caduceus-Ph", "caduceus_ph", "default"),
    ("HyenaDNA", "hyenadna", "default"),
    ("DNABERT-2", "dnabert2", "default"),
    ("NTv2", "ntv2", "default"),
)


def _runs(tasks: Iterable[Line], dilations: str) -> tuple[Line, ...]:
    """A group a task, a line a model; `dilations` says which of ConvNova's there are."""
    return tuple(
        Line(label, {**task.fields, "model": model, "variant": variant}, task.label)
        for task in tasks
        for label, model, variant in RUNS
        if model != "convnova" or variant[-1] in dilations
    )


def _kernel_columns(head: str, text: str) -> tuple[Column, ...]:
    return tuple(Column((head, line.label), line.fields) for line in _tasks("nt", text))


KERNELS, DILATIONS = (3, 5, 7, 9, 11), (1, 2, 3, 4)
ONCE_PER_TASK = "The caption marks the best values per task: here, the best run of each task."
LAYOUTS = {
    one.table: one
    for one in (
        Layout(table="1", corner="", blocks=(TABLE_1,), lines=NT, rule="best and second"),
        Layout(table="2", corner="Task", blocks=(TABLE_2,), lines=GENOMIC, rule="best and second"),
        Layout(
            table="3",
            corner="GeneFinding",
            blocks=(
                _models(
                    "NT-H (500M)|nt_h|500M", "DNABERT-2 (117M)|dnabert2|117M",
                    "GENA-LM (336M)|gena_lm|336M", "HyenaDNA (6.5M)|hyenadna|6.5M",
                    "ConvNova (7.4M)|convnova|7.4M",
                ),
            ),
            lines=(Line("", {}),),
            rule="best",
            remarks=("The baselines' values are those of BEND (section A.2.3).",),
        ),
        Layout(
            table="4",
            corner="Task",
            blocks=(
                _models("Downsampling (1.7M)|convnova_unet|1.7M", "Dilation (1.7M)|convnova|1.7M"),
            ),
            lines=_tasks(
                "nt",
                "H3, H3K4me1, H3K9ac, Promoter All=promoter_all, Splice Sites All=splice_sites_all",
            ),
            rule="best",
        ),
        Layout(
            table="5",
            corner="Task",
            blocks=(
                _models(
                    "w/o Gate|convnova_no_gate", "Single Branch|convnova_single_branch",
                    "ConvNova|convnova",
                ),
            ),
            lines=_tasks("nt", f"{MARKS}, H4, H4ac"),
            rule="best and second",
        ),
        Layout(
            table="6",
            corner="Task",
            blocks=(
                (
                    Column(("15% Receptive Field",), {"variant": "dilation=1"}),
                    Column(("100% Receptive Field",), {"variant": "dilation=4"}),
                ),
            ),
            lines=_tasks("nt", "H3K4me2, H3K4me3, H3K14ac, H3K9ac"),
            rule="best",
            remarks=("15 % is dilation 1 and 100 % is dilation 4, by match with Table 17.",),
        ),
        Layout(
            table="10",
            corner="Tasks",
            blocks=(
                (
                    *_sizes(
                        "pretrained", "Pretrain",
                        "ConvNova convnova 6.8M 27.4M; Hyena-DNA hyenadna 0.4M 3.3M 6.5M; "
                        "NTv2 ntv2 50M 100M 250M 500M; DNABERT-2 dnabert2 117M",
                    ),
                    *_sizes(
                        "scratch", "From Scratch",
                        "ConvNova convnova 1.7M 6.8M 27.4M; DeepATT deepatt 7.8M",
                    ),
                ),
            ),
            lines=tuple(
                Line(label, {"metric": metric})
                for label, metric in (
                    ("TF", "auroc_tf"), ("HM", "auroc_hm"), ("DHS", "auroc_dhs"),
                    ("Avg.", "auroc_avg"),
                )
            ),
            rule="best and second",
        ),
        Layout(
            table="11",
            corner="Kernel Size \\ Dilation Rate",
            blocks=(tuple(Column((str(d),), {"dilation": str(d)}) for d in DILATIONS),),
            lines=tuple(Line(str(k), {"kernel": str(k)}) for k in KERNELS),
            rule="none",
        ),
        Layout(
            table="12",
            corner="Task",
            blocks=(
                _kernel_columns("Histone Modifications", MARKS),
                (
                    *_kernel_columns(
                        "promoter",
                        "all=promoter_all, non_tata=promoter_no_tata, tata=promoter_tata",
                    ),
                    *_kernel_columns(
                        "splice_sites",
                        "all=splice_sites_all, acceptor=splice_sites_acceptors, "
                        "donor=splice_sites_donors",
                    ),
                    *_kernel_columns("enhancer", "=enhancers, types=enhancers_types"),
                ),
            ),
            lines=tuple(
                Line(f"k{k}_d{d}", {"kernel": str(k), "dilation": str(d)})
                for k in KERNELS
                for d in DILATIONS
            ),
            rule="none",
            remarks=(
                "In print the word types stands over the first enhancer column; the match of k9_d4 "
                "with Table 13 puts it over the second.",
                "H4 and H4ac are not in the table.",
            ),
        ),
        Layout(
            table="13",
            corner="",
            blocks=(
                (
                    *TABLE_1,
                    *_models(
                        "Basenji (7.4M)|basenji|7.4M|scratch", "LegNet (2.1M)|legnet|2.1M|scratch",
                        "ConvNova* (1.7M)|convnova|1.7M|scratch",
                    ),
                ),
            ),
            lines=NT,
            rule="best and second",
            remarks=("* is trained from scratch.",),
        ),
        Layout(
            table="14",
            corner="Task",
            blocks=(
                (
                    *TABLE_2,
                    *_models("Basenji (7.4M)|basenji|7.4M", "LegNet (2.1M)|legnet|2.1M"),
                ),
            ),
            lines=GENOMIC,
            rule="best and second",
            remarks=("The size of Basenji is printed as 7.4N.",),
        ),
        Layout(
            table="15",
            corner="Task",
            blocks=(_models("NTv2*|ntv2_star", "NTv2|ntv2"),),
            lines=_tasks("nt", "H3K14ac, H3K4me2, H3K4me3"),
            rule="none",
            remarks=("* is the paper's modification; both are trained from scratch (A.5).",),
        ),
        Layout(
            table="16",
            corner="Seed",
            blocks=(SEED_COLUMNS,),
            lines=_runs(
                _tasks(
                    "nt",
                    "Promoter All=promoter_all, Promoter Non-TATA=promoter_no_tata, "
                    "Promoter TATA=promoter_tata, Splice Sites All=splice_sites_all, "
                    "Splice Sites Acceptor=splice_sites_acceptors, "
                    "Splice Sites Donor=splice_sites_donors, Enhancer=enhancers, "
                    "Enhancer Types=enhancers_types",
                ),
                "4",
            ),
            rule="best",
            along="group",
            remarks=(ONCE_PER_TASK,),
        ),
        Layout(
            table="17",
            corner="Task/Model",
            blocks=(SEED_COLUMNS,),
            lines=_runs(_tasks("nt", MARKS), "41"),
            rule="best",
            along="group",
            remarks=(ONCE_PER_TASK,),
        ),
        Layout(
            table="18",
            corner="Task/Model",
            blocks=(SEED_COLUMNS,),
            lines=_runs(_tasks("nt", "H4, H4ac"), "41"),
            rule="best",
            along="group",
            remarks=(ONCE_PER_TASK,),
        ),
    )
}  # fmt: skip
