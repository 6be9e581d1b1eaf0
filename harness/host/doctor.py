"""Check this machine and suggest fixes."""

import fcntl
import importlib.metadata
import importlib.util
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dnabench.cache import cache_folder, existing, room
from dnabench.host import machine
from dnabench.host.disk import entries, hub_folder, size
from dnabench.registry import MODELS, TASKS
from dnabench.results.claims import NO_LOCKS
from dnabench.results.provenance import here

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
HUB = ("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN")
EXTRAS = {  # of pyproject.toml: the packages that are imported, and what they are for
    "attribution": (("captum", "logomaker"), "probe attribution"),
    "cuda": (("mamba_ssm",), "kernels of Caduceus on CUDA"),
    "export": (("onnx", "onnxruntime", "onnxscript"), "export --format onnx"),
    "lora": (("peft",), "--set finetune=lora"),
    "ray": (("ray",), "--executor ray"),
    "sheets": (("python_calamine",), "data in spreadsheets"),
    "tensorboard": (("tensorboard",), "pretrain --tensorboard"),
    "tune": (("optuna",), "tune --search tpe"),
    "umap": (("umap",), "probe embed --umap"),
    "vcf": (("pysam",), "probe variants --region"),
}
LITTLE_DISK, LITTLE_MEMORY = 2e9, 2e9  # bytes


class Finding(NamedTuple):
    """One line: its topic and state, what was found, and what to do about it."""

    topic: str
    state: Literal["ok", "note", "broken"]
    says: str
    way_out: str = ""


def examine(out: Path, online: bool = False) -> list[Finding]:
    """Check everything. "broken" is only what keeps dnabench or a part of it from working.

    Args:
        out: the folder of records that a run would use.
        online: also check whether the hub can be reached.
    """
    found = [_python(), *_packages(), *_extras(), *_processor(), _memory(), _bf16()]
    found += [*_gpus(), *_caches(), locks(cache_folder(), "the cache"), locks(out, "--out")]
    found += [*_registries(), _hub_settings()]
    return [*found, _reach()] if online else found


def _python() -> Finding:
    where = here()
    commit = f", commit {where['commit'][:12]}" if where["commit"] else ""
    text = f"python {where['python']}, dnabench {where['dnabench']}{commit}, {where['system']}"
    return Finding("versions", "ok", f"{text} on {where['machine']}")


def _packages() -> list[Finding]:
    """Installed versions against the ranges that are required, then against those tested."""
    from packaging.requirements import Requirement
    from packaging.version import Version

    wanted = [Requirement(r) for r in importlib.metadata.requires("dnabench") or ()]
    wanted = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    tested = _tested()
    wrong, other = [], []
    for need in wanted:
        try:
            have = Version(importlib.metadata.version(need.name))
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{need.name} is missing")
            continue
        if not need.specifier.contains(have, prereleases=True):
            wrong.append(f"{need.name} is {have}, {need.specifier} is needed")
        elif tested.get(need.name.lower(), have.public) != have.public:
            other.append(f"{need.name} is {have}, tested with {tested[need.name.lower()]}")
    found = []
    if wrong:
        found.append(Finding("packages", "broken", "; ".join(wrong), "pip install -U dnabench"))
    if other:
        way_out = "usually fine; for the tested versions: pip install -c constraints.txt -e ."
        found.append(Finding("packages", "note", "; ".join(other), way_out))
    if not found:
        compared = "have the tested versions" if tested else "are in the required ranges"
        found.append(Finding("packages", "ok", f"all {len(wanted)} {compared}"))
    return found


def _tested() -> dict[str, str]:
    """Package -> version that the tests ran with; empty without that file."""
    if not CONSTRAINTS.exists():
        return {}
    pairs = (line.partition("==") for line in CONSTRAINTS.read_text("utf-8").splitlines())
    return {name.lower(): version.strip() for name, equals, version in pairs if equals}


def _extras() -> list[Finding]:
    """A line of the extras that are installed and one of the others."""
    found: dict[bool, list[str]] = {True: [], False: []}
    for name, (packages, gives) in EXTRAS.items():
        has = all(map(importlib.util.find_spec, packages))
        found[has].append(f"{name} ({gives})")
    out = [Finding("extras", "ok", f"installed: {', '.join(found[True])}")] if found[True] else []
    if found[False]:
        says = f"not installed: {', '.join(found[False])}"
        out.append(Finding("extras", "note", says, "if you need one: pip install 'dnabench[NAME]'"))
    return out


