"""torch.compile for training steps: where it pays, and only if it agrees with eager.

The network is not changed: its compiled form shares the weights, and evaluation runs eagerly.
"""

import importlib.util
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from dnabench.cache import made_folder

# Allowed relative difference of logits, loss and gradients: another order of rounding
FULL = 0.75  # least mean length of a row, as a share of the longest, that is padded to it
TOLERANCE = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 2e-2, "bf16": 5e-2}
UNEVEN = "lengths differ so much that batches of one length would be mostly padding"
LEAST_STEPS = 5000  # of a training; with fewer, compiling does not pay
BUDGET = 300.0  # seconds that compiling and checking may take
SMALL = 50_000_000  # parameters; below, kernel launches take more time than arithmetic
SOON = 0.05  # seconds; where it cannot end now
AGAIN = 5  # seconds; a finalizer that was running swallowed the first end
# A limit ends no function that PyTorch's C++ calls, as for the size of a tensor, where an error may
# end the process, nor an import, since a module that is half imported cannot be imported again.
ENDS_FIRST = {"__torch_dispatch__", "__torch_function__", "__del__", "_find_and_load"}
# Of PyTorch and Python it ends what runs in these files: C++ calls nothing there
ENDED = ("/torch/_dynamo/symbolic_convert.py", "/torch/_inductor/", "/torch/fx/graph.py",
         "/subprocess.py", "/threading.py", "/selectors.py")  # fmt: skip
PYTHON = str(Path(os.__file__).parent)
REPLAYS = 3  # a CUDA graph is warmed up, recorded and then replayed


def why_not(device: str, steps: int, fullness: float) -> str:
    """Why compiling a training of that many steps cannot pay; "" if it may.

    `fullness` is the mean length of a row of the data, as a share of the longest. A rule, not a
    measurement, so that a trial is computed the same way each time.
    """
    if not device.startswith("cuda"):
        return f"on {device} it gains nothing"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if steps < LEAST_STEPS:
        return f"{steps} steps are over before compiling pays, {LEAST_STEPS} are needed"
    if fullness < FULL:
        return UNEVEN
    return ""


def keep_artefacts() -> None:
    """Have PyTorch store what it compiles in our cache folder, unless it is set otherwise.

    Files are named by content, and several processes may use the folder at once. To be called
    before the first step, which imports the compiler; that reads the setting then.
    """
    with suppress(OSError, RuntimeError):  # a cache that cannot be written: PyTorch's own folder
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(made_folder("compiled")))


