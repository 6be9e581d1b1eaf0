"""Which configurations of a search are the same, where default recipes differ between tasks."""

import pytest
from conftest import planted_task

from dnabench import TASKS
from dnabench.sweep.grid import Request
from dnabench.sweep.search import TuneRequest, plan_search
from dnabench.sweep.steps import _Unit

SPLICE = "demo/splice_junctions"  # whose recipe of convnova-386k has batches of 16
FIXED = ["lr=0.001", "weight_decay=0.1", "dropout=0", "dilation=4"]


@pytest.fixture
def own(monkeypatch):
    """A task without a recipe of its own: convnova-386k has batches of 64 there."""
    list(TASKS)
    task = planted_task()
    monkeypatch.setitem(TASKS._entries, task.name, task)
    yield task.name


def plan(own, per, **more):
    request = Request(models=["convnova-386k"], tasks=[SPLICE, own], seeds="2", settings=FIXED,
                      overrides={"epochs": 2})  # fmt: skip
    said = []
    asked = TuneRequest(grid=request, spaces=["batch=one:16,32,64"], per=per, **more)
    return plan_search(asked, said.append), said


def batches(configurations):
    """Of each configuration, by task."""
    return [{j.trial.task: j.trial.recipe.batch for j in one.jobs} for one in configurations]


def test_a_choice_for_each_task_tries_each_value_once(own):
    found, said = plan(own, "task", search="grid", budget=3)
    tried = {unit.tasks: batches(found.of(unit)) for unit in found.units()}
    assert tried == {
        (SPLICE,): [{SPLICE: 16}, {SPLICE: 32}, {SPLICE: 64}],
        (own,): [{own: 64}, {own: 16}, {own: 32}],
    }
    assert not said and len({job.trial.id for job in found.jobs}) == 3 * 2 * 2 == len(found.jobs)
    assert [*found.tried] == [("convnova-386k", "scratch")]
    assert found.size_of(("convnova-386k", "scratch")) == "3"


def test_a_choice_for_both_tasks_repeats_one_only_if_it_does_on_both(own):
    found, said = plan(own, "model", search="grid", budget=4)
    (unit,) = found.units()
    assert batches(found.of(unit)) == [
        {SPLICE: 16, own: 64}, *({SPLICE: n, own: n} for n in (16, 32, 64))
    ]  # fmt: skip
    assert not said


def test_a_search_in_steps_takes_what_is_new_on_one_task(own):
    found, _ = plan(own, "model", search="random", hours=1.0)
    (unit,) = found.units()
    search = _Unit(found, unit, lambda note: None)
    drawn = [search._drawn() for _ in range(4)]
    assert drawn[3] is None
    assert sorted(batches(drawn[:3]), key=str) == [{SPLICE: n, own: n} for n in (16, 32, 64)]
