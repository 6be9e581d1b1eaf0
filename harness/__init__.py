"""dnabench: DNA models x tasks x seeds -> a table with its uncertainty."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dnabench.registry import MODELS as MODELS
from dnabench.registry import TASKS as TASKS
from dnabench.types import Model as Model
from dnabench.types import Protocol as Protocol
from dnabench.types import Recipe as Recipe
from dnabench.types import Record as Record
from dnabench.types import Sequences as Sequences
from dnabench.types import Split as Split
from dnabench.types import Task as Task
from dnabench.types import Trial as Trial

if TYPE_CHECKING:
    from dnabench.api import Compared as Compared
    from dnabench.api import Network as Network
    from dnabench.api import Results as Results
    from dnabench.api import Tuned as Tuned
    from dnabench.api import embed as embed
    from dnabench.api import export as export
    from dnabench.api import load_network as load_network
    from dnabench.api import regimes as regimes
    from dnabench.api import run as run
    from dnabench.api import tune as tune

__version__ = "0.1.0"
_API = (  # imported when first used
    "Compared", "Network", "Results", "Tuned", "embed", "export", "load_network", "regimes", "run",
    "tune",
)  # fmt: skip
__all__ = [
    "MODELS", "TASKS", "Compared", "Model", "Network", "Protocol", "Recipe", "Record", "Results",
    "Sequences", "Split", "Task", "Trial", "Tuned", "embed", "export", "load_network", "regimes",
    "run", "tune",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _API:
        return getattr(import_module("dnabench.api"), name)
    raise AttributeError(f"module 'dnabench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_API])
