"""Cores and memory that may be used here, and bfloat16, from the kernel."""

import os
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from dnabench.types import Resources

BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")  # of x86, x86, ARM
VISIBLE = "CUDA_VISIBLE_DEVICES"  # numbers, or names of GPUs or of parts of one
PINNED = "DNABENCH_DEVICE"  # in the environment of a worker that sees one GPU: which it is
UNLIMITED = 2**60  # bytes; cgroups of version 1 report more than that when there is no limit


def device_named(text: str) -> str:
    """A device that can be used here; "auto" is CUDA where there is one, else the CPU.

    Raises:
        ValueError: for one that cannot.
    """
    if text == "auto":
        text = "cuda" if has_cuda() else "cpu"
    if text == "cpu":
        return text
    import torch

    why = ""
    try:
        device = torch.device(text)
        if device.type == "cuda":
            why = _no_cuda(device.index or 0)
        else:
            torch.empty(0, device=text)
    except (RuntimeError, AssertionError) as e:
        why = str(e).splitlines()[0]
    if why:
        raise ValueError(f"--device {text!r} cannot be used here: {why}")
    return text


def devices_named(text: str) -> tuple[str, ...]:
    """All devices that are named and can be used here, by processes of their own.

    "auto" is every CUDA device that is visible, "cuda:0,cuda:2" these alone; else as
    `device_named`.

    Raises:
        ValueError: for one that cannot be used, or a list with one twice.
    """
    if "," not in text and text != "auto" and not text.startswith("cuda:"):
        return (device_named(text),)
    known = cuda_devices()
    if text == "auto":
        return known if len(known) > 1 else (device_named(text),)
    asked = tuple(part.strip() for part in text.split(","))
    for device in asked:
        if not device.startswith("cuda:") or asked.count(device) > 1:
            raise ValueError(f"--device {text!r}: list GPUs, each once: cuda:0,cuda:2")
        if device not in known:
            device_named(device)
    return asked


def cuda_devices() -> tuple[str, ...]:
    """cuda:0, cuda:1 and so on, as far as CUDA_VISIBLE_DEVICES lets them be seen.

    Of parts of a GPU (MIG) a process sees one, so they are counted by their names.
    """
    if not has_cuda():
        return ()
    import torch

    names = _visible()
    parts = bool(names) and all(name.startswith("MIG-") for name in names)
    return tuple(f"cuda:{i}" for i in range(len(names) if parts else torch.cuda.device_count()))


def has_cuda() -> bool:
    """Whether PyTorch can use a GPU here; a build for CPUs alone is not imported to ask it."""
    if "torch" not in sys.modules and _for_cpus_alone():
        return False
    import torch

    return torch.cuda.is_available()


def _for_cpus_alone() -> bool:
    """Whether the file of the installed PyTorch that names what it was built with names no GPU."""
    found = find_spec("torch")
    text = read(Path(found.origin).with_name("version.py")) if found and found.origin else ""
    return len(re.findall(r"(?m)^(?:cuda|hip)\b[^=\n]*= None$", text)) == 2


def seen_here(devices: Sequence[str]) -> tuple[str, ...]:
    """Those of the devices that this process can ask for their properties; the first at least."""
    if len(devices) < 2:
        return tuple(devices)
    import torch

    count = torch.cuda.device_count()
    return tuple(d for i, d in enumerate(devices) if int(d.partition(":")[2] or 0) < count or not i)


def pinned(device: str) -> dict[str, str]:
    """The environment in which a process sees this device alone, so that it can touch no other."""
    names, index = _visible(), int(device.partition(":")[2])
    return {VISIBLE: names[index] if names else str(index), PINNED: device}


def own_device(device: str) -> str:
    """What this process calls its device, of all that its sweep uses."""
    if device.startswith("cuda:") and PINNED in os.environ:
        return "cuda"
    return device.partition(",")[0]


