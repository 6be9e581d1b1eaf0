"""A real Slurm on this machine: two nodes on loopback, its own munge, free ports. Needs root.

    python tests/engines/slurm_cluster.py FOLDER      prints what to export; ends with Ctrl-C

No systemd, no cgroups, no accounting database. FOLDER is short: the path of munge's socket may have
107 characters. Every daemon is ended by its process number.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
CONF = """
ClusterName=dnabench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/sock,cred_expire=5
CryptoType=crypto/munge
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,requeue_delay=1
MinJobAge=300
MaxArraySize=1001
ReturnToService=2
SlurmdTimeout=15
KillWait=5
InactiveLimit=0
Waittime=0
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PropagateResourceLimits=NONE
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
{nodes}
PartitionName=work Nodes=ALL Default=YES MaxTime=1:00:00 State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=1:00:00 State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing():
    """Why no cluster can be started here; "" if one can."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"no {', '.join(lacking)} here (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "slurmd needs root"


def free_ports(n):
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Cluster:
    """Two nodes, n0 and n1, of one CPU each; partitions work and urgent, which preempts it."""

    def __init__(self, folder, nodes=2):
        self.folder, self.nodes = Path(folder), nodes
        self.env = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        ports = free_ports(nodes + 1)
        host = socket.gethostname().partition(".")[0]
        lines = [
            f"NodeName=n{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[i + 1]} CPUs=1 "
            "RealMemory=4000 State=UNKNOWN" for i in range(nodes)
        ]  # fmt: skip
        (self.folder / "munge").mkdir(parents=True)
        self.folder.chmod(0o755)
        (self.folder / "munge").chmod(0o711)
        (self.folder / "state").mkdir()
        text = CONF.format(host=host, ports=ports, folder=self.folder, nodes="\n".join(lines))
        (self.folder / "slurm.conf").write_text(text)
        key = self.folder / "munge/key"
        key.write_bytes(os.urandom(256))
        key.chmod(0o400)

    def __enter__(self):
        try:
            munge = self.folder / "munge"
            self._start("munged", "--force", f"--key-file={munge}/key", f"--socket={munge}/sock",
                        f"--pid-file={self.folder}/munged.pid", f"--log-file={munge}/log",
                        f"--seed-file={munge}/seed")  # fmt: skip
            self._start("slurmctld", "-f", self.env["SLURM_CONF"])
            for i in range(self.nodes):
                self.start_node(i)
            self.wait(lambda: self("sinfo", "-h", "-t", "idle", "-o", "%D") == str(self.nodes), 60)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception):
        self.close()

    def start_node(self, i):
        """Start the daemon of a node."""
        (self.folder / f"spool-n{i}").mkdir(exist_ok=True)
        self._start("slurmd", "-f", self.env["SLURM_CONF"], "-N", f"n{i}")

    def _start(self, *words):
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (words, done.stderr, done.stdout)

    def pid(self, name):
        """Of a daemon: munged, slurmctld, slurmd-n0; 0 = it has none."""
        try:
            return int((self.folder / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return 0

    def __call__(self, *words):
        """What a command prints."""
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    def wait(self, condition, seconds=280):
        """Until it holds; its value."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > end:
                tail = (self.folder / "slurmctld.log").read_text().splitlines()[-20:]
                raise AssertionError("\n".join(["waited in vain", self("squeue"), *tail]))
            time.sleep(0.1)
        return found

    def close(self):
        """Cancel all jobs and end every daemon."""
        self("scancel", f"--user={os.getuid()}")
        with contextlib.suppress(AssertionError):
            self.wait(lambda: not self("squeue", "-h", "-t", "R,CG"), 15)
        names = [*(f"slurmd-n{i}" for i in range(self.nodes)), "slurmctld", "munged"]
        pids = [pid for name in names if (pid := self.pid(name))]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            end = time.monotonic() + 5
            while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
                time.sleep(0.1)


@contextlib.contextmanager
def cluster():
    """One in a short folder of its own, which is removed."""
    folder = Path(tempfile.mkdtemp(prefix="dnb", dir="/tmp"))
    try:
        with Cluster(folder / "s") as one:
            yield one
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    with Cluster(Path(sys.argv[1]).absolute()) as shown:
        print(f"export SLURM_CONF={shown.env['SLURM_CONF']}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
