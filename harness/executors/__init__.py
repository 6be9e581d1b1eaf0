"""Who runs a job, and where: the executors by name."""

from dnabench.executors.base import Here
from dnabench.executors.inline import Inline
from dnabench.executors.local import Local

EXECUTORS: dict[str, type[Here]] = {kind.name: kind for kind in (Local, Inline)}
ELSEWHERE = ("ray", "slurm")  # those that run trials on other machines, see sweep/
