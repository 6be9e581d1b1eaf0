"""Ray: what a worker may use, joining a cluster with its token, and what its nodes have."""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from dnabench.host.machine import usable_cores

LOCAL = "local"  # the address of a cluster of this machine, which ends with this process
ASKED = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}  # -> as the nodes call them
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
OBJECTS = 100 * 2**20  # bytes for Ray's object store, in which nothing large is put
PATIENCE = 60  # seconds to reach a cluster
TOKEN = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_KNOCK = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"


class Asked(NamedTuple):
    """What is asked of a cluster."""

    address: str  # HOST:PORT, or LOCAL
    each: Mapping[str, float]  # what a worker may use: num_cpus, num_gpus, memory, own resources

    def options(self) -> dict[str, Any]:
        """As Ray's actors take it."""
        own = {k: v for k, v in self.each.items() if k not in ASKED}
        usual = {k: v for k, v in self.each.items() if k in ASKED}
        return {**usual, "resources": own, "max_restarts": 0}

    def __str__(self) -> str:
        return ", ".join(
            f"{k}={v / 2**30:g}G" if k == "memory" else f"{k}={v:g}" for k, v in self.each.items()
        )


def check_options(texts: Sequence[str], threads: int, device: str) -> Asked:
    """`address=HOST:6379`, `num_gpus=0.5`, `memory=16G`, and resources that nodes name.

    Args:
        texts: as above.
        threads: of a trial, the CPUs that a worker gets if nothing else is asked for.
        device: as `--device`; on CUDA a worker gets one GPU if nothing else is asked for.

    Raises:
        ValueError: for anything else.
    """
    address = os.environ.get("RAY_ADDRESS", LOCAL)
    each = {"num_cpus": float(threads), "num_gpus": float(device.startswith("cuda"))}
    for text in texts:
        key, _, value = text.strip().lstrip("-").partition("=")
        if "token" in key.lower():
            raise ValueError(
                "--set-resource: a token has no place on a command line; write the name of its "
                "file into RAY_AUTH_TOKEN_PATH"
            )
        if key == "address":
            address = value
        else:
            each[key] = _amount(text, key, value)
    host, _, port = address.rpartition(":")
    if address != LOCAL and not (host and port.isdecimal() and "/" not in host):
        raise ValueError(
            f"address={address}: write HOST:PORT of `ray start --head`, or local for a cluster of "
            "this machine"
        )
    return Asked(address, {k: v for k, v in each.items() if v or k == "num_cpus"})


def _amount(text: str, key: str, value: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", value, re.ASCII)
    if not key or not found or (found[2] and key != "memory"):
        raise ValueError(
            f"--set-resource {text!r}: write name=number, as num_gpus=0.5 or memory=16G, or "
            "address=HOST:PORT"
        )
    amount = float(found[1]) * UNITS[found[2]]
    if key == "num_gpus" and amount > 1 and not amount.is_integer():
        raise ValueError(f"--set-resource {text!r}: Ray gives parts of one GPU, or whole ones")
    return amount


@cache
def join(address: str) -> None:
    """Join a cluster as a program that uses it, or start one on this machine.

    Once in a process, as Ray joins no second time: the steps of a search use what the first joined.

    The token comes from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token; a cluster of this
    machine has one of its own.

    Raises:
        ValueError: Ray is not installed, there is no token, the cluster takes another one or none,
            nobody answers, or this machine is none of its nodes.
    """
    os.environ.update(RAY_AUTH_MODE="token", RAY_USAGE_STATS_ENABLED="0")
    more: dict[str, Any] = {}
    if address == LOCAL:
        os.environ.pop(TOKEN[1], None)
        os.environ[TOKEN[0]] = secrets.token_hex(32)
        more = {"num_cpus": usable_cores(), "object_store_memory": OBJECTS,
                "include_dashboard": False}  # fmt: skip
    try:
        import ray
    except ImportError:
        raise ValueError("--executor ray needs Ray: pip install 'dnabench[ray]'") from None
    if address != LOCAL:
        _check_token(address)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **more)
    except (OSError, RuntimeError, ValueError, AssertionError) as e:
        lines = str(e).strip().splitlines() or [type(e).__name__]
        raise ValueError(
            f"cannot join Ray at {address}: {lines[0]}; this machine must be one of its nodes, "
            "with the same versions of Ray and Python"
        ) from None


