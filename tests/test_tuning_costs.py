"""What a trial of tuning is forecast to take: it predicts validation, and reads no test."""

from dataclasses import replace

import pytest

from dnabench.forecast.extrapolate import sizes_of, trial_disk, trial_peak, trial_seconds
from dnabench.forecast.timing import Measured
from dnabench.protocols import nested_seeds, protocol_named
from dnabench.registry import TASKS
from dnabench.splits import cut
from dnabench.sweep.grid import Request, grid

SPLICE = "demo/splice_junctions"  # 2,400 to train on and 600 to test, of 60 bp


def jobs_of(scored, seeds="1000,", **words):
    request = Request(tasks=[SPLICE], seeds=seeds, scored=scored, **{"models": ["cnn"], **words})
    return grid(request)


def both(**words):
    """A trial of tuning, and the same one that is tested."""
    (tuning,), (tested,) = jobs_of("val", **words), jobs_of("test", **words)
    return tuning, tested


@pytest.mark.parametrize("protocol", ["honest", "nt-cv10"])
@pytest.mark.parametrize("limit", ["0", "0.2", "300"])
def test_sizes_are_those_of_the_cut_of_a_trial_of_tuning(protocol, limit):
    (seed,) = nested_seeds(3, 1)
    (job,) = jobs_of("val", f"{seed},", protocol=protocol, limit=limit)
    named, sizes = protocol_named(protocol), sizes_of(job)
    train, val = cut(TASKS[SPLICE], named, seed, job.trial.limit, tuning=True)
    assert sizes.train == pytest.approx(len(train.y), rel=0.02)
    assert sizes.val == pytest.approx(len(val.y), abs=0.02 * len(train.y)) and sizes.test == 0
    assert sizes.train / sizes.val == pytest.approx(8 if protocol == "nt-cv10" else 9, rel=0.01)


def test_it_prepares_and_predicts_validation_in_the_place_of_test():
    tuning, tested = both(overrides={"epochs": 3})
    m = Measured(points=((64, 0.0),), prepare=0.1, predict=0.01, storing=0.5)
    more = (600 - 240) * (0.1 + 0.01) + 600 * 0.5  # a trial that is tested stores predictions
    assert trial_seconds(tested, m)[0] - trial_seconds(tuning, m)[0] == pytest.approx(more)
    expected = 0.1 * (2160 + 240 + 240) + 0.01 * (3 * 240 + 240)
    assert trial_seconds(tuning, m)[0] == pytest.approx(expected)


def test_a_probe_has_the_features_of_validation_already():
    tuning, _ = both(models=["convnova-386k"], overrides={"finetune": "probe", "epochs": 1})
    m = Measured(points=((64, 0.0),), prepare=0.1)
    assert trial_seconds(tuning, m)[0] == pytest.approx(0.1 * (2160 + 240))
    given = tuning._replace(trial=replace(tuning.trial, regime="checkpoint:x@0"))
    assert trial_seconds(given, m) == (0, pytest.approx(0.1 * (2160 + 240)))  # once a worker


def test_it_keeps_no_predictions_and_no_test_sequences():
    tuning, tested = both()
    m = Measured(stored=50.0, memory=((64, 0),), floor=10, each=1000.0, full=10_000)
    assert trial_disk(tested, m) - trial_disk(tuning, m) == 600 * 50
    assert trial_peak(tested, m) == 10 + 1000 * 600 + 2 * 60 * (2160 + 240 + 600)
    assert trial_peak(tuning, m) == 10 + 1000 * 240 + 2 * 60 * (2160 + 240)
