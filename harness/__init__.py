"""dnabench: DNA models x tasks x seeds -> a table with its uncertainty."""

from dnabench.registry import MODELS, TASKS
from dnabench.types import (
    Model,
    Protocol,
    Recipe,
    Record,
    Sequences,
    Split,
    Task,
    Trial,
)

__version__ = "0.1.0"
__all__ = [
    "MODELS",
    "TASKS",
    "Model",
    "Protocol",
    "Recipe",
    "Record",
    "Sequences",
    "Split",
    "Task",
    "Trial",
]
