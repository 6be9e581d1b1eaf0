"""Which flags of own data go together, and with which formats; those without effect are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from dnabench.tasks.io.parsing import format_of
from dnabench.tasks.io.plain import is_plain
from dnabench.tasks.io.regions import is_regions
from dnabench.tasks.io.sheets import is_sheet
from dnabench.tasks.io.variants import is_variants
from dnabench.types import Kind, OwnData

TABLE, SHEET, FASTA, TEXT = "a table", "a spreadsheet", "FASTA", "a text of sequences"
CLASS, REGIONS, VARIANTS = "a folder of a class", "regions", "variants"
USUAL = OwnData()


class Flag(NamedTuple):
    """A flag, its field of `OwnData`, the formats it goes with, and those in words."""

    flag: str
    field: str
    formats: frozenset[str]
    what: str


_TABLES, _ON_GENOME = frozenset({TABLE, SHEET}), frozenset({REGIONS, VARIANTS})
_PLACES = "regions (.bed) and variants (.vcf)"
FORMATS = (
    Flag("--sequence-column", "sequence", _TABLES, "tables"),
    Flag("--id-column", "id", _TABLES, "tables; in FASTA --header says where the name is"),
    Flag("--split-column", "split", _TABLES, "tables; in FASTA --header says where the split is"),
    Flag("--label-column", "label", _TABLES | {VARIANTS},
         "tables and variants; in FASTA --header says where the label is"),
    Flag("--header", "header", frozenset({FASTA}), "FASTA"),
    Flag("--sheet", "sheet", frozenset({SHEET}), "spreadsheets (.xlsx, .ods)"),
    Flag("--genome", "genome", _ON_GENOME, _PLACES),
    Flag("--length", "length", _ON_GENOME, _PLACES),
    Flag("--negatives-seed", "negatives_seed", frozenset({REGIONS}), "regions (.bed)"),
)  # fmt: skip
# a flag that another leaves without effect
TOGETHER: tuple[tuple[str, Callable[[OwnData], object], str], ...] = (
    ("--negatives-seed", lambda o: o.negatives_seed and o.negatives,
     "it draws negatives, and --negatives names them"),
    ("--identity", lambda o: o.identity != USUAL.identity and not o.leak_check,
     "--no-leak-check looks for no near copies"),
    ("--coverage", lambda o: o.coverage != USUAL.coverage and not o.leak_check,
     "--no-leak-check looks for no near copies"),
    ("--split-by homology", lambda o: o.split_by == "homology" and not o.leak_check,
     "--no-leak-check looks for no related sequences"),
    ("--test-groups", lambda o: o.split_by == "homology" and o.test_groups,
     "groups of --split-by homology have no names"),
    ("--dev-groups", lambda o: o.split_by == "homology" and o.dev_groups,
     "groups of --split-by homology have no names"),
    ("--split-column",
     lambda o: o.split not in ("", "none") and (o.split_by or o.test_groups or o.dev_groups),
     "the split is by --split-by, --test-groups or --dev-groups"),
    ("--split-seed", lambda o: o.split_seed and o.test_groups,
     "it draws a test split, and --test-groups names one"),
)  # fmt: skip


class UnusedError(ValueError):
    """A flag that a data set has no use for, and its field of `OwnData`."""

    def __init__(self, says: str, flag: str = "", field: str = "") -> None:
        super().__init__(says)
        self.flag, self.field = flag, field


def format_in_words(path: Path) -> str:
    """Which of the formats a file has, or a folder of a class."""
    if path.is_dir():
        return CLASS
    for has, what in (
        (is_regions, REGIONS), (is_variants, VARIANTS), (is_plain, TEXT), (is_sheet, SHEET)
    ):  # fmt: skip
        if has(path):
            return what
    return FASTA if format_of(path) == "fasta" else TABLE


def check_flags(path: Path, files: Sequence[Path], own: OwnData) -> None:
    """Refuse flags that would be ignored.

    Args:
        path: of the task, for messages.
        files: that it is read from, of one or more formats.
        own: what was given.

    Raises:
        UnusedError: a flag that is for other formats.
        ValueError: flags that do not go together.
    """
    formats = {format_in_words(file) for file in files}
    if own.labels and (REGIONS in formats or own.negatives):
        raise ValueError(f"{path}: --labels {own.labels}: positives and negatives have theirs")
    one_label = REGIONS in formats or (own.negatives and VARIANTS not in formats)
    if own.label and (one_label or own.labels):
        source = f"--labels {own.labels}" if own.labels else "being positives or negatives"
        says = (
            f"{path}: --label-column {','.join(own.label)}: the labels come from {source}, so no "
            "column of labels is read; leave one of them out"
        )
        if own.labels or own.negatives:
            raise ValueError(says)
        raise UnusedError(says, "--label-column", "label")
    for rule in FORMATS:
        value = getattr(own, rule.field)
        drawn = rule.field == "split" and value == "none"
        if value != getattr(USUAL, rule.field) and not drawn and not formats & rule.formats:
            shown = ",".join(value) if isinstance(value, tuple) else value
            raise UnusedError(
                f"{path}: {rule.flag} {shown} is for {rule.what}, and this is "
                f"{' and '.join(sorted(formats))}; leave it out",
                rule.flag, rule.field,
            )  # fmt: skip
    for flag, ignored, why in TOGETHER:
        if ignored(own):
            raise ValueError(f"{path}: {flag}: {why}; leave one of them out")


def check_used(path: Path, origin: str, kind: Kind, own: OwnData) -> None:
    """Raise UnusedError for a flag that the data leave without effect.

    Args:
        path: of the task.
        origin: of the test split that the data bring; "" = it is drawn.
        kind: of the task.
        own: what was given.
    """
    if own.split_seed and origin:
        raise UnusedError(
            f"{path}: --split-seed {own.split_seed} draws a test split, and the data bring one "
            f"({origin}); leave it out, or write --split-column none",
            "--split-seed", "split_seed",
        )  # fmt: skip
    if own.positive and kind not in ("binary", "multiclass"):
        says = f"{path}: --positive {own.positive}: a {kind} task has no positive class"
        raise UnusedError(says, "--positive", "positive")
