"""harness/forecast/; how near the estimates come is in docs/benchmarks/plan.md."""

import json
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from conftest import dnabench

from dnabench.forecast.estimate import (
    Plan,
    Row,
    _advice,
    _at_once,
    duration,
    plan,
    summary,
    table,
)
from dnabench.forecast.extrapolate import (
    linear,
    power_law,
    sizes_of,
    trial_disk,
    trial_seconds,
)
from dnabench.forecast.timing import Clock, Measured, Probe, measure
from dnabench.models.kernels.context import Kernels
from dnabench.models.kernels.convolve import FORMS, Shape, settled
from dnabench.protocols import protocol_named
from dnabench.registry import MODELS, TASKS
from dnabench.results.store import Store
from dnabench.splits import Sizes, cut
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.progress import wall_time
from dnabench.sweep.sweep import run
from dnabench.sweep.trial import run_trial
from dnabench.types import Resources

INLINE = Resources("cpu", 1, 1, 0, "inline")


def jobs_of(**words):
    defaults = {"models": ["cnn"], "tasks": ["demo/cell_type"], "seeds": "1", "limit": "60"}
    return grid(Request(**{**defaults, **words}))


def planned(jobs, done=(), **words):
    """A plan in this process, and how many probes it took."""
    seen = []
    found = plan(
        jobs, INLINE, dict(done), seconds=0.5, on_probe=lambda job, n: seen.append(n), **words
    )
    assert all(n == len(seen) for n in seen)
    return found, len(seen)


def test_the_clock_stands_still_while_forms_are_measured(tmp_path):
    shape, before = Shape(8, 256, 64, 64, 9, 1, 1, True), time.process_time()
    with Kernels() as kernels:
        counted, form = Clock(INLINE, kernels).timed(
            lambda: settled(shape, str(tmp_path), ("direct", "tiled-gemm", "tiled-conv"))
        )
    assert form in FORMS and list(tmp_path.glob("convolution/*.json"))
    assert 0 <= counted < (time.process_time() - before) / 2


def test_a_line_goes_through_the_last_two_points():
    points = ((2, 9.0), (8, 10.0), (32, 34.0))
    assert linear(points, 32) == 34 and linear(points, 64) == 66 and linear(points, 8) == 10
    assert linear(((8, 2.0),), 32) == 8
    assert linear(((8, 5.0), (32, 4.0)), 64) == 4  # noise: never less for more
    assert linear(points, 0) >= 0


def test_a_power_is_that_of_the_last_two_points_within_reason():
    assert power_law(((100, 1.0), (200, 2.0)), 800) == pytest.approx(8)
    assert power_law(((100, 1.0), (200, 2**1.25)), 400) == pytest.approx(2**2.5)
    assert power_law(((100, 1.0), (200, 9.0)), 400) == pytest.approx(9 * 2**1.5)
    assert power_law(((100, 1.0), (200, 0.9)), 400) == pytest.approx(0.9 * 2**0.5)
    assert power_law(((64, 0.5),), 128) == 1 and power_law(((64, 0.5),), 64) == 0.5


def test_a_trial_is_the_sum_of_its_parts():
    (job,) = jobs_of(models=["cnn"], overrides={"epochs": 3, "batch": 16})
    sizes = sizes_of(job)
    assert sizes == Sizes(60, 60, 60)
    m = Measured(
        fixed=100.0, data=10.0, n_train=30, prepare=0.1, predict=0.01, keep=0.001,
        points=((8, 1.0), (16, 2.0)), storing=0.5, stored=7.0,
    )  # fmt: skip
    training = 3 * (3 * 2.0 + 1.5)  # 60 = 3 x 16 + 12
    rest = 0.1 * 180 + 0.01 * (3 * 60 + 60) + 3 * 0.001 + 0.5 * 60
    assert trial_seconds(job, m) == (pytest.approx(100 + 20 + training + rest), 0)
    conjoined = job._replace(
        trial=replace(job.trial, recipe=replace(job.trial.recipe, rc="conjoin"))
    )
    assert trial_seconds(conjoined, m)[0] == pytest.approx(trial_seconds(job, m)[0] + 0.1 * 180)
    looking = job._replace(trial=replace(job.trial, protocol="test-selected/1"))
    more = 0.1 * 60 + 0.01 * 3 * 60  # the test split is watched too
    assert trial_seconds(looking, m)[0] == pytest.approx(trial_seconds(job, m)[0] + more)


