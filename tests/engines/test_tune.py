"""`dnabench tune` with a real Slurm and a real Ray: the search that it is on this machine."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runs import cluster_of, ended, once, records, start

from dnabench.results.searches import searches
from dnabench.results.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.engines]


def tried(out):
    """What the only search of a folder tried and chose, with the ids of all its trials."""
    (search,) = searches(Store(out))
    return search.id, [
        (c.model, c.chosen, dict(c.final), [(x.settings, x.trials, x.scores) for x in c.candidates])
        for c in search.choices
    ]


@pytest.mark.parametrize("engine", ["slurm", "ray"])
def test_a_search_gives_what_it_gives_here(engine, csv, tmp_path):
    """Four configurations in steps, so several submissions: default, draws, final runs."""
    pytest.importorskip("optuna")
    here, there = tmp_path / "here", tmp_path / "there"
    words = ["tune", "-m", "cnn", "--data", str(csv), "--search", "tpe", "--budget", "4",
             "--tuning-seeds", "1", "--seeds", "2", "--epochs", "2", "--device", "cpu"]  # fmt: skip
    with cluster_of(engine) as cluster:
        code, _, err = ended(start(cluster, [*words, "--out", str(here), "--jobs", "1"]))
        assert code == 0, err
        asked = ["--set-resource", f"address={cluster.address}"] if engine == "ray" else []
        far = [*words, "--out", str(there), "--executor", engine, "--jobs", "2", *asked]
        code, said, err = ended(start(cluster, far), 600)
        assert code == 0, err
    assert "Default against tuned" in said
    assert tried(there) == tried(here)
    ours, theirs = records(there), records(here)
    assert ours.keys() == theirs.keys() and len(ours) >= 4 + 2
    for trial_id, record in ours.items():
        assert not record.error and record.scores == theirs[trial_id].scores
        assert record.where["batch_job"].startswith(engine)
        assert set(record.scores) == ({"val"} if record.trial.tuning else {"val", "test"})
    once(there, len(ours))
