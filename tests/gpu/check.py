"""Everything about CUDA in under 8 minutes on one GPU: `make gpu`, or `python tests/gpu/check.py`.

    python tests/gpu/check.py                       # writes gpu_out/check.json and check.md
    python tests/gpu/check.py --device cpu --tiny   # the same logic, small, without a GPU

It needs a checkout and a Python that has PyTorch and the other requirements; the package need not
be installed: a folder of links stands for it. Each section is a process with a budget of seconds,
the most important first; where all budgets are more than what is left, each is as much smaller.
A section writes a row as soon as it is measured, begins nothing when its budget is over, and says
what it left out, so an interrupted check can be read too (`python -m gpu report`, from tests/). A
row that hangs or crashes ends its process, and another goes on behind it. In the end sections that
left rows out get what others did not take. README.md has the commands for a machine that is lent
for minutes.

Occasions add up: copy check.json and check.md to docs/benchmarks as gpu.json and gpu.md. The next
one begins with that file, measures what it lacks of this device, PyTorch, code (a digest of the
sources, so that a commit of results changes nothing) and size (--tiny or not), and keeps the tables
of others below its own.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUDGETS = {  # seconds; the order is that of gpu.report.ORDER
    "environment": 25, "records": 40, "repeats": 45, "steps": 170, "lengths": 40, "memory": 25,
    "runs": 60, "precisions": 35, "probes": 25, "ranks": 25,
}  # fmt: skip
PARTS = ("models", "tasks", "results", "reports", "probes")
LEAST = 8  # seconds that are worth another process of a section
GRACE = 20  # seconds after its budget in which a section may end what it began, on a GPU
PROCESSES = 4  # of a section, at most: as many rows of it may hang or crash, but for one
TO_REPORT = 60  # seconds


def link_package(site):
    """What `import dnabench` finds, with its requirements, where nothing is installed."""
    try:
        import tomllib
    except ModuleNotFoundError:
        have = sys.version.split()[0]
        sys.exit(f"dnabench needs Python 3.11 or newer, this is {have}: try python3.12")
    (site / "dnabench").mkdir()
    rooms = [*(ROOT / "harness").iterdir()]
    for path in [*rooms, *(ROOT / part for part in PARTS)]:
        (site / "dnabench" / path.name).symlink_to(path)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    source = (ROOT / "harness" / "__init__.py").read_text()
    version = re.search(r'__version__ = "([^"]+)"', source)[1]
    info = site / f"dnabench-{version}.dist-info"
    info.mkdir()
    head = ["Metadata-Version: 2.1", "Name: dnabench", f"Version: {version}"]
    needs = [f"Requires-Dist: {line}" for line in project["dependencies"]]
    (info / "METADATA").write_text("\n".join([*head, *needs, ""]))


def environment(site, cache):
    path = [str(site), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "DNABENCH_CACHE": str(cache),
        # its profiler crashes beside CUDA graphs otherwise; PyTorch sets them for graphs of its own
        "DISABLE_CUPTI_LAZY_REINIT": "1", "TEARDOWN_CUPTI": "0",
    }  # fmt: skip


def gpu_tests(out, env):
    """The suite's own tests that need CUDA, in at most 45 seconds.

    Other files may need packages that are not here, and other versions warn of other things.
    """
    argv = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "-q"]
    argv += ["-W", "default", *files_of_gpu_tests()]
    env = {**env, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with (out / "pytest.txt").open("w") as file:
        code = ended(argv, 45, cwd=ROOT, env=env, stdout=file, stderr=file)
        file.write(f"exit {code}\n")


def files_of_gpu_tests():
    """The files of the suite that have any."""
    return [f for f in sorted((ROOT / "tests").glob("test_*.py")) if "mark.gpu" in f.read_text()]


def ended(argv, seconds, **how):
    """The exit status of a command; after so many seconds it is killed with all it started."""
    running = subprocess.Popen(argv, process_group=0, **how)
    try:
        return running.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"more than {seconds:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):  # also what it left running
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def run(args, left, env):
    """Every section in its turn; then those that left rows out, while there is time."""
    names = [name for name in BUDGETS if not args.sections or name in args.sections]
    for i, name in enumerate(names):
        if left() < 12:
            print(f"== {name}: no time left")
            continue
        to_come = sum(BUDGETS[later] for later in names[i:])
        share = (left() - 6) / to_come
        if not args.tiny:  # of the dry mode, on a busy machine, all may take as long as there is
            share = min(1.0, share)
        measure(args, name, max(LEAST, int(share * BUDGETS[name])), left, env)
    for name in names:
        if left() > 2 * LEAST and late(args.out, name):
            measure(args, name, int(left() - 6), left, env, "--again")


def measure(args, name, budget, left, env, *words):
    """A section; a CUDA error that lasts, or a hang, ends a process and not the section."""
    print(f"== {name} ({budget} s of {left():.0f})", flush=True)
    argv = [sys.executable, "-m", "gpu", name, "--out", args.out, "--device", args.device]
    argv += ["--earlier", args.earlier.resolve(), *(["--tiny"] if args.tiny else [])]
    end, grace = time.monotonic() + budget, GRACE if args.device != "cpu" else 900
    for _ in range(PROCESSES):
        rest = int(end - time.monotonic())
        code = ended([*argv, *words, "--budget", str(rest)], rest + grace, env=env)
        if code:
            print(f"== {name} ended with {code}", flush=True)
        if not code or end - time.monotonic() <= LEAST:
            return
        words = ("--again",)


def late(out, name):
    """Whether a section left rows out for want of time."""
    part = out / f"part-{name}.json"
    return part.exists() and json.loads(part.read_text()).get("late", 0) > 0


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--device", default="cuda")
    p.add_argument("--tiny", action="store_true", help="small shapes, to test this without a GPU")
    p.add_argument("--out", type=lambda x: Path(x).resolve(), default=Path("gpu_out").resolve())
    p.add_argument("--limit", type=float, default=455, help="seconds for all sections")
    p.add_argument(
        "--earlier", type=Path, default=ROOT / "docs" / "benchmarks" / "gpu.json",
        help="check.json of earlier occasions: what it has of this device and code is kept",
    )  # fmt: skip
    p.add_argument(
        "--sections", type=lambda text: text.split(","), help="these alone, a,b; default: all"
    )
    p.add_argument("--commit", default="", help="of the checkout, where git cannot be asked")
    p.add_argument("--cache", help="a cache folder to keep; default: a temporary one")
    args = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # with what it started
    start = time.monotonic()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        site, cache = Path(folder, "site"), Path(args.cache or Path(folder, "cache"))
        site.mkdir()
        cache.mkdir(parents=True, exist_ok=True)
        link_package(site)
        env = environment(site, cache)
        if args.device != "cpu":
            fields = "name,driver_version,memory.total,memory.used,compute_mode"
            argv = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
            # it may not be on the path, or wait for a driver that does not answer
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(argv, timeout=15)
            gpu_tests(args.out, env)
        run(args, lambda: args.limit - (time.monotonic() - start), env)
        seconds = f"{time.monotonic() - start:.0f}"
        argv = [sys.executable, "-m", "gpu", "report", "--out", args.out, "--seconds", seconds]
        argv += ["--device", args.device, "--earlier", args.earlier.resolve()]
        argv += ["--commit", args.commit, *["--tiny"] * args.tiny]
        sys.exit(ended(argv, TO_REPORT, env=env))


if __name__ == "__main__":
    main()
