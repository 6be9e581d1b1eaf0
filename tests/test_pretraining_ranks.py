"""Pretraining in two processes, as torchrun starts them: the numbers of one, to rounding."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from test_genomes import fasta, own_cache, random_contigs
from test_pretraining import CASES, COMMAND, SHORT, bytes_of, training

from dnabench import MODELS
from dnabench.pretraining.pretrain import pretrain
from dnabench.pretraining.ranks import Ranks
from dnabench.tensors import read_set
from dnabench.types import Recipe, Resources

__all__ = ["own_cache"]
ODD = replace(SHORT, recipe=Recipe(batch=5))  # one process reads two windows, the other three


def as_rank(rank, port, make, folder, said):
    """What torchrun does: a rank and where the first process listens."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank),
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
    try:
        pretrain(make(rank), folder)
        said.put("")
    except Exception as e:
        said.put(f"{type(e).__name__}: {e}")


def in_two(make, folder):
    """Train in two processes; what each ended with, "" if well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    said = fork.Queue()
    both = [fork.Process(target=as_rank, args=(i, port, make, folder, said)) for i in (0, 1)]
    for process in both:
        process.start()
    ends = [said.get(timeout=120) for _ in both]
    for process in both:
        process.join(30)
    return ends


def curve(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(row.pop("bp_per_s") > 0 for row in rows)  # which is not that of one process
    return np.array([[row[key] for key in sorted(row)] for row in rows])


@pytest.mark.parametrize("name", ["convnova-386k", "hyenadna-tiny-1k", "dnabert2", "gpn-smol"])
def test_two_processes_learn_as_one_does(tmp_path, monkeypatch, name):
    """Of words the rows have different lengths, and masks are drawn for the longest of all."""
    none = {key: 0.0 for key in MODELS[name].options if "dropout" in key}
    monkeypatch.setitem(CASES, name, CASES[name] | none)

    def make(rank):
        return training(tmp_path, name, how=ODD, looks=3)

    pretrain(make(0), tmp_path / "one")
    assert in_two(make, tmp_path / "two") == ["", ""]
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(one) == 3
    np.testing.assert_allclose(two, one, atol=1e-5, rtol=1e-5)
    a, b = (read_set(tmp_path / n / "model.safetensors").tensors for n in ("one", "two"))
    assert a.keys() == b.keys()
    cards = [json.loads((tmp_path / n / "network.json").read_text()) for n in ("one", "two")]
    assert [card["processes"] for card in cards] == [1, 2]
    assert cards[0]["genomes"] == cards[1]["genomes"]


def test_processes_with_other_genomes_are_refused(tmp_path):
    for rank in (0, 1):
        fasta(tmp_path / str(rank) / "g.fa", random_contigs([4000, 2000], seed=rank))
    ends = in_two(lambda rank: training(tmp_path / str(rank)), tmp_path / "net")
    assert all("do not train the same" in end for end in ends)
    assert not (tmp_path / "net" / "network.json").exists()


def test_parts_cover_a_batch_once():
    for n, size in ((5, 2), (64, 3), (7, 7)):
        parts = [Ranks(rank, size).part(n) for rank in range(size)]
        assert [i for part in parts for i in range(n)[part]] == list(range(n))
        lengths = [part.stop - part.start for part in parts]
        assert max(lengths) - min(lengths) <= 1
    with pytest.raises(ValueError, match="a batch of 1 windows for 2 processes"):
        Ranks(0, 2).part(1)


def test_words_in_micro_batches(tmp_path):
    """Each is as wide as its own longest row."""
    for name, micro in (("whole", 0), ("parts", 2)):
        train = training(tmp_path, "dnabert2", how=ODD, steps=4)
        train = replace(train, options={**train.options, "dropout": 0.0})
        pretrain(train, tmp_path / name, Resources(micro_batch=micro))
    whole, parts = curve(tmp_path / "whole"), curve(tmp_path / "parts")
    np.testing.assert_allclose(parts, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_torchrun_starts_it_and_killed_processes_go_on(tmp_path):
    path = fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    begin = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

    def command(to):
        short = ["--budget", "12k", "--looks", "25"]
        return [*begin, *COMMAND[1:], *short, "--genome", path, "--to", tmp_path / to]

    whole = subprocess.run(command("whole"), check=True, capture_output=True, text=True)
    assert whole.stdout.count("bp/s") == 1  # one process speaks
    with subprocess.Popen(command("killed"), stderr=subprocess.DEVNULL) as killed:
        file = tmp_path / "killed" / "metrics.jsonl"
        while not file.exists() and killed.poll() is None:
            time.sleep(0.01)
        words = ["ps", "-o", "pid=", "--ppid", str(killed.pid)]
        children = subprocess.run(words, capture_output=True, text=True).stdout.split()
        for pid in children:
            os.kill(int(pid), signal.SIGKILL)
    assert len(children) == 2 and (tmp_path / "killed" / "checkpoint.pt").exists()
    subprocess.run(command("killed"), check=True, capture_output=True)
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")