class Runner:
    """A network that may be compiled for the batches of its training.

    `net(ids, mask, ...)` gives logits; the precision decides how close the compiled form must be.
    """

    def __init__(self, net: Any, precision: str = "fp32", backend: Any = "inductor") -> None:
        self._net, self._tolerance, self._backend = net, TOLERANCE[precision], backend
        self._fast: Any = None
        self._checking = False
        self._shape: torch.Size | None = None  # of the batches it is compiled for
        self._logits: Tensor | None = None
        self.said = ""  # "on", or "off: " and why

    @property
    def on(self) -> bool:
        """Whether training batches run compiled; .grad must then be zeroed in place."""
        return self._fast is not None

    def __call__(self, ids: Tensor, *rest: Any) -> Tensor:
        """The logits, from the compiled form for a training batch of the shape it is made for."""
        if self._checking:
            self._logits = (self._net if self._fast is None else self._fast)(ids, *rest)
            self._shape = ids.shape
            return self._logits
        if self._fast is None or not self._net.training or ids.shape != self._shape:
            return self._net(ids, *rest)  # type: ignore[no-any-return]
        try:
            with torch.compiler.set_stance("fail_on_recompile"):
                return self._fast(ids, *rest)  # type: ignore[no-any-return]
        except torch.OutOfMemoryError:
            raise
        except Exception as e:
            self.stop(f"a later step failed: {short(e)}")
            return self._net(ids, *rest)  # type: ignore[no-any-return]

    def compile(self, step: Callable[[], Tensor]) -> None:
        """Compile, compare with eager on one real step, and stay eager where they differ.

        `step` runs this object on a training batch, forward and backward, and returns the loss; it
        is called several times. An error of it or of the compiler ends up in `said`.

        Accuracy:
            Random numbers, buffers and weights are restored; gradients are removed. Logits, loss
            and every gradient agree within TOLERANCE of their norm.
        """
        devices = sorted({p.device for p in self._net.parameters() if p.is_cuda}, key=str)
        buffers = [b.clone() for b in self._net.buffers()]
        self._checking, why = True, ""
        try:
            self._net.zero_grad()
            with torch.random.fork_rng(devices):
                wanted = self._seen(step)
            self._fast = self._compiled()
            with limited(BUDGET):
                for _ in range(REPLAYS):
                    self._put(buffers)
                    # in place: a CUDA graph's own memory must never become .grad
                    self._net.zero_grad(set_to_none=False)
                    with warnings.catch_warnings(), torch.random.fork_rng(devices):
                        warnings.simplefilter("ignore")  # what matters ends up in `said`
                        why = why or difference(wanted, self._seen(step), self._tolerance)
            if why:
                self.stop(why)
            else:
                self.said = "on"
        except Exception as e:
            self.stop(short(e))
        finally:
            self._checking, self._logits = False, None
            self._put(buffers)
            self._net.zero_grad(set_to_none=not self.on)

    def stop(self, why: str) -> None:
        """Run eagerly from now on, for this reason."""
        self._fast, self.said = None, f"off: {why}"

    def _compiled(self) -> Any:
        options: dict[str, Any] | None = None
        if self._backend == "inductor":
            graphs = sum(p.numel() for p in self._net.parameters()) <= SMALL
            cuda = next(self._net.parameters()).is_cuda
            # dropout then draws the same numbers as in eager
            options = {"fallback_random": True, "triton.cudagraphs": graphs and cuda}
        torch.compiler.reset()  # earlier trials count towards a limit of PyTorch
        # the whole network or nothing: parts would fall back to eager silently
        return torch.compile(
            self._net, fullgraph=True, dynamic=False, backend=self._backend, options=options
        )

    def _seen(self, step: Callable[[], Tensor]) -> dict[str, Tensor]:
        """Name -> logits, loss and gradients, copied."""
        loss = step()
        assert self._logits is not None
        out = {"logits": self._logits.detach().float().clone(), "loss": loss.detach().clone()}
        named = self._net.named_parameters()
        return out | {k: p.grad.detach().clone() for k, p in named if p.grad is not None}

    def _put(self, buffers: list[Tensor]) -> None:
        with torch.no_grad():
            for buffer, value in zip(self._net.buffers(), buffers, strict=True):
                buffer.copy_(value)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """End what runs inside after so many seconds, by a TimeoutError, whatever that is turned into.

    Not where another limit runs already, or this is not the main thread: nothing can end it there.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    over = list[TimeoutError]()

    outside = _to_end_first(None)  # as where the trial itself runs while a module is imported

    def late(_: int, frame: FrameType | None) -> None:
        if not _may_end(frame) or _to_end_first(frame) > outside:
            signal.setitimer(signal.ITIMER_REAL, SOON, AGAIN)
            return
        over.append(TimeoutError(f"it took over {seconds:g} s"))
        raise over[0]

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    except Exception:
        if not over:
            raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if over:  # a compiler may have made another error of it, or gone on
        raise TimeoutError(*over[0].args)


def _to_end_first(frame: FrameType | None) -> int:
    """How many functions of ENDS_FIRST run, from that frame outwards; None = the caller's."""
    return sum(one.f_code.co_name in ENDS_FIRST for one, _ in traceback.walk_stack(frame))


def _may_end(frame: FrameType | None) -> bool:
    file = frame.f_code.co_filename if frame else ""
    inside = "/torch/" in file or (file.startswith(PYTHON) and "/site-packages/" not in file)
    return not inside or any(part in file for part in ENDED)


def difference(wanted: dict[str, Tensor], found: dict[str, Tensor], tolerance: float) -> str:
    """What differs from eager in logits, loss or the gradients by name; "" if nothing does."""
    if wanted.keys() != found.keys():
        return f"gradients of {', '.join(sorted(wanted.keys() ^ found.keys())[:3])}: missing"
    gradients = [v.norm() for k, v in wanted.items() if k not in ("logits", "loss")]
    # a gradient that is zero except for rounding is compared with the norm of all
    floor = torch.stack(gradients).norm() / 100
    for name, value in wanted.items():
        scale = value.norm() + (0 if name in ("logits", "loss") else floor)
        off = float((found[name] - value).norm() / scale.clamp(min=1e-12))
        if not off <= tolerance:
            what = name if name in ("logits", "loss") else f"the gradient of {name}"
            return f"{what} differs from eager by {off:.2g}, {tolerance:.2g} is allowed"
    return ""


def short(error: Exception) -> str:
    """The first line of an error, and its kind."""
    error = getattr(error, "inner_exception", error)  # of the compiler's own
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