def _processor() -> list[Finding]:
    quota, usable = machine.cpu_quota(), machine.usable_cores()
    text = f"{here()['cpu'] or 'CPU'}: {usable} of {os.cpu_count()} cores usable"
    if 0 < quota < machine.affinity():
        text += f" (a cgroup allows {quota:.3g})"
    advice = f"one thread a trial, so `dnabench run` runs {usable} at once; --threads 1 is fastest"
    found = [Finding("processor", "ok", f"{text}; {advice}")]
    load = os.getloadavg()[0]
    if load > 0.5 * usable:
        says = f"load {load:.1f}: other programs run, trials will take longer"
        found.append(Finding("load", "note", says, "measure times on an idle machine"))
    return found


def _memory() -> Finding:
    total, limit = machine.meminfo().get("MemTotal", 0), machine.memory_limit()
    if not total:
        return Finding("memory", "note", f"not known on {platform.system()}")
    free = machine.free_memory()
    says = f"{size(free)} of {size(total)} available"
    if 0 < limit < total:
        says += f", a cgroup allows {size(limit)}"
    if free < LITTLE_MEMORY:
        way_out = "run fewer trials at once (--jobs) or smaller micro-batches (--micro-batch)"
        return Finding("memory", "note", says, way_out)
    return Finding("memory", "ok", says)


def _bf16() -> Finding:
    topic, have = "bf16 on the CPU", machine.bf16_flags()
    if have is None:
        return Finding(topic, "note", f"not known on {platform.system()}", "use --precision fp32")
    if have:
        return Finding(topic, "ok", f"yes, {' and '.join(have)}")
    says = "no amx_bf16 or avx512_bf16: --precision bf16 would be slower and is refused"
    return Finding(topic, "note", says, "use --precision fp32")


def _gpus() -> list[Finding]:
    import torch

    if torch.cuda.is_available():
        found = [_gpu(i) for i in range(torch.cuda.device_count())]
        return found + _several(machine.cuda_devices())
    if not list(Path("/dev").glob("nvidia[0-9]*")):
        return [Finding("CUDA", "ok", "no GPU; everything runs on the CPU")]
    if torch.version.cuda is None:
        says = f"there is a GPU, but torch {torch.__version__} is built without CUDA"
        way_out = "install a CUDA build of torch (pytorch.org/get-started)"
        return [Finding("CUDA", "note", says, way_out)]
    says = f"there is a GPU, but torch for CUDA {torch.version.cuda} cannot use it"
    return [Finding("CUDA", "broken", says, "the driver may be too old: see nvidia-smi")]


def _several(devices: Sequence[str]) -> list[Finding]:
    """What a run would use of several GPUs, or of those that are left visible."""
    visible, n = os.environ.get(machine.VISIBLE, ""), len(devices)
    says = [f"{machine.VISIBLE}={visible}"] if visible else []
    if n > 1:
        says.append(f"--device auto uses all {n}, one trial on each; --jobs 2 runs two on each")
    return [Finding("GPUs", "ok", "; ".join(says))] if says else []


def _gpu(index: int) -> Finding:
    import torch

    topic, about = f"cuda:{index}", torch.cuda.get_device_properties(index)
    says = f"{about.name}, {size(about.total_memory)}, capability {about.major}.{about.minor}"
    try:
        float(torch.ones(8, device=topic).sum())
    except RuntimeError as e:
        says = f"{says}: a sum fails: {str(e).splitlines()[0]}"
        return Finding(topic, "broken", says, "use --device cpu, or a torch built for this GPU")
    new = about.major >= 8  # tensor cores for both since Ampere
    kinds = "tf32 and bf16: yes" if new else "tf32 and bf16: no, they are refused"
    compiles = importlib.util.find_spec("triton") is not None
    says = f"{says}; {kinds}; torch.compile: {'yes' if compiles else 'no, triton is not installed'}"
    return Finding(topic, "ok", says, "" if new else "use --precision fp16 or fp32")


