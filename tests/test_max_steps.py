"""Trainings that `max_steps` ends within an epoch: what is forecast of them, ordered, recorded."""

from dataclasses import replace

import pytest

from dnabench.forecast.extrapolate import sizes_of, trial_seconds
from dnabench.forecast.timing import Measured
from dnabench.sweep.grid import Request, grid
from dnabench.types import Recipe

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
