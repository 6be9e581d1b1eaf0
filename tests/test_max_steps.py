"""Trainings that `max_steps` ends within an epoch: what is forecast of them, ordered, recorded."""

from dataclasses import replace

import pytest

import dnabench as db
from dnabench.forecast.extrapolate import sizes_of, trial_seconds
from dnabench.forecast.timing import Measured
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.search import Configuration
from dnabench.sweep.steps import flops_of
from dnabench.sweep.trial import run_trial
from dnabench.sweep.tuning import candidate, forward_flops
from dnabench.train.meter import Meter
from dnabench.types import Job, Recipe

STEP, LAST = 2.0, 1.75  # seconds of a step with 64 and with 48 examples
MEASURED = Measured(points=((32, 1.5), (64, STEP)))


def job_of(*settings, **overrides):
    request = Request(
        models=["cnn"], tasks=["demo/splice_junctions"], seeds="1", settings=settings,
        overrides=overrides,
    )  # fmt: skip
    (job,) = grid(request)
    return job


@pytest.mark.parametrize(
    ("steps", "epochs", "seconds", "examples"),
    [
        (1, 1, STEP, 64), (5, 1, 5 * STEP, 320), (33, 1, 33 * STEP, 2112),
        (34, 1, 33 * STEP + LAST, 2160), (36, 2, 35 * STEP + LAST, 2160 + 128),
        (68, 2, 66 * STEP + 2 * LAST, 4320),
    ],
)  # fmt: skip
def test_a_training_takes_its_steps_and_no_whole_epochs(steps, epochs, seconds, examples):
    """2,160 examples in batches of 64 are 33 whole steps and one with 48."""
    job = job_of(f"max_steps={steps}")
    assert sizes_of(job).train == 2160
    assert trial_seconds(job, MEASURED) == (pytest.approx(seconds), 0)
    recipe = job.trial.recipe
    assert recipe.epochs_over(2160) == epochs and recipe.steps_over(2160) == steps
    assert recipe.examples_in(2160, epochs) == examples
    assert recipe.examples_in(2160, epochs - 1) == 2160 * (epochs - 1)  # if it stops early


def test_as_many_steps_as_those_epochs_have_cost_the_same():
    assert trial_seconds(job_of(epochs=3), MEASURED)[0] == pytest.approx(3 * (33 * STEP + LAST))
    assert trial_seconds(job_of("max_steps=102"), MEASURED) == trial_seconds(
        job_of(epochs=3), MEASURED
    )


def test_every_epoch_is_evaluated_though_the_last_is_short():
    slow = MEASURED._replace(predict=1.0)
    one, two = (trial_seconds(job_of(f"max_steps={n}"), slow)[0] for n in (34, 35))
    assert two - one == pytest.approx(STEP + 240)  # a step more, and validation again


def test_a_training_without_examples_takes_no_time():
    job = job_of("max_steps=5")
    empty = replace(job.trial, train_share=1e-9)
    assert trial_seconds(job._replace(trial=empty), MEASURED)[0] == 0


def test_jobs_are_as_large_as_the_bp_that_they_read():
    whole = job_of(epochs=1).size
    assert whole == 2400 * 60  # the share that is cut off for validation is not known here
    assert job_of("max_steps=5").size == 5 * 64 * 60
    assert job_of("max_steps=40").size == whole + 2 * 64 * 60


def test_steps_over_no_examples_are_counted_all_the_same():
    assert Recipe(max_steps=7).epochs_over(0) == 7 and Recipe(epochs=3).steps_over(0) == 3


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Records of an epoch of 36 examples, and of steps: of a part of one, and of more than one."""
    flags = {"tasks": "demo/splice_junctions", "limit": 40, "executor": "inline", "seeds": 1}

    def record(**more):
        out = tmp_path_factory.mktemp("steps")
        (found,) = db.run("cnn", out=out, **flags, **more).records
        return found

    epoch = record(epochs=1, batch_size=8)
    return epoch, *(
        record(batch_size=8, set_=[f"max_steps={n}"]) for n in (2, 7)
    )  # fmt: skip


def test_the_flop_of_a_search_are_of_the_examples_that_were_read(recorded):
    """5 steps an epoch, the last of 4 examples: 7 steps are an epoch and two batches of 8."""
    assert [record.n_examples["train"] for record in recorded] == [36] * 3
    assert [len(record.curve) for record in recorded] == [1, 1, 2]
    for record, n in zip(recorded, (36, 16, 36 + 16), strict=True):
        assert flops_of(record) == 3 * forward_flops(record) == 3 * record.flops * n > 0


def test_a_probe_reads_each_example_once_whatever_its_steps(recorded):
    record = recorded[2]
    frozen = replace(record.trial, recipe=replace(record.trial.recipe, finetune="probe"))
    probe = replace(record, trial=frozen)
    assert flops_of(probe) == forward_flops(probe) == record.flops * 36


def test_a_candidate_that_trains_for_fewer_steps_is_the_cheaper(recorded):
    def of(record):
        tried = Configuration(0, (), (Job(record.trial),))
        task = record.trial.task
        return candidate(tried, [task], {record.trial.id: record}, {task: "mcc"})

    whole = recorded[0]
    same = [replace(record, scores=whole.scores) for record in recorded]
    assert [of(record).flops / whole.flops for record in same] == [36, 16, 52]


def test_the_speed_of_a_training_is_that_of_the_examples_it_read(monkeypatch):
    """The record's speed, times the seconds that the clock of the trial says training took."""
    took = []
    train = Meter.train

    def timed(self, fit, progress):
        fitted = train(self, fit, progress)
        took.append(self._fit)
        return fitted

    monkeypatch.setattr(Meter, "train", timed)
    for steps, n in ((3, 3 * 64), (36, 2160 + 2 * 64)):
        record, _ = run_trial(job_of(f"max_steps={steps}"))
        assert record.examples_per_second == pytest.approx(n / took.pop(), rel=1e-3)
