"""Who runs a job, and where: the executors by name."""

from dnabench.executors.base import Executor
from dnabench.executors.inline import Inline
from dnabench.executors.local import Local

EXECUTORS: dict[str, type[Executor]] = {kind.name: kind for kind in (Local, Inline)}
