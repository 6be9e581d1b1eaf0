"""A real Ray cluster on this machine: two nodes, a token, free ports, no dashboard.

`python tests/engines/ray_cluster.py /tmp/x` (a short path) prints what to export and runs until
Ctrl-C. What it starts ends by process id.
"""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from slurm_cluster import free_ports

SLOWEST = 120  # seconds for a node to start


def missing():
    """Why no cluster can be started here; "" if one can."""
    return "" if importlib.util.find_spec("ray") else "Ray is not installed (pip install ray)"


class Cluster:
    """Nodes n0, the head, and n1, each of one CPU and two declared GPUs, at their own addresses."""

    def __init__(self, folder, token=True):
        self.folder, (port,) = Path(folder), free_ports(1)
        self.folder.mkdir(parents=True)
        self.address, self.token = f"127.0.0.1:{port}", secrets.token_hex(32)
        path = self.folder / "token"
        path.touch(mode=0o600)
        path.write_text(self.token)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}
        auth = auth if token else {"RAY_AUTH_MODE": "disabled"}
        self.env = {**kept, **auth, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}

    def __enter__(self):
        try:
            self._start(0, "--head", f"--port={self.address.partition(':')[2]}",
                        f"--temp-dir={self.folder}", "--include-dashboard=false")  # fmt: skip
            self.start_node()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception):
        self.close()

    def start_node(self):
        """Start the second node."""
        self._start(1, f"--address={self.address}")

    def _start(self, i, *words):
        done = subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--num-gpus=2",
             f"--node-ip-address=127.0.0.{i + 1}", f'--resources={{"n{i}": 1}}',
             "--object-store-memory=100000000", "--disable-usage-stats", *words],
            env=self.env, capture_output=True, text=True, timeout=SLOWEST,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout

    def pids(self, *texts):
        """Of the processes of this cluster whose command line has all of these texts."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().decode(errors="replace")
                if all(text in words for text in (f"{self.folder}/session_", *texts)):
                    found.append(int(path.parent.name))
        return found

    def raylet(self, i):
        """Of the daemon of a node."""
        (pid,) = self.pids("raylet/raylet", f"n{i},1")
        return pid

    def _left(self):
        """The processes of this cluster; some hide their command line, but have its logs open."""
        found = set(self.pids())
        for path in Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                if str(path.readlink()).startswith(f"{self.folder}/session_"):
                    found.add(int(path.parts[2]))
        return found - {os.getpid()}

    def close(self):
        """End every process; workers end with the daemons."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._left():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            end = time.monotonic() + 2
            while self._left() and time.monotonic() < end:
                time.sleep(0.2)


@contextlib.contextmanager
def cluster(token=True):
    """One in a short folder of its own, which is removed."""
    folder = Path(tempfile.mkdtemp(prefix="dnb", dir="/tmp"))
    try:
        with Cluster(folder / "r", token) as one:
            yield one
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    with Cluster(Path(sys.argv[1]).absolute()) as shown:
        path = shown.env["RAY_AUTH_TOKEN_PATH"]
        print(f"export RAY_AUTH_TOKEN_PATH={path} RAY_ADDRESS={shown.address}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
