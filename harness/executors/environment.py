"""What processes on other machines get of the environment here: paths and settings, no secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

TRAVELS_ALWAYS = (  # by how their names begin
    "CUBLAS_", "DNABENCH_", "HF_", "HTTPS_PROXY", "HTTP_PROXY", "MALLOC_", "NO_PROXY",
    "NVIDIA_TF32", "REQUESTS_CA", "SSL_CERT", "TORCH", "TRANSFORMERS_", "XDG_CACHE", "http_proxy",
    "https_proxy", "no_proxy",
)  # fmt: skip
SECRET = ("TOKEN", "SECRET", "PASSWORD", "KEY", "CREDENTIAL", "DNABENCH_WORKER")
_PATHS = ("DNABENCH_CACHE", "PYTHONPATH", "HF_HOME")


def travelling(environment: Mapping[str, str], names: Sequence[str]) -> list[str]:
    """Names of the variables that begin with one of `names` and hold no secret."""
    return sorted(
        name for name, value in environment.items()
        if name.startswith(tuple(names)) and not any(word in name.upper() for word in SECRET)
        and not (name.lower().endswith("_proxy") and "@" in value)  # a password
    )  # fmt: skip


def absolute(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with whole paths, for processes that start in another folder."""
    found = dict(environment)
    for name in _PATHS:
        if found.get(name):
            parts = found[name].split(os.pathsep)
            found[name] = os.pathsep.join(os.path.abspath(p) if p else p for p in parts)  # noqa: PTH100
    return found