@pytest.mark.parametrize("protocol", ["honest/1", "last-epoch/1", "test-selected/1", "nt-cv10/1"])
@pytest.mark.parametrize("limit", ["0", "0.1", "300"])
@pytest.mark.parametrize("task", ["demo/cell_type", "demo/splice_junctions"])
def test_sizes_are_those_of_the_cut(protocol, limit, task):
    (job,) = jobs_of(tasks=[task], protocol=protocol, limit=limit)
    sizes = sizes_of(job)
    train, val = cut(TASKS[task], protocol_named(protocol), 0, job.trial.limit)
    n = len(train.y) + (0 if val is None else len(val.y))
    assert sizes.train == pytest.approx(len(train.y), rel=0.03)
    assert sizes.val == pytest.approx(0 if val is None else len(val.y), abs=0.03 * n)


def test_a_probe_finds_something_of_everything():
    (job,) = jobs_of(models=["convnova-386k"], settings=["blocks=2", "width=16"])
    m = measure(Probe(job, INLINE, 2.0), lambda done, total: None)
    assert not m.error
    assert m.n_train == 60 and m.n_params > 0 and 0 < m.cpu <= 1.2 * m.wall
    positive = (m.data, m.prepare, m.predict, m.keep, m.stored, m.storing, m.floor)
    assert all(value > 0 for value in positive)
    assert [n for n, _ in m.points] == sorted(n for n, _ in m.points)
    assert m.points[-1][0] == job.trial.recipe.batch
    assert all(seconds > 0 for _, seconds in m.points)
    assert all(peak > 50e6 for _, peak in m.memory)


def test_the_first_of_several_calls_is_not_taken():
    """The system gives its memory to the first one; that took up to three times as long."""
    calls = []

    def call():
        calls.append(1)
        end = time.process_time() + (0.3 if len(calls) == 1 else 0.01)
        while time.process_time() < end:
            pass

    assert Clock(INLINE, Kernels()).several(call, 0.1) < 0.1 and len(calls) == 2
    assert Clock(INLINE, Kernels()).several(call, 0.1) < 0.1 and len(calls) == 6


def test_a_probe_of_given_weights_prepares_once_a_worker():
    (job,) = jobs_of(models=["convnova-386k"], overrides={"finetune": "probe"})
    m = Measured(prepare=1.0, fixed=5.0, points=((16, 0.0),))
    given = job._replace(trial=replace(job.trial, regime="checkpoint:x@0"))
    (drawn, none), (later, first) = trial_seconds(job, m), trial_seconds(given, m)
    assert none == 0 and later == 5 and drawn == later + first > 35
    row = Row("t", "m", 8, 8, Sizes(1, 1, 1), seconds=2.0, shared=10.0)
    one = Plan((row,), Resources(workers=3), 0.0, 1.0, 0.0, 0.0, 0)
    assert [one.seeds(n) for n in (1, 3, 8)] == [12, 36, 46]


@pytest.mark.parametrize("length", [60, 4096])
def test_features_of_an_evaluation_are_measured_not_looked_up(length, tmp_path):
    """Of long sequences few fit a batch; they may all be among those of the steps."""
    rng, rows = np.random.default_rng(0), ["sequence,label,split"]
    for i in range(90):
        letters = "".join(rng.choice(list("ACGT"), length))
        rows.append(f"{letters},{i % 2},{'test' if i % 3 == 2 else 'train'}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    (job,) = grid(Request(models=["convnova-386k"], data=str(tmp_path / "t.csv"), seeds="1",
                          settings=["blocks=2", "width=16"],
                          overrides={"finetune": "probe"}))  # fmt: skip
    m = measure(Probe(job, INLINE, 0.5), lambda done, total: None)
    assert not m.error and m.prepare > 5 * m.predict


def test_a_slow_step_is_measured_in_part():
    (job,) = jobs_of(models=["convnova-386k"], overrides={"batch": 32})
    m = measure(Probe(job, INLINE, 1e-6), lambda done, total: None)
    assert [n for n, _ in m.points] == [4] and not m.error


@pytest.mark.parametrize(
    ("models", "task", "words"),
    [
        (["kmer"], "demo/splice_junctions", {}),
        (["majority", "codon_statistics"], "demo/yeast_genes", {}),
        (["convnova-386k"], "demo/cell_type", {"settings": ["tokenizer=bpe", "vocabulary=32"]}),
        (["convnova-386k"], "demo/cell_type", {"overrides": {"finetune": "probe"}}),
        (["unet"], "demo/yeast_genes", {"limit": "8"}),
    ],
)
def test_every_kind_of_trial_can_be_planned(models, task, words):
    found, _ = planned(jobs_of(models=models, tasks=[task], **words))
    for row in found.rows:
        assert not row.error and row.missing == 1
        assert row.seconds > 0 and row.step > 0 and row.peak > 50e6 and row.disk > 2000
    assert found.seconds >= sum(row.seconds for row in found.rows)


