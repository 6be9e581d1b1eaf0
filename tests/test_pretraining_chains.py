"""What is said of a training that goes on from weights, and of several one after the other."""

import re

from test_genomes import fasta, own_cache, random_contigs
from test_pretraining import CASES, training
from typer.testing import CliRunner

from dnabench.cli.app import app
from dnabench.pretraining.planning import Budget, Cost, bought
from dnabench.pretraining.pretrain import pretrain

__all__ = ["own_cache"]  # fixture


def command(tmp_path, begun, to, *more):
    """A training of a tiny network that begins with the weights of a folder."""
    own = [w for k, v in CASES["convnova-386k"].items() for w in ("--set", f"{k}={v}")]
    fasta(tmp_path / "g.fa", random_contigs([4000, 2000]))
    return [*map(str, [
        "pretrain", "convnova-386k", *own, "--set", "batch=4", "--length", 60, "--device", "cpu",
        "--regime", f"checkpoint:{tmp_path / begun}", "--genome", tmp_path / "g.fa",
        "--holdout", "chr2", "--budget", 480, "--to", tmp_path / to, *more,
    ])]  # fmt: skip


def test_the_evaluation_before_the_first_step_takes_time(tmp_path):
    pretrain(training(tmp_path, steps=1, looks=1), tmp_path / "a")
    train = training(tmp_path, looks=2, regime=f"checkpoint:{tmp_path / 'a'}")
    cost = Cost(step=0.5, evaluation=6.0, peak=0, params=0)
    # an hour of 3,600 s less three evaluations of 6 s
    assert bought(Budget(1, "h"), train, tmp_path / "b", lambda: cost).steps == 3582 * 2
    pretrain(train, tmp_path / "b")
    evaluated = (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()
    done = CliRunner().invoke(app, command(tmp_path, "a", "c", "--looks", 2, "--plan"))
    assert done.exit_code == 0, done.output
    (planned,) = re.findall(r"(\d+) evaluations of", done.output)
    assert int(planned) == len(evaluated) == 3
