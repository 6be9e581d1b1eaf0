"""Random faults over sweeps: is a trial lost, run twice or torn? Prints Markdown.

    OMP_NUM_THREADS=1 python tests/bench/chaos.py --engine local --faults 120 --seed 1

Engines are local, slurm (as root) and ray, real ones of two nodes (tests/engines). The seed draws
the faults, each kind about equally often, and the pauses before them; what they hit depends on the
machine's speed too. Whenever the command has ended it is started again, until its sweep is
complete; then follows another sweep. Every complete one is compared with an undisturbed one: ids,
what was computed, predictions.

worker       kill -9 of a process that runs a trial, or of the one above it
parent       kill -9 of the command alone
node         kill -9 of all its processes; of Slurm's or Ray's node, which comes back
disk full    the file system of the store has 0 to 4 pages left, in spells of 10 ms to 3 s, until
             the command ends, or for two minutes: an error may have room where a record has none
clock jump   the command's clock is an hour ahead or behind from now on (libfaketime; not the tasks'
             of Slurm and Ray, nor the file server's)
stop         SIGSTOP of worker, command or both for --stop seconds, while the same command runs too
minute       SIGSTOP of a worker for --minute seconds, likewise; half as often as most
move         the command is killed, the store moves to another file system, and it goes on there

Linux; needs leave to mount, which it does in a namespace of its own. Ends with 1 if something is
lost, double or torn, a trial fails whose error tells of no kill, more trials fail than were killed,
or the command ends in any way but those that it promises.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))
sys.path.insert(0, str(Path(__file__).parents[1]))  # its conftest.py comes first

import conftest
from chaos_engines import engine_named, kill
from twelve_trials import digest

from dnabench.results.provenance import here
from dnabench.results.store import Store

SWEEP = ["-m", "cnn,kmer", "--seeds", "6", "--epochs", "40", "--device", "cpu", "--jobs", "2"]
TRIALS = 12
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
# Debian's libfaketime breaks time.sleep of Python 3.11 where it leaves the monotonic clock alone
NAP = """
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *at, struct timespec *left)
{ return syscall(SYS_clock_nanosleep, clock, flags, at, left) ? errno : 0; }
"""
PATIENCE = 240  # seconds for anything
FINE = (0, -signal.SIGKILL)  # ends of the command; also 1, where a worker or node was killed
KILLED = re.compile(  # how each engine tells of a trial that failed because it was killed
    r"RuntimeError: (the worker process died \(SIGKILL|Ray lost 3 workers|"
    r"Slurm task \S+ ended \(\w+\) before the trial did(?!.*cannot write))"
)


def write_data(path):
    """120 planted sequences in three splits."""
    rows = ["sequence,label,split"]
    for seed, (split, n) in enumerate((("train", 64), ("dev", 24), ("test", 32))):
        part = conftest.planted_split(n, seed)
        rows += [f"{part.seqs[i]},{part.y[i]},{split}" for i in range(n)]
    path.write_text("\n".join(rows) + "\n")


def parent_of(pid):
    """Id of the process above; 0 = it is gone."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


