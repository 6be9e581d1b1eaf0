"""Spaces that a model declares and that are searched only when `--space` names them."""

from dataclasses import replace

import pytest
from conftest import dnabench

import dnabench as db
from dnabench.recipes import Recipe
from dnabench.registry import MODELS
from dnabench.reports.report import report
from dnabench.reports.resampling import Resampler
from dnabench.results.store import Store
from dnabench.spaces import parse_dimension
from dnabench.sweep.checks import check_recipe
from dnabench.sweep.grid import Request
from dnabench.sweep.own_spaces import more_of, space_of
from dnabench.sweep.search import TuneRequest, plan_search
from dnabench.sweep.settings import chosen

TASK = "demo/splice_junctions"
QUICK = {"tasks": TASK, "limit": 60, "epochs": 1, "executor": "inline", "budget": 2, "seeds": 1}


def plan(models, spaces=(), budget=6, regime="", **overrides):
    grid = Request(models=models, tasks=[TASK], seeds="2", regime=regime, overrides=overrides)
    return plan_search(TuneRequest(grid=grid, budget=budget, spaces=spaces))


def drawn(found, model):
    (tried,) = (own for (name, _), own in found.tried.items() if name == model)
    return [dict(s.split("=") for s in one.settings) for one in tried[1:]]


def test_every_declared_value_is_one_that_the_model_takes():
    names = set()
    for model in (MODELS[name] for name in MODELS):
        more = more_of(model)
        assert not {*more} & {*space_of(model)}
        for name, text in more.items():
            dimension = parse_dimension(name, text)
            assert dimension.kind == "one" and dimension.size > 1
            for value in dimension.values:
                options, fields = chosen(model, [f"{name}={value}"])
                check_recipe(replace(Recipe(), **fields))
                assert {**options, **fields}[name] == value
        usual = {**Recipe().numbers, **model.options}
        assert all(usual[name] in parse_dimension(name, text).values for name, text in more.items())
        assert "lora" not in more.get("finetune", "") or model.lora_targets
        names |= {*more}
    assert names == {"pooling", "rc", "finetune"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_space_for_one_model_goes_before_one_for_all(order):
    found = plan(["cnn", "legnet"], ["cnn.lr=one:0.1", "lr=one:0.2"][::order], budget=3)
    values = {name: {one["lr"] for one in drawn(found, name)} for name in ("cnn", "legnet")}
    assert values == {"cnn": {"0.1"}, "legnet": {"0.2"}}


def test_they_are_printed_and_searched_only_when_they_are_named():
    done = dnabench("list", "spaces", "convnova-386k")
    said = " ".join(done.stdout.split())
    for text in ("pooling=one:mean,max", "rc=one:none,augment,conjoin", "finetune=one:full,probe"):
        assert text in said
    plain, named = plan(["cnn", "legnet", "kmer"]), plan(["cnn", "legnet", "kmer"], ["rc"])
    assert all({*one} == {*space_of(MODELS["cnn"])} for one in drawn(plain, "cnn"))
    assert named.spaces["kmer"] == space_of(MODELS["kmer"])
    for model in ("cnn", "legnet"):
        ours = drawn(named, model)
        assert {one.pop("rc") for one in ours} > {"augment"}
        assert ours == drawn(plain, model)  # at the same quantiles as without it
    assert drawn(plan(["cnn"], ["cnn.rc=one:conjoin"]), "cnn")[0]["rc"] == "conjoin"
    assert "rc" not in plan(["cnn"], ["rc"], rc="augment").spaces["cnn"]


@pytest.mark.parametrize(
    ("models", "space", "why"),
    [
        (["kmer"], "rc", "no option named 'rc'"),
        (["cnn"], "pooling", "no option named 'pooling'"),
        (["cnn", "legnet"], "cnn.pooling", "no option named 'pooling'"),
        (["cnn"], "finetune", "'finetune': write its values.*by name alone go rc"),
        (["cnn"], "lr", "write its values"),
        (["convnova-386k"], "finetune", "begins with random weights"),
        (["ntv2", "ntv2-50m"], "ntv2.finetune", "ntv2-500m begins with random weights"),
    ],
)
def test_a_name_alone_that_no_model_declares_is_refused(models, space, why):
    with pytest.raises(ValueError, match=why):
        plan(models, [space], regime="scratch")


def test_finetune_is_refused_for_those_alone_that_would_be_searched_in_it():
    found = plan(["kmer", "ntv2-50m"], ["finetune"], regime="ntv2-50m=pretrained")
    assert "finetune" in found.spaces["ntv2-50m"] and "finetune" not in found.spaces["kmer"]


def test_one_that_was_named_for_one_model_alone_is_told(tmp_path):
    def said(space):
        db.tune("cnn,legnet", out=tmp_path / space, space=space, tuning_seeds=1, **QUICK)
        store = Store(tmp_path / space)
        (evidence,) = report(list(store), store, Resampler(store)).evidence
        return [x for x in evidence.remarks if "by hand" in x]

    assert not said("rc")
    (told,) = said("cnn.rc")
    assert told.startswith("a space was given by hand for cnn (rc) and not for the other models")
