"""harness/sweep/progress.py: an ETA that can be trusted, bars on a terminal, lines elsewhere."""

import io
import json
from dataclasses import replace
from itertools import pairwise

import pytest
from conftest import HERE, planted_task
from rich.console import Console
from test_trial import job

from dnabench.executors.base import Event
from dnabench.sweep.outcome import Outcome
from dnabench.sweep.progress import Bars, Eta, Lines, display, result_line
from dnabench.types import Record

TASK = planted_task()


def jobs(*names):
    made = [job(TASK, name) for name in names]
    return [j._replace(trial=replace(j.trial, seed=i)) for i, j in enumerate(made)]


def test_before_anything_ended_nothing_is_promised():
    assert Eta(jobs("kmer", "kmer"), 1).text(0.0) == "more than 0:00 left"


def test_a_job_is_expected_to_take_as_long_as_its_model():
    fast, slow, fast2, slow2 = jobs("kmer", "cnn", "kmer", "cnn")
    eta = Eta([fast, slow, fast2, slow2], 1)
    eta.update(Event("started", 0), fast, None, 0.0)
    eta.update(Event("returned", 0), fast, None, 2.0)
    assert eta.remaining(2.0) == (2.0 * 3, False)  # the cnn is a guess so far, and said to be one
    eta.update(Event("started", 1), slow, None, 2.0)
    eta.update(Event("returned", 1), slow, None, 102.0)
    assert eta.remaining(102.0) == (2.0 + 100.0, True)
    assert eta.text(102.0) == "1:42 left"


def test_another_task_of_a_model_is_scaled_by_its_size():
    small, large = (
        j._replace(size=s) for j, s in zip(jobs("cnn", "cnn"), (10.0, 30.0), strict=True)
    )
    eta = Eta([small, large], 1)
    eta.update(Event("started", 0), small, None, 0.0)
    eta.update(Event("returned", 0), small, None, 5.0)
    assert eta.remaining(5.0) == (15.0, True)


def test_a_running_job_promises_by_its_epochs():
    first, second = jobs("cnn", "cnn")
    eta = Eta([first, second], 2)
    eta.update(Event("started", 0), first, None, 0.0)
    eta.update(Event("progress", 0, (1, 4)), first, None, 10.0)
    assert eta.remaining(10.0) == (40.0, True)  # the second runs beside it
    one = Eta([first, second], 1)
    one.update(Event("started", 0), first, None, 0.0)
    one.update(Event("progress", 0, (1, 4)), first, None, 10.0)
    assert one.remaining(10.0) == (30.0 + 40.0, True)
    assert Eta([], 1).remaining(0.0) == (0.0, True)


TRACES = json.loads((HERE / "eta_traces.json").read_text())


def replayed(trace):
    """What a line says after each job of a recorded sweep: now, seconds left, models that ended."""
    rows = [
        made._replace(trial=replace(made.trial, model=model, task=task), size=size)
        for made, (model, task, size) in zip(
            jobs(*["kmer"] * len(trace["jobs"])), trace["jobs"], strict=True
        )
    ]
    eta, ended = Eta(rows, trace["workers"]), set()
    for now, kind, number, value in trace["events"]:
        last = Outcome("finished", RECORD) if kind == "returned" else None
        eta.update(Event(kind, number, value), rows[number], last, now)
        if last is not None:
            ended.add(rows[number].trial.model)
            yield now, eta.remaining(now)[0], set(ended)