@pytest.mark.slow
def test_seeds_learning_rates_and_epochs_share_a_probe_and_lengths_do_not():
    short = {"tasks": ["demo/splice_junctions"], "limit": "24"}
    found, n = planned(jobs_of(**short, seeds="3", sweeps=["lr=0.01,0.001", "epochs=2,2"]))
    assert n == 1 and [row.trials for row in found.rows] == [3, 3]
    assert len({round(row.seconds, 9) for row in found.rows}) == 1
    assert planned(jobs_of(**short, sweeps=["epochs=1,9", "batch=8,16"]))[1] == 2
    both = ["demo/cell_type", "demo/splice_junctions"]
    assert planned(jobs_of(**{**short, "tasks": both}))[1] == 2


def test_only_what_is_missing_is_probed_and_counted(tmp_path):
    jobs = jobs_of(seeds="2", limit="40", models=["kmer", "cnn"], overrides={"epochs": 1})
    store = Store(tmp_path)
    run([j for j in jobs if j.trial.model == "kmer"] + jobs[-1:], store, INLINE)
    done = {r.trial.id: r.seconds for r in store}
    found, n = planned(jobs, done)
    rows = {row.model.partition(" ")[0]: row for row in found.rows}
    assert n == 1 and rows["kmer"].missing == 0 and rows["cnn"].missing == 1
    assert rows["kmer"].seconds == pytest.approx(
        sum(done[j.trial.id] for j in jobs if j.trial.model == "kmer") / 2
    )
    assert found.seconds == pytest.approx(rows["cnn"].seconds + 2 * found.start)
    assert found.seeds(3) == pytest.approx(3 * sum(row.seconds for row in found.rows))
    everything = {job.trial.id: 1.0 for job in jobs}
    found, n = planned(jobs, everything)
    assert n == 0 and found.seconds == 0 and found.elapsed == 0 and found.seeds(2) == 4


def test_disk_is_about_that_of_a_real_trial(tmp_path):
    (job,) = jobs_of(limit="200", overrides={"epochs": 2})
    m = measure(Probe(job, INLINE, 0.5), lambda done, total: None)
    store = Store(tmp_path)
    store.append(*run_trial(job))
    paths = (store.record_path(job.trial.id), store.predictions_path(job.trial.id))
    assert trial_disk(job, m) == pytest.approx(sum(p.stat().st_size for p in paths), rel=0.5)


@pytest.mark.slow
def test_disk_of_kept_networks_is_that_of_their_files(tmp_path):
    jobs = jobs_of(
        models=["kmer", "cnn"], tasks=["demo/splice_junctions"], seeds="2", limit="40",
        overrides={"epochs": 1},
    )  # fmt: skip
    kept = {keep: [job._replace(keep=keep) for job in jobs] for keep in ("no", "best", "all")}
    store = Store(tmp_path)
    run(kept["all"], store, INLINE)
    files = [store.network_path(job.trial.id) / "model.safetensors" for job in jobs]
    found = {keep: planned(several)[0].networks for keep, several in kept.items()}
    assert found["all"] == pytest.approx(sum(p.stat().st_size for p in files), rel=0.1)
    assert found["no"] == 0 and found["best"] == found["all"] / 2
    text = summary(planned(kept["all"])[0])
    assert any("of records and predictions, " in line and "of kept networks" in line
               for line in text)  # fmt: skip


def test_disk_of_checkpoints_is_that_of_the_largest_that_run_at_once():
    jobs = jobs_of(models=["kmer", "cnn"], seeds="3", limit="200", overrides={"epochs": 1})
    found = planned(jobs)[0]
    assert found.checkpoints == 0  # no trial takes ten minutes
    sizes = {row.model.split()[0]: row.checkpoint for row in found.rows}
    assert sizes["kmer"] == 0 < 4 * 4 * MODELS["cnn"].n_params < sizes["cnn"]
    for every, workers, n in ((0.0, 1, 1), (0.0, 2, 2), (0.0, 9, 3), (-1.0, 2, 0)):
        resources = INLINE._replace(checkpoint=every, workers=workers)
        assert _at_once({r.model: r for r in found.rows}, resources, workers) == n * sizes["cnn"]
    text = summary(found._replace(checkpoints=2 * sizes["cnn"]))
    assert any(line.endswith("of checkpoints") for line in text if line.startswith("disk: "))


def test_a_model_that_cannot_run_is_a_row_with_the_reason():
    jobs = jobs_of(models=["cnn"], tasks=["demo/splice_junctions"], overrides={"batch": 16})
    found = plan(jobs, INLINE._replace(micro_batch=4), seconds=0.5)
    (row,) = found.rows
    assert "ValueError: cnn has batch norm" in row.error and row.seconds == 0
    assert any(row.error in line for line in summary(found))
    assert "1 of 1" in table(found)


