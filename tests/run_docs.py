"""Run commands of the pages one after the other in one fresh process: JSON in, JSON out.

    python tests/run_docs.py commands.json results.json

commands.json is a list of argument lists without `dnabench`; results.json has for each its exit
status, what it printed, and its seconds. A checkpoint of `mymodel` is written first.
"""

import json
import sys
import time
import traceback
from pathlib import Path

from safetensors.torch import save_file
from typer.testing import CliRunner

from dnabench import MODELS
from dnabench.cli import main
from dnabench.tasks.io.files import task_from_path


def write_checkpoint(path):
    model = MODELS["mymodel"]
    net = model.build(task_from_path(Path("my.csv")), model.options)
    save_file(net.backbone.state_dict(), path)


def invoke(words):
    start = time.time()
    done = CliRunner().invoke(main, words)
    code, error = done.exit_code, ""
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        error = "".join(traceback.format_exception(done.exception))
    return {
        "code": code, "out": done.stdout, "err": done.stderr + error,
        "seconds": round(time.time() - start, 2),
    }  # fmt: skip


if __name__ == "__main__":
    commands, results = map(Path, sys.argv[1:])
    if not Path("mymodel.safetensors").exists():
        write_checkpoint("mymodel.safetensors")
    found = [invoke(words) for words in json.loads(commands.read_text())]
    results.write_text(json.dumps(found))
