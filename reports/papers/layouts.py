"""How the tables of the ConvNova paper are laid out: rows, columns, groups, and what is marked."""

from dnabench.reports.papers.grid import Heads, Layout, Rule

PAPER = "convnova"
MARKS = ("H3", "H3K4me1", "H3K4me2", "H3K4me3", "H3K9ac", "H3K14ac", "H3K36me3", "H3K79me3")
HISTONE = (*MARKS, "H4", "H4ac")
NT = {
    "Histone": HISTONE,
    "Regulatory": (
        "Enhancer", "Enhancer Types", "Promoter All", "Promoter non-TATA", "Promoter TATA",
    ),
    "Splice sites": ("Splice Acceptor", "Splice Donor", "Splice All"),
}  # fmt: skip
GENOMIC = {
    "Enhancers": ("Mouse Enhancers", "Human Enhancers Cohn", "Human Enhancer Ensembl"),
    "Species Classification": ("Coding vs. Intergenic", "Human vs. Worm"),
    "Regulatory Elements": ("Human Regulatory", "Human Non-TATA Promoters", "Human OCR Ensembl"),
}
REGULATORY = (
    "Promoter All", "Promoter Non-TATA", "Promoter TATA", "Splice Sites All",
    "Splice Sites Acceptor", "Splice Sites Donor", "Enhancer", "Enhancer Types",
)  # fmt: skip
DILATIONS = ("ConvNova (4 dilation)", "ConvNova (1 dilation)")
BASELINES = ("Caduceus-Ph", "HyenaDNA", "DNABERT-2", "NTv2")
KERNELS = ("3", "5", "7", "9", "11")


def _heads(*labels: str) -> tuple[Heads, ...]:
    """Columns with one head each."""
    return tuple((label,) for label in labels)


def _under(head: str, *labels: str) -> tuple[Heads, ...]:
    """Columns below a head that they share."""
    return tuple((head, label) for label in labels)


def _sizes(regime: str, **models: str) -> tuple[Heads, ...]:
    """Columns of Table 10: a regime, its models, and the sizes of each."""
    return tuple(
        (regime, model.replace("_", "-"), size)
        for model, sizes in models.items()
        for size in sizes.split()
    )


def _seeds(table: str, corner: str, tasks: tuple[str, ...], models: tuple[str, ...]) -> Layout:
    """Tables 16 to 18: a group a task, a row a model, a column a seed."""
    return Layout(
        table=table, corner=corner, rows=dict.fromkeys(tasks, models), along="group", rule="best",
        blocks=[_heads("2222", *map(str, range(42, 51)))], column_by=("seed",),
        row_by=("task", "model", "variant"),
        remarks=("The caption marks the best values per task: here, the best run of each task.",),
    )  # fmt: skip


TABLE_1 = _heads(
    "NTv2 (500M)", "HyenaDNA (1.6M)", "DNABERT-2 (117M)", "Caduceus-Ph (1.9M)", "ConvNova (1.7M)"
)
TABLE_2 = _heads("CNN (264K)", "HyenaDNA (436K)", "Caduceus-Ph (470K)", "ConvNova (386K)")
TABLE_3 = _heads(
    "NT-H (500M)", "DNABERT-2 (117M)", "GENA-LM (336M)", "HyenaDNA (6.5M)", "ConvNova (7.4M)"
)
TABLE_10 = _sizes(
    "Pretrain", ConvNova="6.8M 27.4M", Hyena_DNA="0.4M 3.3M 6.5M", NTv2="50M 100M 250M 500M",
    DNABERT_2="117M",
) + _sizes("From Scratch", ConvNova="1.7M 6.8M 27.4M", DeepATT="7.8M")  # fmt: skip
BLOCKS_12 = (
    _under("Histone Modifications", *MARKS),
    _under("promoter", "all", "non_tata", "tata")
    + _under("splice_sites", "all", "acceptor", "donor")
    + _under("enhancer", "", "types"),
)
TWO: Rule = "best and second"
_ALL = (
    Layout(table="1", corner="", rows=NT, blocks=[TABLE_1], rule=TWO),
    Layout(table="2", rows=GENOMIC, blocks=[TABLE_2], rule=TWO),
    Layout(table="3", corner="GeneFinding", rows={"": [""]}, blocks=[TABLE_3], rule="best",
           remarks=("The baselines' values are those of BEND (section A.2.3).",)),
    Layout(table="4", rows={"": ("H3", "H3K4me1", "H3K9ac", "Promoter All", "Splice Sites All")},
           blocks=[_heads("Downsampling (1.7M)", "Dilation (1.7M)")], rule="best"),
    Layout(table="5", rows={"": HISTONE}, rule=TWO,
           blocks=[_heads("w/o Gate", "Single Branch", "ConvNova")]),
    Layout(table="6", rows={"": ("H3K4me2", "H3K4me3", "H3K14ac", "H3K9ac")}, rule="best",
           blocks=[_heads("15% Receptive Field", "100% Receptive Field")], column_by=("variant",),
           remarks=("15 % is dilation 1 and 100 % is dilation 4, by match with Table 17.",)),
    Layout(table="10", corner="Tasks", rows={"": ("TF", "HM", "DHS", "Avg.")}, blocks=[TABLE_10],
           row_by=("metric",), rule=TWO),
    Layout(table="11", corner="Kernel Size \\ Dilation Rate", rows={"": KERNELS},
           blocks=[_heads("1", "2", "3", "4")], row_by=("kernel",), column_by=("dilation",)),
    Layout(table="12", rows={"": [f"k{k}_d{d}" for k in KERNELS for d in "1234"]},
           blocks=BLOCKS_12, row_by=("kernel", "dilation"), column_by=("task",),
           remarks=("In print the word types stands over the first enhancer column; the match of "
                    "k9_d4 with Table 13 puts it over the second.",
                    "H4 and H4ac are not in the table.")),
    Layout(table="13", corner="", rows=NT, rule=TWO, remarks=("* is trained from scratch.",),
           blocks=[TABLE_1 + _heads("Basenji (7.4M)", "LegNet (2.1M)", "ConvNova* (1.7M)")]),
    Layout(table="14", rows=GENOMIC, rule=TWO, remarks=("The size of Basenji is printed as 7.4N.",),
           blocks=[TABLE_2 + _heads("Basenji (7.4M)", "LegNet (2.1M)")]),
    Layout(table="15", rows={"": ("H3K14ac", "H3K4me2", "H3K4me3")},
           blocks=[_heads("NTv2*", "NTv2")],
           remarks=("* is the paper's modification; both are trained from scratch (A.5).",)),
    _seeds("16", "Seed", REGULATORY, (DILATIONS[0], *BASELINES)),
    _seeds("17", "Task/Model", MARKS, (*DILATIONS, *BASELINES)),
    _seeds("18", "Task/Model", ("H4", "H4ac"), (*DILATIONS, *BASELINES)),
)  # fmt: skip
LAYOUTS = {layout.table: layout for layout in _ALL}