@pytest.mark.parametrize("name", TRACES)
def test_the_predicted_end_of_real_sweeps_is_steady(name):
    """Recorded by tests/bench/eta_traces.py on a busy machine.

    In the last trials of the demo it was half as busy, which nothing could foresee.
    """
    models = {model for model, _, _ in TRACES[name]["jobs"]}
    lines = [(now, left) for now, left, ended in replayed(TRACES[name]) if ended == models]
    assert len(lines) > len(TRACES[name]["jobs"]) / 2
    for (now, left), (later, rest) in pairwise(lines):
        assert abs(later + rest - (now + left)) <= left / 3 + 1e-9, (now, later)
    (end, nothing), half = lines[-1], lines[len(lines) // 2 :]
    assert nothing == 0
    for now, left in half[:-1]:
        assert now + left == pytest.approx(end, rel=0.2 if name == "demo" else 0.1)  # and right


def test_a_wrong_guess_is_corrected_step_by_step():
    """The second cnn shows that cnns take ten times as long as the first one did."""
    rows = jobs(*["cnn"] * 12)
    eta, now, ends = Eta(rows, 1), 0.0, []
    for n, row in enumerate(rows):
        eta.update(Event("started", n), row, None, now)
        now += 10.0 if n == 0 else 100.0
        eta.update(Event("returned", n), row, Outcome("finished", RECORD), now)
        ends.append((now, eta.remaining(now)[0]))
    true = 10.0 + 11 * 100.0
    errors = [abs(at + left - true) for at, left in ends]
    assert errors[0] > 900 and max(errors[7:]) < 50 and errors == sorted(errors, reverse=True)
    assert all(left > 0 for _, left in ends[:-1])


def test_a_running_job_is_compared_with_earlier_ones_at_the_same_epoch():
    """Its first epoch takes long, as in every trial; only what it takes longer counts."""
    first, second = jobs("cnn", "cnn")
    eta = Eta([first, second], 1)
    eta.update(Event("started", 0), first, None, 0.0)
    eta.update(Event("progress", 0, (1, 10)), first, None, 11.0)
    eta.update(Event("returned", 0), first, Outcome("finished", RECORD), 20.0)
    eta.update(Event("started", 1), second, None, 20.0)
    eta.update(Event("progress", 1, (1, 10)), second, None, 20.0 + 1.25 * 11)
    assert eta.remaining(20.0 + 1.25 * 11)[0] == pytest.approx(1.25 * (20 - 11))


RECORD = Record(
    trial=job(TASK, "kmer").trial, scores={"test": {"mcc": 0.5}}, task={"metric": "mcc"}, seconds=2
)


@pytest.mark.parametrize(("terminal", "kind"), [(True, Bars), (False, Lines)])
def test_people_get_bars_and_logs_get_lines(terminal, kind):
    (one,) = jobs("kmer")
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    with display([one], 1, console) as on_event:
        assert isinstance(on_event, kind)
        on_event(Event("started", 0), one, None)
        on_event(Event("progress", 0, (1, 2)), one, None)
        on_event(Event("returned", 0), one, Outcome("finished", RECORD))
    assert " planted/motif seed 0: test mcc 0.500  (2 s)" in out.getvalue()
    assert ("all trials" in out.getvalue()) == terminal


def test_a_failure_shows_its_last_line():
    (one,) = jobs("kmer")
    out = io.StringIO()
    with Lines([one], 1, Console(file=out, width=120)) as on_event:
        on_event(Event("started", 0), one, None)
        failed = Record(trial=one.trial, error="Traceback\n...\nValueError: no good\n")
        on_event(Event("returned", 0), one, Outcome("failed", failed))
    assert "[1/1] FAILED kmer epochs=2 planted/motif seed 0: ValueError: no good" in out.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_job_that_ran_elsewhere_comes_again_and_counts_once(terminal):
    (one,) = jobs("kmer")
    out = io.StringIO()
    with display([one], 1, Console(file=out, force_terminal=terminal, width=120)) as on_event:
        on_event(Event("started", 0), one, None)
        on_event(Event("returned", 0), one, Outcome("elsewhere"))
        on_event(Event("started", 0), one, None)
        on_event(Event("progress", 0, (1, 2)), one, None)
        on_event(Event("returned", 0), one, Outcome("finished", RECORD))
    assert out.getvalue().count("test mcc 0.500") == 1


def test_an_undefined_score_is_said():
    (one,) = jobs("kmer")
    record = Record(trial=one.trial, scores={"test": {}}, task={"metric": "auroc"})
    assert "test auroc undefined" in result_line(one, Outcome("finished", record))
