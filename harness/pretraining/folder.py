"""The folder of a training while it runs, of which there is one at a time."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dnabench.cache import read_json
from dnabench.pretraining.saving import CARD
from dnabench.results.checkpoints import damage

CHECKPOINT, CURVE, LOCK = "checkpoint.pt", "metrics.jsonl", ".training.lock"
BOARD, JOB, KEPT = "tensorboard", "slurm", "steps"  # folders
OURS = (CHECKPOINT, CURVE, LOCK, BOARD, JOB, KEPT)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Raise ValueError if another process trains in the folder, or its file system has no locks."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise ValueError(f"{folder}: another process trains there; wait for it") from e
        except OSError as e:
            raise ValueError(
                f"{folder} cannot be locked ({e.strerror or e}), and without a lock two trainings "
                "could write there; name a folder on another disk with --to"
            ) from e
        yield
        (folder / LOCK).unlink(missing_ok=True)


def begun_in(folder: Path) -> tuple[int, str]:
    """Steps and budget of the unfinished training in a folder; 0, "" = none to go on with."""
    import torch

    file = folder / CHECKPOINT
    if not file.is_file() or damage(file):
        return 0, ""
    state = torch.load(file, weights_only=True, map_location="cpu")
    return int(json.loads(state["said"])["steps"]), state.get("budget", "")


def check_folder(folder: Path) -> None:
    """ValueError unless the folder is new or holds an unfinished training and nothing else."""
    if read_json(folder / CARD) is not None:
        (folder / CHECKPOINT).unlink(missing_ok=True)  # of a training killed as it ended
        raise ValueError(f"{folder} has a network already; name another folder with --to")
    others = [p.name for p in folder.iterdir() if p.name not in OURS] if folder.exists() else []
    others = [name for name in others if not name.endswith(".tmp")]
    if others:
        raise ValueError(f"{folder} is not empty ({others[0]}); name another folder with --to")
