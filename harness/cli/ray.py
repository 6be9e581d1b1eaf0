"""`--executor ray` from the command line: joining the cluster, and what it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnabench.cli.errors import split_commas, warn

if TYPE_CHECKING:
    from dnabench.cli.execution import ExecutionOptions
    from dnabench.results.store import Store
    from dnabench.sweep.ray import Ray
    from dnabench.types import Resources


def ray_executor(store: Store, resources: Resources, execution: ExecutionOptions) -> Ray:
    """The executor of these flags; ValueError where the cluster cannot run a single trial."""
    from dnabench.executors import ray as cluster
    from dnabench.sweep.ray import Chosen, Ray

    words = split_commas(execution.set_resource)
    asked = cluster.check_options(words, resources.threads, resources.device)
    cluster.join(asked.address)
    there = cluster.nodes()
    at_once = resources.workers or cluster.capacity(asked, there)
    cluster.capacity(asked, there)
    _note(f"Ray at {asked.address}: {cluster.described(there)}; {at_once} trials at once, each "
          f"with {asked}")  # fmt: skip
    if any(node.get("GPU") for node in there) and "num_gpus" not in asked.each:
        _note("no GPU is asked for, so trials run on CPUs; --set-resource num_gpus=1 asks for one")
    return Ray(store, resources, Chosen(asked, at_once, _note))


def _note(text: str) -> None:
    warn(f"note: {text}")