def _caches() -> list[Finding]:
    home = cache_folder()
    try:
        kept, free = entries(), room(home)
    except OSError as e:
        says = f"{e.filename or home} cannot be read: {e.strerror or e}"
        way_out = "name another folder in the environment variable DNABENCH_CACHE"
        return [Finding("cache", "broken", says, way_out)]
    tasks = [e for e in kept if e.name.startswith("task:")]
    others = [e for e in kept if e not in tasks and e.name != "hub"]
    parts = [f"{len(tasks)} tasks {size(sum(e.bytes for e in tasks))}"]
    parts += [f"{e.name} {size(e.bytes)}" for e in others]
    says = f"{home}: {', '.join(parts)}; {size(free)} of disk free"
    own = Finding("cache", "ok", says)
    if free < LITTLE_DISK:
        way_out = "`dnabench cache clear NAME`, or another folder in DNABENCH_CACHE"
        own = own._replace(state="note", way_out=way_out)
    hub = sum(e.bytes for e in kept if e.name == "hub")
    return [own, Finding("hub cache", "ok", f"{hub_folder()}: {size(hub)}")]


def locks(folder: Path, where: Literal["the cache", "--out"]) -> Finding:
    """Whether files can be written and locked in a folder, or where it would be created.

    Trials are claimed by files, so --out needs no locks; ones that two processes get at once are
    worse than none, since who has a lock takes over the claims of this machine.
    """
    at, topic, out = existing(folder), f"locks in {where}", where == "--out"
    try:
        with tempfile.NamedTemporaryFile(dir=at, prefix=".dnabench-doctor-") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with Path(f.name).open() as again:
                try:
                    fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return Finding(topic, "ok", f"work in {at}")
        harm = "run trials twice" if out else "write one file of the cache"
        says = f"two processes get one lock in {at}: two commands on this machine could {harm}"
    except OSError as e:
        if e.errno in NO_LOCKS and out:
            return Finding(topic, "ok", f"none in {at}, and none needed: files claim trials")
        if e.errno in NO_LOCKS:
            says = f"none in {at}: two commands may fetch the same file, `data import` fails"
            return Finding(topic, "note", says, "name a folder on a local disk in DNABENCH_CACHE")
        says = f"cannot write and lock a file in {at}: {e.strerror or e}"
    way_out = "--out" if out else "DNABENCH_CACHE"
    return Finding(topic, "broken", says, f"name a folder on a local disk in {way_out}")


def _registries() -> list[Finding]:
    found, way_out = [], "fix or uninstall it; the others are not affected"
    for registry in (MODELS, TASKS):
        topic = f"{registry.noun}s"
        found.append(Finding(topic, "ok", f"{len(list(registry))} registered"))
        for what, why in registry.broken.items():
            found.append(Finding(topic, "broken", f"{what} did not load: {why}", way_out))
    return found


def _hub_settings(environment: Mapping[str, str] = os.environ) -> Finding:
    """Variables that decide where weights and data come from, without the token."""
    values = {name: environment[name] for name in HUB if environment.get(name)}
    shown = [f"{k}={'(set)' if k == 'HF_TOKEN' else v}" for k, v in values.items()]
    return Finding("hub settings", "ok", ", ".join(shown) or "none: huggingface.co, no token")


def _reach() -> Finding:
    """Whether the hub answers."""
    import urllib.error
    import urllib.request

    from huggingface_hub import constants

    way_out = "name a mirror in HF_ENDPOINT; with HF_HUB_OFFLINE=1 only caches are read"
    if constants.HF_HUB_OFFLINE:
        return Finding("hub", "note", "not asked: HF_HUB_OFFLINE is set", "unset it to download")
    request: Any = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            code = answer.status
    except urllib.error.HTTPError as e:
        code = e.code
    except (OSError, ValueError) as e:
        says = f"{constants.ENDPOINT} cannot be reached: {getattr(e, 'reason', e)}"
        return Finding("hub", "broken", says, way_out)
    says = f"{constants.ENDPOINT} answers {code}"
    return Finding("hub", "ok", says) if code < 500 else Finding("hub", "broken", says, way_out)
