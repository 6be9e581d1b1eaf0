"""Whether a column or a file of a user may say the split, judged by its name and its values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from dnabench.tasks.io.headers import SPLIT_WORDS
from dnabench.tasks.io.table import Table
from dnabench.types import OwnData, SplitName

MOST_VALUES = 20  # a column with more different values is no split, whatever they say
# names that say "split" without saying which is which
_MAYBE = re.compile(
    r"eval|evaluation|hold_?out|held(_?out)?|unseen|blind|tune|tuning|cv|cv_?fold|folds?\d*|"
    r"partition|subset|set|data_?split|train_?test|split_?name|is_?(test|train)|phase|testing"
)
_SPLIT = re.compile(rf"({'|'.join(SPLIT_WORDS)})(set|data|split)?\d*")
_TRAIN = re.compile(r"train(ing)?(set|data|split)?\d*")
_TEST = re.compile(
    r"(test(ing)?|hold|holdout|heldout|held|independent|unseen|blind|eval|evaluation)"
    r"(set|data|split)?\d*"
)
_FOLD = re.compile(r"(k|cv)?folds?\d*")
# what may stand beside those words: fold_id and isTest name a split, fold_change and test_date do
# not
_BESIDE = re.compile(
    r"cv|data|dataset|flag|for|id|idx|in|index|inner|is|k|no|nr|num|number|of|or|out|outer|"
    r"partition|random|set|split|subset|the|use|used"
)
_NUMBERED = re.compile(r"(cv|k)?[ _-]?(fold|f|k)?[ _-]?\d{1,3}(\.0)?", re.IGNORECASE)
_TRUE, _FALSE = (
    {"true", "t", "yes", "y", "1", "1.0", "x"},
    {"false", "f", "no", "n", "0", "0.0", ""},
)


def words_of(text: str, between: str = "[^0-9a-z]+") -> list[str]:
    """The words of a name in small letters: fold_id, foldID and Fold-Id have the same two."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    return [word for word in re.split(between, apart.lower()) if word]


def file_may_be_split(stem: str) -> bool:
    """Whether a file's name may mean a split: eval, testset, independent, but not contest."""
    return any(map(_MAYBE.fullmatch, re.split(r"[_.\-]", stem.lower()))) or any(
        _SPLIT.fullmatch(word) or _TEST.fullmatch(word)
        for word in words_of(stem, r"[_.\- ]+")  # not the lock file ~$test.xlsx
    )


def as_splits(name: str, values: Iterable[str]) -> dict[str, SplitName]:
    """The split that each value of a column means; {} unless every value means one.

    Words such as train_set and test2 do, and true and false in a column that is named after train
    or test alone.
    """
    distinct = sorted(set(values))
    named = {value: split for value in distinct if (split := _split_of(value))}
    if len(named) == len(distinct):
        return named
    says = _side(name)
    if not says or not {value.lower() for value in distinct} <= _TRUE | _FALSE:
        return {}
    other: SplitName = "train" if says == "test" else "test"
    return {value: says if value.lower() in _TRUE else other for value in distinct}


def doubtful_columns(table: Table, divided: bool) -> list[str]:
    """The columns that may say the split.

    Args:
        table: without a column of splits.
        divided: files say which examples are test, so that only names that mean nothing else count.
    """
    return [
        name
        for name, values in table.others.items()
        if (_MAYBE.fullmatch(name.lower()) and len(set(values)) < 100)
        or (not divided and _may_be_split(name, set(values)))
    ]


def refuse_doubtful(table: Table, name: str, own: OwnData) -> None:
    """Raise the ValueError that says what to write for a column that may be the split."""
    values = sorted(set(table.others[name]))
    some = ", ".join(values[:6]) + (", ..." if len(values) > 6 else "")
    meant, column = as_splits(name, values), shlex.quote(name)
    if "test" in meant.values():
        which = ", ".join(f"{value or 'blank'} = {split}" for value, split in meant.items())
        says = f"that it is ({which}): --split-column {column}"
    else:
        test = shlex.quote(_test_value(values))
        says = (
            f"which of them is test, the others being train: --split-by {column} --test-groups "
            f"{test}; or which column is the split: --split-column NAME"
        )
    if own.header:
        says += " (in FASTA: split in its place in --header)"
    raise ValueError(
        f"{table.path}: column {name!r} ({some}) looks like a split; say {says}; or that none is: "
        "--split-column none"
    )


def _may_be_split(name: str, values: set[str]) -> bool:
    """Whether a name and its values together look like a split."""
    if not 1 < len(values) <= MOST_VALUES:
        return False
    if len({_split_of(value) for value in values} - {None}) > 1:
        return True
    words = words_of(name)
    rest = [w for w in words if not (_TRAIN.fullmatch(w) or _TEST.fullmatch(w))]
    if len(rest) < len(words) and all(map(_BESIDE.fullmatch, rest)):
        low = {value.lower() for value in values}
        return low <= _TRUE | _FALSE and not low.isdisjoint(_TRUE) and not low.isdisjoint(_FALSE)
    rest = [word for word in words if not _FOLD.fullmatch(word)]
    if len(rest) < len(words) and all(map(_BESIDE.fullmatch, rest)):
        return all(_NUMBERED.fullmatch(value) for value in values - {""})
    return False


def _split_of(value: str) -> SplitName | None:
    """The one split that a value of up to three words names."""
    words = words_of(value)
    found = {SPLIT_WORDS[m[1]] for word in words if (m := _SPLIT.fullmatch(word))}
    return found.pop() if len(words) <= 3 and len(found) == 1 else None


def _side(name: str) -> SplitName | None:
    """What true means in a column of that name."""
    words = words_of(name)
    train, test = (any(map(kind.fullmatch, words)) for kind in (_TRAIN, _TEST))
    return None if train == test else "train" if train else "test"


def _test_value(values: Sequence[str]) -> str:
    """The value that is most likely test."""
    named = [value for value in values if _split_of(value) == "test"]
    return (named or [v for v in values if v] or ["VALUE"])[-1]
