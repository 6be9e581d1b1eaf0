"""How fast the command answers: `python tests/bench/startup.py`. Not collected by pytest.

Prints CPU seconds (user and system, the fastest run) and wall seconds (median, range) of whole
processes with compiled modules, as after the first use of an installation, and the machine.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from dnabench.results.provenance import here

RUNS = 15
COMMANDS = (
    ["--help"],
    ["list", "models"],
    ["list", "tasks"],
    ["run", "--suite", "demo", "--dry-run"],
)


def seconds(words, env):
    """(CPU, wall) of one process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    argv = [sys.executable, "-m", "dnabench", *words]
    subprocess.run(argv, check=True, capture_output=True, env=env)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, wall


def main():
    where = here()
    print(f"{where['cpu']}, CPython {where['python']}, commit {where['commit'][:7]}\n")
    print("| command | CPU (s) | wall (s) | range |\n|---|---:|---:|---|")
    with tempfile.TemporaryDirectory() as compiled:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env |= {"PYTHONPYCACHEPREFIX": compiled}
        for words in COMMANDS:
            seconds(words, env)  # compiles, and warms the disk cache
            cpu, wall = zip(*(seconds(words, env) for _ in range(RUNS)), strict=True)
            print(
                f"| dnabench {' '.join(words)} | {min(cpu):.3f} | {statistics.median(wall):.3f} | "
                f"{min(wall):.3f}-{max(wall):.3f} |"
            )


if __name__ == "__main__":
    main()
