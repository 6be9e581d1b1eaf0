"""Suite `nt`: the 18 downstream tasks of the Nucleotide Transformer, first release (2023).

Counts: train of the histone marks and of promoter_all from HyenaDNA's
configs/dataset/nucleotide_transformer.yaml (1c22069), that of splice_sites_all from Caduceus' file
of the same name; test from the ConvNova study's reference tables. Sources disagree on three tasks
(COUNTS): the data card and Caduceus against HyenaDNA's file and the ConvNova tables. Both pairs of
promoter counts add up to promoter_all. For h4, EMP has 14,601 sequences, which is 13,140 + 1,461.
The card is taken; `dnabench data verify` says which source a file follows.

splice_sites_all is 400 bp long by the size of its files (1.24 MB for 3,000), 600 in ConvNova's
configuration, which pads; HyenaDNA's has the other 17 tasks alone. Nobody publishes which of its
numbers is the donor, nor what the numbers of enhancers_types mean, so these classes keep their
numbers as names.

The metrics are those of the ConvNova paper; other definitions belong to the protocols.
"""

from __future__ import annotations

from dnabench.tasks._declare import Origin, declare

REPO = "InstaDeepAI/nucleotide_transformer_downstream_tasks"
REVISION = "35505196a3ce21d6db1ad42462094ede77108916"
SOURCE = "Dalla-Torre et al. 2025, Nat. Methods 22:287, first release; "
HISTONES = "Pokholok et al. 2005, yeast"
ENHANCERS = "iEnhancer data with synthetic sequences, Biophys. Chem. 2022, S0301462222000643"
PROMOTERS = "DeePromoter, Front. Genet. 2019, fgene.2019.00286"

# family -> bp, metric, where the sequences come from
FAMILIES = {
    "yeast histone marks": (500, "mcc", HISTONES),
    "human enhancers": (200, "mcc", ENHANCERS),
    "human promoters": (300, "f1_macro", PROMOTERS),
    "human splice sites": (600, "f1_macro", "Scalzitti et al. 2021 (Spliceator)"),
}

# folder of the hub, train, test, other names, family; length and classes where they differ
TABLE = (
    ("H3", 13_468, 1_497, (), "yeast histone marks"),
    ("H3K4me1", 28_509, 3_168, (), "yeast histone marks"),
    ("H3K4me2", 27_614, 3_069, (), "yeast histone marks"),
    ("H3K4me3", 33_119, 3_680, (), "yeast histone marks"),
    ("H3K9ac", 25_003, 2_779, (), "yeast histone marks"),
    ("H3K14ac", 29_743, 3_305, (), "yeast histone marks"),
    ("H3K36me3", 31_392, 3_488, (), "yeast histone marks"),
    ("H3K79me3", 25_953, 2_884, (), "yeast histone marks"),
    ("H4", 13_140, 1_461, (), "yeast histone marks"),
    ("H4ac", 30_685, 3_410, (), "yeast histone marks"),
    ("enhancers", 14_968, 400, ("enhancer",), "human enhancers"),
    ("enhancers_types", 14_968, 400, ("enhancer_types",), "human enhancers"),
    ("promoter_all", 53_276, 5_920, (), "human promoters"),
    ("promoter_no_tata", 47_767, 5_299, ("promoter_non_tata",), "human promoters"),
    ("promoter_tata", 5_509, 621, (), "human promoters"),
    ("splice_sites_all", 27_000, 3_000, (), "human splice sites"),
    ("splice_sites_acceptors", 19_961, 2_218, ("splice_sites_acceptor",), "human splice sites"),
    ("splice_sites_donors", 19_775, 2_198, ("splice_sites_donor",), "human splice sites"),
)
SYMMETRIC = ("yeast histone marks", "human enhancers")  # neither ChIP nor DNase has a strand
THREE = ("enhancers_types", "splice_sites_all")  # of three classes
# where sources disagree: train and test of the source that is not taken
CARD, OTHER = "the data card and Caduceus", "HyenaDNA's configuration and the ConvNova tables"
COUNTS = {"H4": (13_140, 1_460), "promoter_no_tata": (47_759, 5_307), "promoter_tata": (5_517, 613)}

for _folder, _train, _test, _others, _family in TABLE:
    _length, _metric, _source = FAMILIES[_family]
    _names = (_folder, *_others) if _folder != _folder.lower() else _others
    if _folder == "splice_sites_all":
        _length, _source = 400, "Wang et al. 2019 (SpliceFinder), BMC Bioinformatics 20:652"
    declare(
        f"nt/{_folder.lower()}",
        kind="multiclass" if _folder in THREE else "binary",
        classes=("0", "1", "2") if _folder in THREE else ("negative", "positive"),
        metric=_metric,
        length=_length,
        official={"train": _train, "test": _test},
        sources={
            CARD: {"train": _train, "test": _test},
            OTHER: dict(zip(("train", "test"), COUNTS[_folder], strict=True)),
        }
        if _folder in COUNTS
        else {},
        source=SOURCE + _source,
        license="none stated by the holder",
        family=_family,
        symmetric=_family in SYMMETRIC,
        aliases=tuple(f"nt/{name}" for name in _names),
        origin=Origin(
            repo=REPO,
            revision=REVISION,
            files={"train": (f"{_folder}/train.fna",), "test": (f"{_folder}/test.fna",)},
        ),
    )
