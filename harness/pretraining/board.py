"""The curve of a training for TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dnabench.pretraining.folder import BOARD, CURVE


class Board:
    """Event files in a folder's `tensorboard`, which say what metrics.jsonl says.

    Args:
        folder: of the training. Earlier event files there are replaced.

    Raises:
        ModuleNotFoundError: the extra package is missing.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "--tensorboard needs tensorboard: pip install 'dnabench[tensorboard]'"
            ) from None
        self._open: Any = SummaryWriter
        self._writer: Any = None
        self._folder, self._known = folder, 0

    def update(self) -> None:
        """Write the evaluations that are new, after a resumption all earlier ones."""
        if self._writer is None:
            for file in (self._folder / BOARD).glob("events.out.tfevents.*"):
                file.unlink()
            self._writer = self._open(self._folder / BOARD)
        lines = (self._folder / CURVE).read_text().splitlines()
        for line in lines[self._known :]:
            row = json.loads(line)
            step = row.pop("step")
            for name, value in row.items():
                self._writer.add_scalar(name, value, step)
        self._known = len(lines)
        self._writer.flush()
