"""How fast the command answers: `python tests/bench/startup.py`. Not collected by pytest.

Prints the median and the range of wall seconds over whole processes, and the machine.
"""

import statistics
import subprocess
import sys
import time

from dnabench.results.provenance import here

RUNS = 15
COMMANDS = (
    ["--help"],
    ["list", "models"],
    ["list", "tasks"],
    ["run", "--suite", "demo", "--dry-run"],
)


def seconds(words):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "dnabench", *words], check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    where = here()
    print(where["cpu"], "python", where["python"], "commit", where["commit"])
    for words in COMMANDS:
        seconds(words)  # warm the disk cache
        times = [seconds(words) for _ in range(RUNS)]
        low, middle, high = min(times), statistics.median(times), max(times)
        print(f"dnabench {' '.join(words):<30} {middle:.3f} s  ({low:.3f}-{high:.3f}, n={RUNS})")
