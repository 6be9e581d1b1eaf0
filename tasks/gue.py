"""Suite `gue`: the 28 data sets of Genome Understanding Evaluation, the benchmark of DNABERT-2.

Counts are those of the files, from the comments of configs/dataset/gue.yaml of a Caduceus
fork (e396251) for the copy on the hub that is fetched here. The paper's table differs:

- virus_covid: 73,335 / 9,166 / 9,168 here; 77,669 / 7,000 / 7,000 in the paper; DNABERT_2 issue 52
  counts 73,335 / 9,168 / 9,168 and its author calls the paper's numbers a typo. 9,166 in dev is
  taken: two independent counts give it, and the file of 9.19 MB beside a test file of 9.2 MB.
- emp_h3k14ac: train 26,438 here, 26,483 in a transcript of the paper's table. 26,438 is taken: with
  dev and test it gives the 33,048 windows of nt/h3k14ac. For the same reason dev of emp_h3k79me3 is
  2,884, not 2,883.

The EMP tasks and the histone tasks of `nt` are windows of the same yeast loci, split differently.
The classes of splice_reconstructed were read from the sequences: label 0 has AG before the middle
(acceptor), 1 has GT after it (donor). The variants of virus_covid are, in the paper's order, Alpha,
Beta, Delta, Eta, Gamma, Iota, Kappa, Lambda and Zeta; which label is which is not published.

Metric: MCC; macro F1 for virus_covid, as in the paper.
"""

from __future__ import annotations

from dnabench.tasks._declare import Origin, declare

REPO = "leannmlindsey/GUE"
REVISION = "2db3b738af3c676c243350ac337b9560ab15b04b"
SOURCE = "Zhou et al. 2024 (DNABERT-2), ICLR, arXiv:2306.15006"
BY_HAND = (
    "Get GUE.zip of the authors from "
    "https://drive.google.com/file/d/1GRtbzTe3UXYF1oW27ASNhYX3SZ16D7N2/view and unpack it"
)

# folder of the hub, train, dev, test, bp, family
TABLE = (
    ("emp_H3", 11_971, 1_497, 1_497, 500, "yeast histone marks"),
    ("emp_H3K14ac", 26_438, 3_305, 3_305, 500, "yeast histone marks"),
    ("emp_H3K36me3", 27_904, 3_488, 3_488, 500, "yeast histone marks"),
    ("emp_H3K4me1", 25_341, 3_168, 3_168, 500, "yeast histone marks"),
    ("emp_H3K4me2", 24_545, 3_069, 3_069, 500, "yeast histone marks"),
    ("emp_H3K4me3", 29_439, 3_680, 3_680, 500, "yeast histone marks"),
    ("emp_H3K79me3", 23_069, 2_884, 2_884, 500, "yeast histone marks"),
    ("emp_H3K9ac", 22_224, 2_779, 2_779, 500, "yeast histone marks"),
    ("emp_H4", 11_679, 1_461, 1_461, 500, "yeast histone marks"),
    ("emp_H4ac", 27_275, 3_410, 3_410, 500, "yeast histone marks"),
    ("mouse_0", 6_478, 810, 810, 101, "mouse TF binding"),
    ("mouse_1", 53_952, 6_745, 6_745, 101, "mouse TF binding"),
    ("mouse_2", 2_620, 328, 328, 101, "mouse TF binding"),
    ("mouse_3", 1_904, 239, 239, 101, "mouse TF binding"),
    ("mouse_4", 15_064, 1_883, 1_883, 101, "mouse TF binding"),
    ("prom_300_all", 47_356, 5_920, 5_920, 300, "human promoters"),
    ("prom_300_notata", 42_452, 5_307, 5_307, 300, "human promoters"),
    ("prom_300_tata", 4_904, 613, 613, 300, "human promoters"),
    ("prom_core_all", 47_356, 5_920, 5_920, 70, "human promoters"),
    ("prom_core_notata", 42_452, 5_307, 5_307, 70, "human promoters"),
    ("prom_core_tata", 4_904, 613, 613, 70, "human promoters"),
    ("splice_reconstructed", 36_496, 4_562, 4_562, 400, "human splice sites"),
    ("human_tf_0", 32_378, 1_000, 1_000, 101, "human TF binding"),
    ("human_tf_1", 30_672, 1_000, 1_000, 101, "human TF binding"),
    ("human_tf_2", 19_000, 1_000, 1_000, 101, "human TF binding"),
    ("human_tf_3", 27_294, 1_000, 1_000, 101, "human TF binding"),
    ("human_tf_4", 19_000, 1_000, 1_000, 101, "human TF binding"),
    ("virus_covid", 73_335, 9_166, 9_168, 999, "SARS-CoV-2 variants"),
)
SYMMETRIC = ("yeast histone marks", "mouse TF binding", "human TF binding")  # ChIP has no strand
CLASSES = {
    "splice_reconstructed": ("acceptor", "donor", "neither"),
    "virus_covid": tuple("012345678"),
}
OTHERS = {"splice_reconstructed": "reconstructed", "virus_covid": "covid"}

for _folder, _train, _dev, _test, _length, _family in TABLE:
    _name = _folder.lower().removeprefix("human_")
    _other = _folder if _folder != _name else OTHERS.get(_name)
    declare(
        f"gue/{_name}",
        kind="multiclass" if _name in CLASSES else "binary",
        classes=CLASSES.get(_name, ("negative", "positive")),
        metric="f1_macro" if _name == "virus_covid" else "mcc",
        length=_length,
        official={"train": _train, "dev": _dev, "test": _test},
        source=SOURCE,
        license="Apache-2.0" + ("; genomes of GISAID" if _name == "virus_covid" else ""),
        family=_family,
        symmetric=_family in SYMMETRIC,
        aliases=(f"gue/{_other}",) if _other else (),
        origin=Origin(
            repo=REPO,
            revision=REVISION,
            files={
                "train": (f"GUE/{_folder}/train.csv",),
                "dev": (f"GUE/{_folder}/dev.csv",),
                "test": (f"GUE/{_folder}/test.csv",),
            },
            by_hand=BY_HAND,
        ),
    )
