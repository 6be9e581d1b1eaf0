"""Suite `genomic_benchmarks`: the 8 data sets that papers use, and drosophila_enhancers_stark.

Classes are the sorted names of the class folders, the same for both splits; loaders that took the
order of the file system have swapped labels (genomic_benchmarks issue 15).

Counts and longest sequences: what the authors' executed notebooks print (experiments/ of
ML-Bioinfo-CEITEC/genomic_benchmarks), the README of genomic-benchmarks 1.0.0, and, for train where
only the test split is printed, the totals of HyenaDNA's configs/dataset/genomic_benchmark.yaml
(which calls train + test `train_len`). 802 bp for human_ensembl_regulatory: zhangtaolab/dnallmmark.

The files are fetched from the authors' Zenodo record, as their package 1.0.0 does, in which classes
are folders. The copies on the hub, katarinagresova/Genomic_Benchmarks_<task>, number the classes
and do not say which is which, so they are not used as a mirror.
"""

from __future__ import annotations

from dnabench.tasks._declare import Origin, declare

RECORD = "https://zenodo.org/records/16605299"
BOTH = ("negative", "positive")

# task, classes, train, test, bp, family
TABLE = (
    ("demo_coding_vs_intergenomic_seqs", ("coding_seqs", "intergenomic_seqs"), 75_000, 25_000, 200,
     "human coding sequence"),
    ("demo_human_or_worm", ("human", "worm"), 75_000, 25_000, 200, "species"),
    ("drosophila_enhancers_stark", BOTH, 5_184, 1_730, 3237, "fly enhancers"),
    ("dummy_mouse_enhancers_ensembl", BOTH, 968, 242, 4776, "mouse enhancers"),
    ("human_enhancers_cohn", BOTH, 20_843, 6_948, 500, "human enhancers"),
    ("human_enhancers_ensembl", BOTH, 123_872, 30_970, 573, "human enhancers"),
    ("human_ensembl_regulatory", ("enhancer", "ocr", "promoter"), 231_348, 57_713, 802,
     "human regulatory elements"),
    ("human_nontata_promoters", BOTH, 27_097, 9_034, 251, "human promoters"),
    ("human_ocr_ensembl", BOTH, 139_804, 34_952, 593, "human regulatory elements"),
)  # fmt: skip
SYMMETRIC = ("enhancers", "ocr_ensembl")  # parts of the names of tasks without a strand

for _name, _classes, _train, _test, _length, _family in TABLE:
    declare(
        f"genomic_benchmarks/{_name}",
        kind="binary" if len(_classes) == 2 else "multiclass",
        classes=_classes,
        metric="accuracy",
        length=_length,
        official={"train": _train, "test": _test},
        source="Grešová et al. 2023, BMC Genomic Data 24:25",
        license="Apache-2.0",
        family=_family,
        symmetric=any(word in _name for word in SYMMETRIC),
        origin=Origin(urls=(f"{RECORD}/files/{_name}_v0.zip?download=1",)),
    )