def _check_token(address: str) -> None:
    """That the cluster takes the token here, and that it takes nobody without one."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), PATIENCE / 4).close()
    except OSError as e:
        raise ValueError(f"nobody answers at {address}, where Ray should be: {e}") from None
    ours = os.environ.get(TOKEN[1]) or Path.home() / ".ray/auth_token"
    if not os.environ.get(TOKEN[0]) and not Path(ours).is_file():
        raise ValueError(
            f"Ray at {address} needs a token, and {ours} is not there: write the name of its file "
            "into RAY_AUTH_TOKEN_PATH; it is the one that the nodes were started with"
        )
    without = {k: v for k, v in os.environ.items() if k not in TOKEN}
    knocks = [
        subprocess.Popen([sys.executable, "-c", _KNOCK, address], env=env, stderr=subprocess.PIPE,
                         stdout=subprocess.DEVNULL, text=True)
        for env in (dict(os.environ), {**without, "RAY_AUTH_MODE": "disabled"})
    ]  # fmt: skip
    try:
        said = [knock.communicate(timeout=PATIENCE)[1] for knock in knocks]
    except subprocess.TimeoutExpired:
        raise ValueError(f"what answers at {address} is no Ray of this version") from None
    finally:
        for knock in knocks:
            knock.kill()
            knock.wait()
    known, stranger = knocks
    if known.returncode:
        why = "takes another token than the one here" if "AuthenticationError" in said[0] else (
            f"cannot be used: {(said[0].strip().splitlines() or ['it says nothing'])[-1][:300]}"
        )  # fmt: skip
        raise ValueError(f"Ray at {address} {why}")
    if not stranger.returncode:
        raise ValueError(
            f"Ray at {address} asks for no token, so whoever reaches that port can run code on its "
            "nodes; start each of them with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
        )


def _alive() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def nodes() -> list[dict[str, float]]:
    """What each node that is up has, of what can be asked for: CPU, GPU, memory, own resources."""
    return [
        {k: v for k, v in node["Resources"].items() if ":" not in k and k != "object_store_memory"}
        for node in _alive()
    ]


def check_here() -> None:
    """ValueError when the node of this machine has ended: answers of others pass through it."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    if all(node["NodeID"] != here for node in _alive()):
        raise ValueError(
            "the node of Ray on this machine has ended, and nothing is heard of the others without "
            "it; start it again, then run the same command. Finished trials are kept"
        )


def capacity(asked: Asked, there: Sequence[Mapping[str, float]]) -> int:
    """How many workers the nodes hold at once.

    Raises:
        ValueError: none can hold a single one, which would wait for ever.
    """
    needs = {ASKED.get(k, k): v for k, v in asked.each.items() if v}
    found = sum(
        min((math.floor(node.get(k, 0) / v + 1e-9) for k, v in needs.items()), default=1)
        for node in there
    )
    if not found:
        raise ValueError(f"no node of Ray can run a trial with {asked}; it has {described(there)}")
    return found


def described(there: Sequence[Mapping[str, float]]) -> str:
    """The nodes in words, equal ones together."""
    words = Counter(
        ", ".join(f"{k} {v / 2**30:.1f}G" if k == "memory" else f"{k} {v:g}"
                  for k, v in sorted(node.items()))
        for node in there
    )  # fmt: skip
    return (
        "; ".join(f"{n} node{'s' * (n > 1)} with {what}" for what, n in words.items()) or "no node"
    )
