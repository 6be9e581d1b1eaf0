"""Suite `nt_reduced`: three yeast histone tasks with the official test and a smaller training set.

For development where the hub cannot be reached. Scores are below those of the `nt` tasks and must
not be compared with published ones, so the tasks have names of their own.

The test split is that of nt/h3, nt/h3k4me3 and nt/h3k14ac. Train is the 25-30 % of the official one
that public copies of GUE give: rows of GUE's dev, test and train that are not in the NT test.
"""

from __future__ import annotations

from dnabench.tasks._declare import Origin, declare

TABLE = (("H3", 3_964, 1_497), ("H3K4me3", 8_312, 3_680), ("H3K14ac", 7_635, 3_305))

for _folder, _train, _test in TABLE:
    declare(
        f"nt_reduced/{_folder.lower()}",
        kind="binary",
        classes=("negative", "positive"),
        metric="mcc",
        length=500,
        official={"train": _train, "test": _test},
        source="derived here from public copies of GUE and NT; Pokholok et al. 2005, yeast",
        license="none stated by the holders",
        family="yeast histone marks",
        symmetric=True,
        aliases=(f"nt_reduced/{_folder}",),
        origin=Origin(
            by_hand=f"Use nt_histone_reduced/{_folder} (train_reduced.csv, test.csv) of the folder "
            "shared/data that lies beside the developers' checkout"
        ),
    )
