"""Real `dnabench` processes and their workers that start warm: forks of one with the libraries.

A command, and a worker that `multiprocessing` spawns, import torch and scikit-learn for seconds
before they do anything. `Nursery` keeps a process that has imported them and nothing else. What it
starts is a fork of it with arguments, environment, folder, files, limits and signals of its own; it
begins as `python -m dnabench` or multiprocessing's `spawn_main` does, and ends as they end. A
command has a nursery of its own, forked before it begins, so its workers know nothing of it.
What such a process would import late, or read from its environment while importing (plugins,
huggingface_hub), is not loaded in advance.

All of them have one seed for the hashes of strings: where two processes must agree byte for byte,
start one of them cold.
"""

import atexit
import contextlib
import ctypes
import gc
import json
import os
import resource
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from multiprocessing import util
from pathlib import Path

LIBRARIES = (
    "torch", "torch._dynamo", "scipy.sparse", "scipy.stats", "sklearn.linear_model",
    "sklearn.metrics", "jinja2", "matplotlib.figure", "pandas", "pydantic", "tabulate",
    "dnabench.cli.app", "dnabench.reports.render", "dnabench.reports.report", "dnabench.sweep.grid",
    "dnabench.sweep.progress", "dnabench.sweep.trial", "dnabench.tasks.io.files",
    "dnabench.tasks.io.flags", "dnabench.train.checkpoint", "dnabench.train.loop",
)  # fmt: skip
ROOM = "DNABENCH_TESTS_ROOM"  # characters in /proc/PID/environ for the environments of forks
LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
EVERY_SIGNAL = signal.valid_signals()
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
cold_spawn = util.spawnv_passfds


