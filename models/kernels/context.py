"""The forms of layers that one trial uses, kept apart from those of any other in the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Self

VARIABLE = "DNABENCH_CONVOLUTION"
OF_ONE_TAP, OF_SEVERAL = ("direct", "pointwise"), ("direct", "tiled-gemm", "tiled-conv")
FORMS = tuple(dict.fromkeys((*OF_ONE_TAP, *OF_SEVERAL)))


class Kernels:
    """Which form layers take inside `with kernels:`, and what was used and measured there.

    Layers find the innermost context; a network called outside any uses one of the process. It may
    be entered again and again, also inside itself.

    Args:
        form: one of FORMS for every layer that has it, and direct for the others; "auto" = the
            fastest; "" = what DNABENCH_CONVOLUTION says, else "auto".
        deterministic: nothing is measured, so that no clock decides a rounding: "" is "direct".

    Raises:
        ValueError: for another form.
    """

    def __init__(self, form: str = "", deterministic: bool = False) -> None:
        self.deterministic = deterministic
        if deterministic:
            form = form or "direct"
        if form not in ("", "auto", *FORMS):
            raise ValueError(f"form is {form!r}; it must be auto or one of {', '.join(FORMS)}")
        self._form = form
        self._entered: list[Token[Kernels]] = []
        self.used: dict[str, str] = {}  # measured shape, or "all that can", and its form
        self.cpu_seconds = self.seconds = 0.0  # CPU and elapsed, spent on measuring forms

    @property
    def form(self) -> str:
        """The form asked for, or "auto".

        Raises:
            ValueError: when DNABENCH_CONVOLUTION names no form.
        """
        form = self._form or os.environ.get(VARIABLE) or "auto"
        if form not in ("auto", *FORMS):
            raise ValueError(
                f"{VARIABLE} is {form!r}; it must be auto or one of {', '.join(FORMS)}"
            )
        return form

    def __enter__(self) -> Self:
        self._entered.append(_ACTIVE.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        _ACTIVE.reset(self._entered.pop())

    @contextmanager
    def recording(self) -> Iterator[dict[str, str]]:
        """Enter, and give the forms used inside alone; afterwards they are among `used` too."""
        before, self.used = self.used, {}
        try:
            with self:
                yield self.used
        finally:
            self.used = before | self.used


_ACTIVE: ContextVar[Kernels] = ContextVar("kernels", default=Kernels())  # noqa: B039


def active() -> Kernels:
    """The innermost context that was entered."""
    return _ACTIVE.get()
