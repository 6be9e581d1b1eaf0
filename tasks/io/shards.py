"""Splits in several files, as hub data sets and Hugging Face's `save_to_disk` have them."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from dnabench.tasks.io.parsing import stem_of

SHARD = re.compile(r"-(\d{5})-of-(\d{5})\b")


def series_of(path: Path) -> str:
    """The name of a file without extension, and of a shard without its number."""
    return SHARD.sub("", stem_of(path))


def check_whole(split: str, files: Sequence[Path]) -> None:
    """Refuse a split of several files unless they are the shards 0 to n-1 of one series.

    Raises:
        ValueError: names the shard that is missing, or two files of different series.
    """
    series: dict[tuple[str, int], list[tuple[int, Path]]] = {}
    for file in files:
        if found := SHARD.search(file.name):
            series.setdefault((file.name[: found.start()], int(found[2])), []).append(
                (int(found[1]), file)
            )
        elif len(files) > 1:
            one, two = sorted((file.name, next(f.name for f in files if f != file)))
            raise ValueError(
                f"{file.parent}: {one} and {two} both claim the {split} split; remove or rename one"
            )
    if len(series) > 1:
        one, two = (own[0][1].name for own in list(series.values())[:2])
        raise ValueError(
            f"{files[0].parent}: the {split} split has files of two series, {one} and {two}; "
            "remove those of one"
        )
    for (prefix, n), own in series.items():
        numbers = [number for number, _ in own]
        if missing := sorted({*range(n)} - {*numbers}):
            raise ValueError(
                f"{files[0].parent}: the {split} split lacks shard "
                f"{prefix}-{missing[0]:05d}-of-{n:05d} ({len(missing)} of {n} are missing); get "
                "them, a part of the data would pass for the whole"
            )
        if extra := [file for number, file in own if numbers.count(number) > 1 or number >= n]:
            raise ValueError(
                f"{files[0].parent}: the {split} split has {extra[-1].name} besides "
                f"{extra[0].name}; remove one"
                if len(extra) > 1
                else f"{extra[0]}: there is no such shard of {n}, which count from 0; remove it"
            )


def saved_files(folder: Path, split: str) -> tuple[list[Path], list[Path]]:
    """The Arrow files of a split that `save_to_disk` wrote, and others beside them, as caches.

    Those that its state.json lists; without one, data-00000-of-00001.arrow and its like.

    Raises:
        ValueError: a file is missing, or state.json lists none.
    """
    beside = sorted(folder.glob("*.arrow"))
    state = folder / "state.json"
    if state.is_file():
        try:
            found = json.loads(state.read_bytes())["_data_files"]
            listed = [folder / str(x["filename"]) for x in found]
        except (ValueError, KeyError, TypeError) as e:
            raise ValueError(
                f"{state}: no list _data_files of files ({type(e).__name__}: {e}); save the data "
                "again, or remove it"
            ) from e
        for file in listed:
            if file not in beside:
                raise ValueError(
                    f"{state}: lists {file.name}, which is not there; save the data again"
                )
    else:
        listed = [f for f in beside if f.name.startswith("data-") and SHARD.search(f.name)]
        check_whole(split, listed)
    if beside and not listed:
        raise ValueError(
            f"{folder}: no file data-00000-of-00001.arrow and no state.json that lists another; "
            f"found {beside[0].name}"
        )
    return sorted(listed), [file for file in beside if file not in listed]
