"""`dnabench pretrain --executor slurm` with real daemons."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import slurm_cluster
from runs import ended, start

pytestmark = [
    pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing()),
    pytest.mark.slow,
]
WORDS = [
    "pretrain", "convnova-386k", "--set", "width=8", "--set", "blocks=2", "--set", "batch=4",
    "--length", "60", "--holdout", "b", "--genome", "g.fa", "--device", "cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def slurm():
    with slurm_cluster.cluster() as one:
        yield one


def network(folder):
    card = json.loads((folder / "network.json").read_text())
    return card["weights"], card["scores"]


def test_one_job_trains_what_this_machine_would(slurm, tmp_path):
    """Paths are relative; another command for the folder is refused while the job is there."""
    rng = np.random.default_rng(0)
    lines = (f">{name}\n{''.join(rng.choice(list('ACGT'), 3000))}\n" for name in "ab")
    (tmp_path / "g.fa").write_text("".join(lines))
    cache = {"DNABENCH_CACHE": str(tmp_path / "cache"), "DNABENCH_CONVOLUTION": "direct"}
    words = [*WORDS, "--budget", "60 steps", "--looks", "3"]
    far = [*words, "--to", "far", "--executor", "slurm", "--set-resource", "time=10"]
    code, out, err = ended(start(slurm, far, tmp_path, **cache))
    assert code == 0 and "submitted as Slurm job" in out, err
    log = Path(out.rpartition("log: ")[2].strip())
    code, _, err = ended(start(slurm, far, tmp_path, **cache))
    assert code == 2 and "is in the queue for that folder" in err
    code, _, err = ended(start(slurm, [*words, "--to", "here"], tmp_path, **cache))
    assert code == 0, err
    slurm.wait(lambda: not slurm("squeue", "-h"))
    assert (tmp_path / "far" / "network.json").exists(), log.read_text()
    assert network(tmp_path / "far") == network(tmp_path / "here")
    assert "held out:" in log.read_text()


def test_a_job_whose_time_is_nearly_over_goes_on_later(slurm, tmp_path):
    (tmp_path / "g.fa").write_text(">a\n" + "ACGTTGCA" * 200 + "\n>b\n" + "ACGT" * 200 + "\n")
    cache = {"DNABENCH_CACHE": str(tmp_path / "cache")}
    words = [*WORDS, "--budget", "60 steps", "--looks", "60", "--to", "net"]
    code, out, err = ended(start(slurm, [*words, "--executor", "slurm"], tmp_path, **cache))
    assert code == 0, err
    job = out.split("Slurm job ")[1].split(";")[0]
    curve, log = tmp_path / "net" / "metrics.jsonl", Path(out.rpartition("log: ")[2].strip())
    slurm.wait(curve.exists)
    slurm("scancel", "--batch", "--signal=USR1", job)
    slurm.wait(lambda: "it resumes later" in log.read_text())
    done = len(curve.read_text().splitlines())
    assert done < 60 and not (tmp_path / "net" / "network.json").exists()
    slurm.wait(lambda: (tmp_path / "net" / "network.json").exists())
    assert len(curve.read_text().splitlines()) == 60
