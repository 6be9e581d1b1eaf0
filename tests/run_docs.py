"""Run commands of the pages one after the other in one fresh process: JSON in, JSON out.

    python tests/run_docs.py commands.json results.json

commands.json is a list of argument lists without `dnabench`; results.json has the exit status and
the output of each. A checkpoint of `mymodel` is written first where a command loads one.
"""

import json
import sys
import traceback
from multiprocessing import util
from pathlib import Path

import warm
from typer.testing import CliRunner

from dnabench import MODELS
from dnabench.cli import main
from dnabench.tasks.io.files import task_from_path


def write_checkpoint(path):
    from safetensors.torch import save_file

    model = MODELS["mymodel"]
    net = model.build(task_from_path(Path("my.csv")), model.options)
    save_file(net.backbone.state_dict(), path)


def invoke(words):
    done = CliRunner().invoke(main, words)
    error = ""
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        error = "".join(traceback.format_exception(done.exception))
    return {"code": done.exit_code, "out": done.stdout, "err": done.stderr + error}


if __name__ == "__main__":
    commands, results = map(Path, sys.argv[1:])
    todo = json.loads(commands.read_text())
    if any("checkpoint:mymodel.safetensors" in words for words in todo):
        write_checkpoint("mymodel.safetensors")
    nursery = warm.nursery()
    util.spawnv_passfds = nursery.spawn  # the workers of the commands start warm
    results.write_text(json.dumps([invoke(words) for words in todo]))
    nursery.close()