class Chaos:
    """One engine under faults."""

    def __init__(self, engine, folder, rng, stop, minute):
        self.engine, self.folder, self.rng = engine, folder, rng
        self.stop_for, self.minute_for = stop, minute
        self.data = folder / "motif.csv"
        write_data(self.data)
        self.disks = [folder / "one", folder / "two"]
        for disk in self.disks:
            disk.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", disk], check=True)
        self.sweeps, self.commands, self.clock = 0, 0, folder / "clock"
        self.clock.write_text("+0")
        self.preload = self.preloaded()
        self.faults, self.ends, self.wrong = Counter(), Counter(), Counter()
        self.kills, self.kills_before, self.unread = 0, 0, 0  # kills: trials that may fail by them
        self.deck, self.decks = [], 0  # faults to come, and how often they were dealt
        self.failures = {}  # record file and when it was written -> how its error ends
        self.truth = None
        self.next_sweep()

    def preloaded(self):
        """Libraries that make the clock jump; "" where there are none."""
        if not FAKETIME or not shutil.which("cc"):
            print("no clock jumps: they need libfaketime (Debian: faketime) and a C compiler\n")
            return ""
        nap = self.folder / "nap.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-xc", "-", "-o", nap], input=NAP.encode(),
                       check=True)  # fmt: skip
        return f"{nap}:{FAKETIME[0]}"

    def start(self, out, *words):
        """The command over a folder."""
        env = {**self.engine.env, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        if self.preload:
            env |= {"LD_PRELOAD": self.preload, "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                    "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                    "NO_FAKE_STAT": "1"}  # fmt: skip
        self.commands += 1
        self.note_failures()  # before the command runs those trials again
        argv = ["run", *SWEEP, "--data", str(self.data), "--out", str(out), *words]
        with (self.folder / f"{self.commands}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dnabench", *argv], env=env, stdout=log, stderr=log,
                start_new_session=True, cwd=self.folder,
            )  # fmt: skip
        process.log = Path(log.name)
        process.kills, self.kills_before = self.kills_before, self.kills  # from the last one on
        return process

    def ended(self, process):
        """How the command ended, which must be in a way that it promises."""
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            code = "hangs"
            os.killpg(process.pid, signal.SIGKILL)
        said = process.log.read_text()
        full = code == 2 and "error: cannot write to" in said and "No space left" in said
        self.ends["full disk" if full else code] += 1
        killed = code == 1 and self.kills > process.kills
        if (code not in FINE and not full and not killed) or "Traceback" in said:
            self.wrong["ends"] += 1
            print(f"\nThe command ended with {code}:\n\n{said[-3000:]}", flush=True)
        return code

    def next_sweep(self):
        """The folder of another sweep, on the file system that has had fewer."""
        self.sweeps += 1
        self.at = self.sweeps % 2
        self.kills_of_others = self.kills
        self.out = self.disks[self.at] / f"runs{self.sweeps}"

    def note_failures(self):
        """Records of failed trials as they are now; each must tell of a kill."""
        for path in self.out.glob("records/[!.]*.json"):
            try:
                key = path.name, path.stat().st_mtime_ns
                error = json.loads(path.read_text())["error"]
            except (OSError, ValueError):  # removed meanwhile; what is torn, `check` says
                continue
            if error and key not in self.failures:
                last = self.failures[key] = error.strip().splitlines()[-1]
                if not KILLED.match(last):
                    self.wrong["failed"] += 1
                    print(f"\n{path} failed, and not by a kill: {last}", flush=True)

    def owners(self):
        """Processes that run a trial, with those above them."""
        found = []
        for path in self.out.glob(".locks/[!.]*.[0-9]*"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                pid = json.loads(path.read_text())["pid"]
                found += [pid, parent_of(pid)][: self.engine.levels]
        return [pid for pid in found if pid > 1 and pid != os.getpid()]

    def run(self, n):
        """So many faults, then what is left of the sweep."""
        code = None
        while sum(self.faults.values()) < n:
            if code == 0:
                self.check()
                self.next_sweep()
            process = self.start(self.out)
            end = time.monotonic() + PATIENCE
            while not self.owners() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
            while process.poll() is None and sum(self.faults.values()) < n:
                time.sleep(1.5 * self.rng.random())
                if process.poll() is None:
                    self.fault(process)
                    time.sleep(0.2)
            code = self.ended(process)
        for _ in range(10):
            if self.ended(self.start(self.out)) == 0:
                break
        self.check()

    def fault(self, process):
        """The next; of those that need a trial that runs, only if there is one."""
        if not self.deck:
            self.decks += 1
            self.deck = ["parent", "node", "disk full", "stop", "move", "worker", "worker"]
            self.deck += ["clock jump"] * bool(self.preload) + ["minute"] * (self.decks % 2)
            self.rng.shuffle(self.deck)
        needy = () if self.owners() else ("worker", "minute")
        kind = next((k for k in self.deck if k not in needy), "parent")
        if kind in self.deck:
            self.deck.remove(kind)
        getattr(self, kind.replace(" ", "_"))(process)
        self.faults[kind] += 1

    def worker(self, process):
        for pid in self.rng.sample(found, 1) if (found := self.owners()) else ():
            self.kills += self.engine.levels * kill(pid)

    def parent(self, process):
        process.kill()
        process.wait()

    def node(self, process):
        self.kills += 2  # --jobs
        self.engine.lose_node(self.rng, process)

    def disk_full(self, process):
        filler, end = self.disks[self.at] / "filler", time.monotonic() + 120
        failed = len(self.failures)
        while time.monotonic() < end and process.poll() is None and len(self.failures) == failed:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(2**20)):
                    pass
            os.truncate(filler, filler.stat().st_size - 4096 * self.rng.randrange(5))
            time.sleep(0.01 * 300 ** self.rng.random())
            filler.unlink()
            time.sleep(0.05 * self.rng.random())
            self.note_failures()

    def clock_jump(self, process):
        others = {"+0", "+3600", "-3600"} - {self.clock.read_text()}
        draft = self.clock.with_suffix(".new")
        draft.write_text(self.rng.choice(sorted(others)))
        draft.replace(self.clock)

    def stop(self, process):
        whom = self.rng.choice(["worker", "parent", "both"])
        pids = self.owners() if whom != "parent" else []
        pids += [process.pid] if whom != "worker" else []
        self.stopped(pids, self.stop_for)

    def minute(self, process):
        self.stopped(self.owners(), self.minute_for)

    def stopped(self, pids, seconds):
        """Stop them, run the same command beside them, let them go on."""
        stopped = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
        rival, end = self.start(self.out), time.monotonic() + seconds
        while time.monotonic() < end and rival.poll() is None:
            time.sleep(0.1)
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.ended(rival)

    def move(self, process):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.engine.settle()
        self.at = 1 - self.at
        before, self.out = self.out, self.disks[self.at] / self.out.name
        shutil.move(before, self.out)

    def check(self):
        """Compare a complete sweep with the undisturbed one."""
        self.note_failures()
        store, lines = Store(self.out), []
        for path in self.out.glob("journal-*.jsonl"):
            lines += path.read_text().splitlines()
        ends, failed = Counter(), 0
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:  # cut off where the disk was full
                self.unread += 1
                continue
            ends[event["trial"]] += event["event"] == "ended"
            failed += event["event"] == "failed"
        self.wrong["failed"] += max(0, failed - (self.kills - self.kills_of_others))
        self.wrong["lost"] += TRIALS - len(store.done())
        self.wrong["double"] += sum(times > 1 for times in ends.values())
        torn = list(store.unreadable) + [p for p in store.kept() if p.suffix != ".tmp"]
        found = {}
        try:
            found = digest(self.out)
        except Exception as e:  # whatever damaged files raise
            torn.append(e)
        self.wrong["torn"] += len(torn)
        self.wrong["other results"] += sum(found.get(i) != x for i, x in self.truth.items())
        if any(self.wrong.values()):
            print(f"\n{self.out}: {dict(self.wrong)} {torn}", flush=True)


