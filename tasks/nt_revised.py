"""Suite `nt_revised`: the 18 downstream tasks of the Nucleotide Transformer, after review (2024).

Not the same tasks as `nt` despite the names: human only, test sets are held-out chromosomes,
negatives are genomic. Its authors recommend it over the older release.

Counts and lengths: the data card of the repository. The card writes splice_sites_acceptor and
_donor, the folders are called _acceptors and _donors. Nobody publishes what the numbers of
enhancers_types (none, tissue-specific, tissue-invariant) and splice_sites_all (none, acceptor,
donor) mean, so these classes keep their numbers as names.

Metric: MCC for all 18, as in the Nature Methods paper.
"""

from __future__ import annotations

from dnabench.tasks._declare import Origin, declare

REPO = "InstaDeepAI/nucleotide_transformer_downstream_tasks_revised"
REVISION = "20419c0982fd2d17dd56fee794f60334d4fa20a3"
SOURCE = "Dalla-Torre et al. 2025, Nat. Methods 22:287; "

# family -> bp, where the sequences come from
FAMILIES = {
    "human histone marks": (1000, "ENCODE histone ChIP-seq, K562"),
    "human enhancers": (400, "ENCODE SCREEN"),
    "human promoters": (300, "Eukaryotic Promoter Database, EPDnew human 006"),
    "human splice sites": (600, "GENCODE V44"),
}

# folder of the hub, train, test, family
TABLE = (
    ("H2AFZ", 30_000, 3_000, "human histone marks"),
    ("H3K27ac", 30_000, 1_616, "human histone marks"),
    ("H3K27me3", 30_000, 3_000, "human histone marks"),
    ("H3K36me3", 30_000, 3_000, "human histone marks"),
    ("H3K4me1", 30_000, 3_000, "human histone marks"),
    ("H3K4me2", 30_000, 2_138, "human histone marks"),
    ("H3K4me3", 30_000, 776, "human histone marks"),
    ("H3K9ac", 23_274, 1_004, "human histone marks"),
    ("H3K9me3", 27_438, 850, "human histone marks"),
    ("H4K20me1", 30_000, 2_270, "human histone marks"),
    ("enhancers", 30_000, 3_000, "human enhancers"),
    ("enhancers_types", 30_000, 3_000, "human enhancers"),
    ("promoter_all", 30_000, 1_584, "human promoters"),
    ("promoter_no_tata", 30_000, 1_372, "human promoters"),
    ("promoter_tata", 5_062, 212, "human promoters"),
    ("splice_sites_all", 30_000, 3_000, "human splice sites"),
    ("splice_sites_acceptors", 30_000, 3_000, "human splice sites"),
    ("splice_sites_donors", 30_000, 3_000, "human splice sites"),
)
SYMMETRIC = ("human histone marks", "human enhancers")  # neither ChIP nor DNase has a strand
THREE = ("enhancers_types", "splice_sites_all")  # of three classes
OTHERS = {  # names in other code
    "enhancers": "enhancer",
    "enhancers_types": "enhancer_types",
    "promoter_no_tata": "promoter_non_tata",
    "splice_sites_acceptors": "splice_sites_acceptor",
    "splice_sites_donors": "splice_sites_donor",
}

for _folder, _train, _test, _family in TABLE:
    _length, _source = FAMILIES[_family]
    _other = _folder if _folder != _folder.lower() else OTHERS.get(_folder)
    declare(
        f"nt_revised/{_folder.lower()}",
        kind="multiclass" if _folder in THREE else "binary",
        classes=("0", "1", "2") if _folder in THREE else ("negative", "positive"),
        metric="mcc",
        length=_length,
        official={"train": _train, "test": _test},
        source=SOURCE + _source,
        license="none stated by the holder",
        family=_family,
        symmetric=_family in SYMMETRIC,
        aliases=(f"nt_revised/{_other}",) if _other else (),
        origin=Origin(
            repo=REPO,
            revision=REVISION,
            files={"train": (f"{_folder}/train.fna",), "test": (f"{_folder}/test.fna",)},
        ),
    )