def test_a_probe_that_dies_says_what_to_try():
    died = "RuntimeError: the worker process died ({})"
    killed = died.format("SIGKILL, often out of memory")
    assert _advice(killed) == f"{killed}; try --micro-batch or fewer --jobs"
    assert _advice(died.format("exit status 3")) == died.format("exit status 3")


def test_workers_take_the_next_trial_when_they_are_free():
    assert wall_time([4, 1, 1, 1, 1], [0, 0]) == 4
    assert wall_time([1, 1, 1, 1, 4], [0, 0]) == 6
    assert wall_time([], [0, 2]) == 2 and wall_time([3, 1], [5, 0, 1]) == 5


def test_the_conclusions_say_what_does_not_fit_and_who_else_is_there():
    row = Row("a/b", "cnn", 10, 6, Sizes(9, 1, 5), 2, 100.0, 0.5, 3 * 10**9, 5000, "a/b", 0.25)
    found = Plan((row,), Resources("cpu", 2), 3.0, 0.5, 609.0, 306.0, 30_000)
    text = "\n".join(summary(found, free_memory=4 * 10**9, free_disk=10**12))
    assert "6 of 10 trials are to run: 10.2 min of CPU, 5.1 min from start" in text
    assert "got 50% of a core" in text and "10.2 min from start to end" in text
    assert "3 GB for the largest trial, 6 GB for 2 at once; 4 GB are available" in text
    assert "that is too much" in text and "30 kB of records" in text
    assert "1: 1.67 min, 3: 5 min, 5: 8.33 min, 10: 16.7 min of CPU" in text
    assert "~ only a part of a batch" in text and "~1.67 min" in table(found)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.0123, "12.3 ms"), (4.56, "4.56 s"), (90, "1.5 min"), (5400, "1.5 h"),
     (86_400, "24 h"), (2.5 * 86_400, "2.5 d")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_command_takes_the_flags_of_run_and_leaves_nothing_behind(csv, tmp_path):
    out = tmp_path / "runs"
    words = ["plan", "-m", "kmer,cnn", "--data", csv, "--seeds", "2", "--out", out, "--jobs", "1"]
    done = dnabench(*words, "--epochs", "1", "--probe-seconds", "0.05", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(row["model"], row["missing"]) for row in found["rows"]] == [
        ("kmer", 2), ("cnn epochs=1", 2)
    ]  # fmt: skip
    assert found["seconds"] > 2 * found["start"] > 0 and found["peak"] > 50e6
    assert not out.exists()


def test_the_command_prints_a_table_and_says_what_is_wrong(csv, tmp_path):
    words = ["plan", "-m", "kmer", "--data", csv, "--seeds", "2", "--out", tmp_path / "runs"]
    done = dnabench(*words, "--probe-seconds", "0.05")
    assert done.returncode == 0 and "2 of 2 trials are to run" in done.stdout
    assert re.search(r"data/motif +kmer +64/24/32 +6 +fit", done.stdout)
    bad = dnabench(*words, "--set", "dilatoin=1")
    assert bad.returncode == 2 and "no option named 'dilatoin'" in bad.stderr
    bad = dnabench(*words, "--probe-seconds", "0")
    assert bad.returncode == 2 and "--probe-seconds 0.0: must be above 0" in bad.stderr
    lacked = ["-m", "cnn", "--precision", "fp16", "--device", "cpu"]
    bad = [dnabench(command, *words[1:], *lacked) for command in ("plan", "run")]
    assert [done.returncode for done in bad] == [2, 2] and not bad[0].stdout
    assert bad[0].stderr.splitlines()[-1] == bad[1].stderr.splitlines()[-1]


@pytest.mark.parametrize("words", [["plan", "--probe-seconds", "0.05"], ["tune", "--dry-run"]])
@pytest.mark.parametrize("executor", ["slurm", "local"])
def test_what_is_measured_here_in_place_of_an_executor_is_said(csv, tmp_path, words, executor):
    asked = ["--set-resource", "partition=gpu"] if executor == "slurm" else []
    done = dnabench(
        *words, "-m", "kmer", "--data", csv, "--seeds", "1", "--out", tmp_path / "runs",
        "--executor", executor, *asked,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = "note: --executor slurm: measured on this machine, as with --executor local\n"
    assert (said in done.stderr) == (executor == "slurm")


def test_help_shows_the_flags_of_run_except_dry_run():
    text = dnabench("plan", "--help").stdout
    assert "--sweep" in text and "--probe-seconds" in text and "--json" in text
    assert "--executor" in text and not re.search(r"^ *--dry-run", text, re.MULTILINE)
    assert "dnabench tune ... --dry-run" in " ".join(text.split())  # which is that of a search
