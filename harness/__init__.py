"""dnabench: DNA models x tasks x seeds -> a table with its uncertainty."""

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

__version__ = "0.1.0"
