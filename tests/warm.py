"""Real `dnabench` processes that start warm: forked from one that has imported the libraries.

A command imports torch and scikit-learn for two seconds before it does anything. `Starter` keeps
one process that has imported them and nothing else; each command is a fork of it, with its own
arguments, environment, folder and output, and ends as `python -m dnabench` ends. What such a
process would import late, or read from its environment while importing (plugins, huggingface_hub),
is not loaded in advance.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

LIBRARIES = (
    "torch", "scipy.sparse", "scipy.stats", "sklearn.linear_model", "sklearn.metrics", "jinja2",
    "matplotlib.figure", "pandas", "dnabench.cli.app", "dnabench.sweep.trial",
    "dnabench.train.loop", "dnabench.reports.render",
)  # fmt: skip


class Starter:
    """Start it once, `run` commands one after another, `close` it."""

    def __init__(self):
        ours, theirs = os.pipe(), os.pipe()
        argv = [sys.executable, __file__, str(theirs[0]), str(ours[1])]
        self._process = subprocess.Popen(
            argv, pass_fds=(theirs[0], ours[1]), stdin=subprocess.DEVNULL, start_new_session=True
        )
        os.close(theirs[0])
        os.close(ours[1])
        self._answers = os.fdopen(ours[0], "rb", buffering=0)
        self._requests = os.fdopen(theirs[1], "wb", buffering=0)

    def run(self, argv, env, timeout):
        """As subprocess.run([sys.executable, "-m", "dnabench", *argv], env=env, ...) does."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            names = [f"/proc/{os.getpid()}/fd/{f.fileno()}" for f in (out, err)]
            request = {"argv": argv, "env": env, "cwd": str(Path.cwd()), "files": names}
            self._requests.write(json.dumps(request).encode() + b"\n")
            pid = self._answer(60)
            try:
                status = self._answer(timeout)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self._answer(60)
                raise subprocess.TimeoutExpired(argv, timeout) from None
            texts = [os.pread(f.fileno(), 2**30, 0).decode() for f in (out, err)]
        return subprocess.CompletedProcess(argv, os.waitstatus_to_exitcode(status), *texts)

    def _answer(self, timeout):
        if not select.select([self._answers], [], [], timeout)[0]:
            raise TimeoutError
        line = b""
        while not line.endswith(b"\n"):
            if not (byte := self._answers.read(1)):
                raise RuntimeError("the process that starts commands has ended")
            line += byte
        return int(line)

    def close(self):
        self._requests.close()
        self._process.wait()
        self._answers.close()


def child(request):
    """Become the command: what the parent had is replaced by what was asked for."""
    for name, target in zip(request["files"], (1, 2), strict=True):
        file = os.open(name, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, target)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = ["dnabench", *request["argv"]]
    sys.path[0] = request["cwd"]  # as `python -m` has it
    runpy.run_module("dnabench", run_name="__main__", alter_sys=True)


def ended(request):
    """Run the command; its exit status. As `multiprocessing` ends a fork, nothing is unloaded."""
    status = 0
    try:
        child(request)
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else int(e.code is not None)
        if isinstance(e.code, str):
            print(e.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def serve(requests, answers):
    """Fork for each request; say its process id, then its wait status. None at the end of all.

    Returns:
        In the fork, its request.
    """
    for library in LIBRARIES:
        __import__(library)
    gc.collect()
    gc.freeze()  # else the collector of every fork would touch, and so copy, all of it
    for line in requests:
        pid = os.fork()
        if not pid:
            os.close(answers)
            os.close(requests.fileno())
            return json.loads(line)
        os.write(answers, b"%d\n" % pid)
        os.write(answers, b"%d\n" % os.waitpid(pid, 0)[1])
    return None


if __name__ == "__main__":
    if found := serve(os.fdopen(int(sys.argv[1]), "rb"), int(sys.argv[2])):
        os._exit(ended(found))
