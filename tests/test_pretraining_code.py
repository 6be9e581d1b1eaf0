"""`dnabench pretrain` of a model of transformers with code of its own, and of what it wrote."""

import json

import pytest
import tiny_transformers as tiny
from test_evaluate_official import add_language_model
from test_genomes import fasta, own_cache, random_contigs
from test_transformers import with_code
from typer.testing import CliRunner

from dnabench.cli.app import app

__all__ = ["own_cache"]  # a fixture
TRUST = "--trust-remote-code"


def do(*words):
    found = CliRunner().invoke(app, [*map(str, words)])
    return found.exit_code, " ".join(found.output.split())


@pytest.mark.parametrize("regime", ["scratch", "pretrained"])
def test_code_is_run_if_it_is_trusted(regime, tmp_path, monkeypatch):
    """The architecture is that of BERT under another name, so the numbers are."""
    monkeypatch.chdir(tmp_path)
    fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    tiny.make(tmp_path / "plain", "bert-bases")
    add_language_model(with_code(tmp_path / "own"))
    flags = ["--genome", "g.fa", "--holdout", "chr2", "--length", 100, "--budget", "2steps",
             "--looks", 1, "--set", "batch=4", "--device", "cpu", "--regime", regime]  # fmt: skip
    assert do("pretrain", "hf:./plain", *flags, "--to", "a")[0] == 0
    failed, said = do("pretrain", "hf:./plain", *flags, "--to", "b", TRUST)
    assert failed and "hf:./plain brings no code that would be run; leave it out" in said
    failed, said = do("pretrain", "hf:./own", *flags, "--to", "b")
    assert failed and f"write {TRUST}" in said
    failed, said = do("pretrain", "hf:./own", *flags, "--to", "b", TRUST)
    assert not failed and f"/own {TRUST} --regime checkpoint:b" in said, said
    cards = [json.loads((tmp_path / name / "network.json").read_text()) for name in "ab"]
    assert cards[0]["scores"] == cards[1]["scores"] and "code" in cards[1]["options"]

    score = ["--genome", "g.fa", "--device", "cpu"]
    failed, said = do("evaluate", "b", *score)
    assert failed and f"write {TRUST}" in said
    assert not do("evaluate", "b", *score, TRUST)[0]
    more = ["--set", "lr=0.0001", "--to", "c", TRUST]
    flags[flags.index(regime)] = "checkpoint:b"
    assert not do("pretrain", "hf:./own", *flags, *more)[0]
    failed, said = do("export", "b", "--format", "hf", TRUST)
    assert failed and "transformers has no such architecture" in said
    for name, more in (("modeling_own.py", "# changed\n"), ("vocab.txt", "N\n")):
        before = (tmp_path / "own" / name).read_text()
        (tmp_path / "own" / name).write_text(before + more)
        failed, said = do("evaluate", "b", *score, TRUST)
        assert failed and "another configuration, tokenizer or code of hf:./own" in said
        (tmp_path / "own" / name).write_text(before)
    assert not do("evaluate", "b", *score, TRUST)[0]