def main():
    """Run it."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--engine", choices=("local", "slurm", "ray"), default="local")
    words.add_argument("--faults", type=int, default=120)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--stop", type=float, default=6.0, help="seconds that SIGSTOP lasts")
    words.add_argument("--minute", type=float, default=60.0, help="seconds of the long SIGSTOP")
    asked = words.parse_args()
    begin = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="chaos", dir="/tmp"))
    # libfaketime leaves files of killed processes there: in this namespace they go with it
    subprocess.run(["mount", "-t", "tmpfs", "none", "/dev/shm"], check=True)
    try:
        with engine_named(asked.engine) as engine:
            chaos = Chaos(engine, folder, random.Random(asked.seed), asked.stop, asked.minute)
            undisturbed = Chaos.start(chaos, folder / "undisturbed", "--executor", "inline")
            assert chaos.ended(undisturbed) == 0
            chaos.truth = digest(folder / "undisturbed")
            assert len(chaos.truth) == TRIALS
            chaos.ends.clear()
            chaos.run(asked.faults)
    finally:
        for disk in (folder / "one", folder / "two"):
            subprocess.run(["umount", disk], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)
    wrong = chaos.wrong
    print(f"\n{asked.engine}, seed {asked.seed}: {sum(chaos.faults.values())} faults over "
          f"{chaos.sweeps} sweeps of {TRIALS} trials, {chaos.commands} commands, "
          f"{time.monotonic() - begin:.0f} s, load {os.getloadavg()[0]:.1f}\n")  # fmt: skip
    print("| fault | times |\n|---|---:|")
    print("\n".join(f"| {k} | {n} |" for k, n in sorted(chaos.faults.items())))
    print("\nends of the command: " + ", ".join(f"{k}: {n}" for k, n in chaos.ends.items()))
    print(
        f"\n{wrong['lost']} lost, {wrong['double']} double, {wrong['torn']} torn, "
        f"{wrong['other results']} with other results, {wrong['ends']} other ends, "
        f"{wrong['failed']} failed without a kill; {chaos.unread} lines of journals cut off"
    )
    print("; ".join(f"{k} {v}" for k, v in here().items() if isinstance(v, str)))
    sys.exit(any(wrong.values()))


if __name__ == "__main__":
    if "CHAOS_PRIVATE" not in os.environ:
        root = [] if os.geteuid() == 0 else ["--map-root-user"]
        os.environ["CHAOS_PRIVATE"] = "1"
        os.execvp("unshare", ["unshare", *root, "--mount", sys.executable, *sys.argv])
    main()