class Nursery:
    """Starts children of this process; `socket` leads to the process that forks them."""

    def __init__(self, connection, process=None):
        self._socket, self._process, self._lock = connection, process, threading.Lock()

    def start(self, kind, argv, env, cwd, files, session=False):
        """Like posix_spawn(3).

        Args:
            kind: "command" or "worker".
            argv: all of it, as /proc shows it.
            env: all of its environment.
            cwd: the folder it begins in.
            files: its number of a file -> ours.
            session: whether it leads a new one.

        Returns:
            The process id of a child of this process.
        """
        ignored = [n for n in EVERY_SIGNAL if signal.getsignal(n) is signal.SIG_IGN]
        request = {
            "kind": kind, "argv": argv, "env": dict(env), "cwd": str(cwd), "files": list(files),
            "session": session, "ignored": ignored, "cores": list(os.sched_getaffinity(0)),
            "mask": [int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
            "limits": [resource.getrlimit(which) for which in LIMITS],
        }  # fmt: skip
        with self._lock:
            _prctl(SUBREAPER, 1)  # so that an orphan of our descendants becomes our child
            try:
                socket.send_fds(self._socket, [json.dumps(request).encode()], list(files.values()))
                answer = self._socket.recv(64)
            finally:
                _prctl(SUBREAPER, 0)
        if not answer:
            raise RuntimeError("the process that starts others warm has ended")
        return int(answer)

    def spawn(self, path, args, files):
        """`spawnv_passfds` of multiprocessing: its workers start warm, its tracker as ever."""
        args = [os.fsdecode(word) for word in args]
        if not any("spawn_main(" in word for word in args):
            return cold_spawn(path, args, files)
        files = {n: n for n in (0, 1, 2, *files)}
        return self.start("worker", args, dict(os.environ), Path.cwd(), files)

    def close(self):
        self._socket.close()
        if self._process is not None:
            self._process.wait()


def nursery():
    """A new one, in a process of its own; close it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = [sys.executable, __file__, str(theirs.fileno()), "." * 2000]
    with theirs:
        process = subprocess.Popen(
            argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, ROOM: "." * 100_000},
        )  # fmt: skip
    return Nursery(ours, process)


class WarmPopen(subprocess.Popen):
    """`subprocess.Popen` of `[sys.executable, "-m", "dnabench", ...]`, started warm."""

    def __init__(self, nursery, argv, **options):
        self._nursery = nursery
        super().__init__(argv, **options)

    def _execute_child(
        self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo,
        creationflags, shell, p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite,
        restore_signals, gid, gids, uid, umask, start_new_session, *rest,
    ):  # fmt: skip
        pipes = {0: p2cread, 1: c2pwrite, 2: errwrite}
        files = {n: n if file == -1 else file for n, file in pipes.items()}
        try:
            self.pid = self._nursery.start(
                "command", [str(word) for word in args], env, cwd or Path.cwd(), files,
                start_new_session,
            )  # fmt: skip
            self._child_created = True
        finally:
            self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)


def run(nursery, argv, env, timeout=300, cwd=None):
    """subprocess.run(argv, env=env, capture_output=True, text=True, timeout=timeout, cwd=cwd)."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        files = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err}
        with WarmPopen(nursery, argv, env=env, cwd=cwd, **files) as process:
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        texts = [os.pread(f.fileno(), 2**30, 0).decode() for f in (out, err)]
    return subprocess.CompletedProcess(argv, process.returncode, *texts)


def serve(connection):
    """Fork for every request, until the other end is closed.

    Returns:
        In a fork alone: its request, and its files in the order of the request.
    """
    while True:
        message, files, _, _ = socket.recv_fds(connection, 2**20, 64)
        if not message:
            os._exit(0)
        answer, said = os.pipe()
        if not (between := os.fork()):  # its end makes its child the child of who asked
            if child := os.fork():
                os.write(said, b"%d" % child)
                os._exit(0)
            for n in (answer, said, connection.fileno()):
                os.close(n)
            return json.loads(message), files
        os.waitpid(between, 0)
        for n in (said, *files):
            os.close(n)
        connection.send(os.read(answer, 64))
        os.close(answer)


def become(request, files):
    """Take over what the request says, and nothing else."""
    high = [os.dup2(n, 500 + i) for i, n in enumerate(files)]
    os.closerange(0, 500)
    for n, file in zip(request["files"], high, strict=True):
        os.dup2(file, n)
    os.closerange(500, 500 + len(high))
    os.environ.clear()
    os.environ.update(request["env"])
    _show(request["argv"], request["env"])
    os.chdir(request["cwd"])
    os.sched_setaffinity(0, request["cores"])
    for which, limit in zip(LIMITS, request["limits"], strict=True):
        resource.setrlimit(which, limit)
    tempfile.tempdir = None
    sys.modules["numpy"].random.seed()
    for n in request["ignored"]:
        signal.signal(n, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, request["mask"])


def _show(argv, env):
    """Let /proc/PID/cmdline and environ show them, as they do after exec(3)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    words = [os.fsencode(word) for word in argv], [os.fsencode(f"{k}={env[k]}") for k in env]
    for texts, field in zip(words, (45, 47), strict=True):
        start, end = int(fields[field]), int(fields[field + 1])
        text = b"".join(word + b"\0" for word in texts)
        if len(text) >= end - start:
            raise ValueError(f"{len(text)} bytes of arguments or environment, more than {ROOM}")
        ctypes.memset(ctypes.c_void_p(start), 0, end - start)
        ctypes.memmove(ctypes.c_void_p(start), text, len(text))


def _prctl(option, value):
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl failed")


def work(request):
    """Be `python -m dnabench` or a process that multiprocessing spawned."""
    if request["kind"] == "worker":
        code, sys.argv = request["argv"][-2], ["-c", *request["argv"][-1:]]
        exec(code, {"__name__": "__main__"})
        return
    sys.argv = ["dnabench", *request["argv"][3:]]
    path = request["env"].get("PYTHONPATH", "")
    sys.path[: 1 + OURS] = [request["cwd"], *filter(None, path.split(os.pathsep))]
    runpy.run_module("dnabench", run_name="__main__", alter_sys=True)


def ended(request):
    """Work, and the exit status. As `multiprocessing` ends a fork, nothing is unloaded."""
    status = 0
    try:
        work(request)
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else int(e.code is not None)
        if isinstance(e.code, str):
            print(e.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    return status


def main(connection):
    """Serve; a newborn command forks its own nursery first, which serves it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, EVERY_SIGNAL)  # what is sent to a group is not for us
    while True:
        request, files = serve(connection)
        if request["kind"] == "worker":
            become(request, files)
            break
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours, theirs = (
            os.dup2(end.detach(), n, inheritable=False)
            for end, n in zip(pair, (600, 601), strict=True)
        )
        connection.detach()
        if request["session"]:
            os.setsid()  # its workers are in it too
        if os.fork():
            os.close(theirs)
            become(request, files)
            util.spawnv_passfds = Nursery(socket.socket(fileno=ours)).spawn
            break
        os.closerange(0, theirs)
        for _ in range(3):
            os.open(os.devnull, os.O_RDWR)
        connection = socket.socket(fileno=theirs)
    os._exit(ended(request))


if __name__ == "__main__":
    OURS = len([x for x in os.environ.get("PYTHONPATH", "").split(os.pathsep) if x])
    for library in LIBRARIES:
        __import__(library)
    gc.collect()
    gc.freeze()  # else the collector of every fork would touch, and so copy, all of it
    main(socket.socket(fileno=int(sys.argv[1])))