def of_worker(resources: Resources) -> Resources:
    """What one process of a sweep has: its device, and how many workers share that one."""
    workers = -(-resources.workers // len(resources.devices))
    return resources._replace(device=own_device(resources.device), workers=workers)


def device_label(device: str) -> str:
    """What the process that started this one calls the device."""
    return os.environ.get(PINNED, device) if device == "cuda" else device


def _visible() -> list[str]:
    return [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]


def _no_cuda(index: int) -> str:
    """Why a GPU cannot be used, "" if it can.

    Nothing is put on it: a process that only starts others must not hold a GPU, which may admit a
    single process (exclusive mode).
    """
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        return f"no GPU for CUDA {built} was found" if built else "torch is built without CUDA"
    count = torch.cuda.device_count()
    return "" if index < count else f"there are {count}, cuda:0 to cuda:{count - 1}"


def usable_cores() -> int:
    """Cores that this process may use at once, by its affinity and its cgroups."""
    quota = cpu_quota()
    return max(1, min(affinity(), int(quota))) if quota else affinity()


def affinity() -> int:
    """Cores that the kernel may run this process on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(root: Path = Path("/")) -> float:
    """Cores that the cgroups of this process allow, 0 = no limit; `root` holds proc and sys."""
    limits = []
    for folder in _cgroups(root, "cpu"):
        words = read(folder / "cpu.max").split()
        if not words:
            words = [read(folder / f"cpu.cfs_{w}_us") for w in ("quota", "period")]
        if len(words) == 2 and all(re.fullmatch(r"[1-9]\d*", w) for w in words):
            limits.append(int(words[0]) / int(words[1]))
    return min(limits, default=0.0)


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes that the cgroups of this process allow, 0 = no limit; `root` as for `cpu_quota`."""
    limits = []
    for folder in _cgroups(root, "memory"):
        text = read(folder / "memory.max") or read(folder / "memory.limit_in_bytes")
        if text.isdigit() and int(text) < UNLIMITED:
            limits.append(int(text))
    return min(limits, default=0)


def _cgroups(root: Path, controller: str) -> list[Path]:
    """Folders of this process's cgroups, version 2 or 1, innermost first."""
    folders = []
    for line in read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        inner = top / path.lstrip("/")
        folders += [inner, *(p for p in inner.parents if p.is_relative_to(top))]
    return folders


def read(path: Path) -> str:
    """The text of a file, "" when it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def free_memory(device: str = "cpu") -> int:
    """Bytes that programs may still allocate, by kernel and cgroups or on a GPU; 0 = not known."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()  # what this process holds and does not use
        return int(torch.cuda.mem_get_info(device)[0])
    available = meminfo().get("MemAvailable", 0)
    room = cgroup_room()
    return available if room is None or not available else min(available, room)


def total_memory(device: str = "cpu") -> int:
    """Bytes that there are, by kernel and cgroups or on a GPU, whoever uses them; 0 = not known."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    here, limit = meminfo().get("MemTotal", 0), memory_limit()
    return min(here, limit) if here and limit else here or limit


def cgroup_room(root: Path = Path("/")) -> int | None:
    """Bytes that the cgroups of this process still allow, None = no limit; `root` as above.

    Cached files that were not used lately count as free, since the kernel drops them first.
    """
    limit, folders = memory_limit(root), _cgroups(root, "memory")
    if not limit:
        return None
    for folder in folders:
        text = read(folder / "memory.current") or read(folder / "memory.usage_in_bytes")
        if text.isdigit():
            found = re.search(r"(?m)^(?:total_)?inactive_file (\d+)$", read(folder / "memory.stat"))
            cached = int(found[1]) if found else 0
            return max(0, limit - max(0, int(text) - cached))
    return limit


def meminfo() -> dict[str, int]:
    """/proc/meminfo as name -> bytes; empty except on Linux."""
    lines = re.findall(r"^(\w+):\s+(\d+) kB", read(Path("/proc/meminfo")), re.MULTILINE)
    return {name: int(kb) * 1024 for name, kb in lines}


def bf16_flags() -> list[str] | None:
    """Bfloat16 instructions of the processor; None = not known."""
    text = read(Path("/proc/cpuinfo"))
    return bf16_flags_in(text) if text else None


def bf16_flags_in(cpuinfo: str) -> list[str]:
    """The same, from the text of /proc/cpuinfo."""
    lines = re.findall(r"(?m)^(?:flags|Features)\s*:(.*)", cpuinfo)
    flags = set(" ".join(lines).split())
    return [flag for flag in BF16_FLAGS if flag in flags]
