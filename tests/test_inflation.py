"""reports/inflation.py on records of real runs: what choosing on test added, and how we know it."""

import dataclasses
import math

import pytest
from conftest import dnabench
from test_reports import runs

from dnabench.reports.inflation import HONEST, LAST, inflation, inflation_section
from dnabench.results.store import Store

TASKS = ("demo/cell_type", "demo/splice_junctions")  # with and without a dev split
WAYS = ("test-selected", "honest")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Two tasks, two protocols, three seeds."""
    out = tmp_path_factory.mktemp("inflation") / "runs"
    for way in WAYS:
        done = dnabench(
            "run", "-m", "cnn", "-t", ",".join(TASKS), "--seeds", 3, "--limit", 100,
            "--epochs", 3, "--executor", "inline", "--protocol", way, "--set", "lr=0.01",
            "--out", out,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return list(Store(out))


def of(records, task, protocol):
    """Seed -> record."""
    return {
        r.trial.seed: r
        for r in records
        if r.trial.task == task and r.trial.protocol == f"{protocol}/1"
    }


def one(found, task, against):
    (only,) = [x for x in found if x.row.name == task and x.against == against]
    return only


def test_with_a_dev_split_the_same_runs_are_paired_over_seeds(records):
    scipy_stats = pytest.importorskip("scipy.stats")
    found = one(inflation(records), TASKS[0], HONEST)
    chosen, honest = (of(records, TASKS[0], way) for way in WAYS)
    # the run that did not look at test is the same training, so it scored what the other one says
    gains = [chosen[s].scores["test"]["mcc"] - honest[s].scores["test"]["mcc"] for s in range(3)]
    assert min(gains) >= 0 and max(gains) > 0
    interval = scipy_stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert (found.gain.value, found.gain.low, found.gain.high) == pytest.approx(
        (sum(gains) / 3, interval.low, interval.high), abs=1e-12
    )
    assert found.gain.paired and found.gain.n == (3, 3) and found.gain.how == "same runs"
    assert (found.column.name, found.row.metric, found.table) == ("cnn", "mcc", (100, 1))


def test_without_a_dev_split_it_is_two_sets_of_runs_and_says_that_one_trained_on_less(records):
    scipy_stats = pytest.importorskip("scipy.stats")
    found = one(inflation(records), TASKS[1], HONEST)
    a, b = ([r.scores["test"]["mcc"] for r in of(records, TASKS[1], way).values()] for way in WAYS)
    test = scipy_stats.ttest_ind(a, b, equal_var=False)
    interval = test.confidence_interval(0.95)
    assert not found.gain.paired and found.gain.n == (3, 3)
    assert (found.gain.value, found.gain.low, found.gain.high) == pytest.approx(
        (sum(a) / 3 - sum(b) / 3, interval.low, interval.high), abs=1e-12
    )
    (less,) = {r.n_examples["train"] for r in of(records, TASKS[1], "honest").values()}
    assert less < 100
    assert found.gain.how.startswith(f"other runs; trained on 100 vs {less} examples, which")


@pytest.mark.parametrize("task", TASKS)
def test_the_last_epoch_is_of_the_same_runs_whatever_the_splits(records, task):
    found = one(inflation(records), task, LAST)
    runs = of(records, task, "test-selected").values()
    gains = [r.scores["test"]["mcc"] - r.curve[-1]["test"]["mcc"] for r in runs]
    assert found.gain.paired and found.gain.value == pytest.approx(sum(gains) / 3, abs=1e-12)
    assert min(gains) >= 0


def test_without_the_other_protocol_only_what_the_runs_say_is_left(records):
    alone = [r for r in records if r.trial.protocol == "test-selected/1"]
    found = inflation(alone)
    assert [(x.row.name, x.against) for x in found] == [
        (TASKS[0], HONEST), (TASKS[0], LAST), (TASKS[1], LAST),
    ]  # fmt: skip
    assert one(found, TASKS[0], HONEST) == one(inflation(records), TASKS[0], HONEST)
    assert not inflation(r for r in records if r.trial.protocol == "honest/1")
    assert not inflation([])


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {"recipe": dataclasses.replace(t.recipe, epochs=9)},
        lambda t: {"regime": "checkpoint:x.pt@0123456789abcdef"},
        lambda t: {"options": {**t.options, "tokenizer": "6mer"}},
        lambda t: {"data": "f" * 16},
        lambda t: {"limit": 90.0},
    ],
    ids=["recipe", "regime", "options", "data", "limit"],
)
def test_runs_that_differ_in_more_than_the_protocol_are_not_compared(records, change):
    def other(record):
        trial = record.trial
        return dataclasses.replace(record, trial=dataclasses.replace(trial, **change(trial)))

    changed = [other(r) if r.trial.protocol == "honest/1" else r for r in records]
    assert not [x for x in inflation(changed) if (x.row.name, x.against) == (TASKS[1], HONEST)]
    assert [x for x in inflation(records) if (x.row.name, x.against) == (TASKS[1], HONEST)]


def test_an_early_stop_ends_elsewhere_so_its_last_epoch_says_nothing(records):
    stopped = [
        dataclasses.replace(
            r,
            trial=dataclasses.replace(
                r.trial, recipe=dataclasses.replace(r.trial.recipe, patience=1)
            ),
            alternatives={},
        )
        for r in records
    ]
    assert {x.against for x in inflation(stopped)} == {HONEST}
    assert not any(x.gain.paired for x in inflation(stopped))


def test_one_seed_has_a_value_and_no_interval(records):
    found = one(inflation([r for r in records if r.trial.seed == 0]), TASKS[0], HONEST)
    assert found.gain.n == (1, 1) and math.isfinite(found.gain.value) and math.isnan(found.gain.low)
    (line,) = inflation_section([found], 3).rows
    assert line[5] == "–"


def test_as_words(records):
    section = inflation_section(inflation(records), 3)
    assert section.title == "Gain from choosing the epoch on the test split"
    assert {len(row) for row in section.rows} == {len(section.heads)} and len(section.rows) == 4
    assert section.rows[0][:4] == ["demo/cell_type (limit 100)", "cnn", HONEST, "3"]
    assert section.rows[0][4].startswith(("+", "0.000"))


def test_own_data_are_compared_with_the_protocols_that_they_had():
    """Groups of related sequences make honest the second version, of which nothing was said."""
    chosen = runs("cnn", 0.65, task="own/t", protocol="test-selected/1")
    honest, last = (runs("cnn", 0.6, task="own/t", protocol=f"{n}/2")
                    for n in ("honest", "last-epoch"))  # fmt: skip
    found = inflation(chosen + honest + last)
    assert [x.against for x in found] == ["honest/2", "last-epoch/2"]
    assert [x.gain.value for x in found] == pytest.approx([0.05, 0.05])
    assert [line[2] for line in inflation_section(found, 3).rows] == ["honest/2", "last-epoch/2"]
    random_cut = runs("cnn", 0.62, task="own/t", protocol=HONEST)
    found = inflation(chosen + honest + random_cut)
    assert [(x.against, round(x.gain.value, 3)) for x in found] == [
        (HONEST, 0.03), ("honest/2", 0.05),
    ]  # fmt: skip
    recorded = {HONEST: {"epoch": 1, "test": {"mcc": 0.5}}}
    same = [dataclasses.replace(r, alternatives=recorded) for r in chosen]
    (one_line,) = inflation(same + honest)
    assert (one_line.against, one_line.gain.how) == (HONEST, "same runs")
