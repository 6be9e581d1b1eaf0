"""`dnabench reproduce`: published values beside runs, the arithmetic between them, the words."""

import csv
import dataclasses
import functools
import io
import math
from statistics import fmean

import numpy as np
import pytest
from conftest import command, completed, planted_split

from dnabench import MODELS, TASKS
from dnabench.cli.reproduction import ReproduceRequest, plan_reproduction
from dnabench.reports import stats
from dnabench.reports.papers import matching
from dnabench.reports.papers.differences import differences
from dnabench.reports.papers.published import seeds, tables, values
from dnabench.reports.papers.reproduction import (
    MAX_DEVIATION,
    PlannedCell,
    Spread,
    compare,
    gap,
    spread_of,
    verdict_of,
)
from dnabench.reports.papers.reproduction_text import render
from dnabench.results.store import Store
from dnabench.sweep.grid import Request

SEEDS = (2222, 42, 43)


def value(table, task, model, regime="scratch", **more):
    """The one published value."""
    wanted = {"task": task, "model": model, "regime": regime, **more}
    fits = [
        v
        for v in values("convnova", table)
        if all(getattr(v, name) == what for name, what in wanted.items())
    ]
    (only,) = fits
    return only


H3 = value("13", "nt/h3", "convnova")


def plan(table="convnova/table13", **words):
    grid = {"models": [], "seeds": "5", "protocol": "", "regime": ""} | words
    return plan_reproduction(ReproduceRequest(table=table, grid=Request(**grid)))


# What a published ± says


@pytest.mark.parametrize("n", [2, 3, 5, 10, 20])
def test_the_largest_deviation_against_simulation(n):
    x = np.random.default_rng(n).standard_normal((100_000, n))
    largest = np.abs(x - x.mean(1, keepdims=True)).max(1)
    constant, df = MAX_DEVIATION[n]
    assert constant == pytest.approx(math.sqrt((largest**2).mean()), rel=0.01)
    chi = np.sqrt(np.random.default_rng(n).chisquare(df, 100_000))
    spread = largest.std() / largest.mean()
    assert spread == pytest.approx(chi.std() / chi.mean(), rel=0.02)


def test_of_two_it_is_half_their_difference():
    assert MAX_DEVIATION[2] == (pytest.approx(math.sqrt(0.5), abs=1e-4), 1.0)


def test_it_gives_back_the_sd_of_the_published_seeds():
    """Of the three models whose seeds look independent; for normal scores the mean is 0.990."""
    rows = {}
    for s in seeds("convnova"):
        if s.model in ("convnova", "caduceus_ph", "hyenadna"):
            rows.setdefault((s.task, s.model, s.variant), []).append(s.mean)
    ratios = []
    for scores in rows.values():
        largest = max(abs(x - fmean(scores)) for x in scores)
        one = dataclasses.replace(H3, spread=largest, n=10, spread_is="max |deviation|")
        ratios.append(100 * spread_of(one).sd / np.std(scores, ddof=1))
    assert len(ratios) == 64 and np.mean(ratios) == pytest.approx(0.990, abs=0.04)


def test_what_is_printed_and_what_is_not():
    t1 = value("1", "nt/h3", "caduceus_ph", "pretrained")
    assert spread_of(t1).sd == pytest.approx(0.0104 / 1.834) and spread_of(t1).n == 10
    assert spread_of(H3).sd == pytest.approx(0.0168 / 1.450)
    assert "does not state what ± is; taken as" in spread_of(H3).how
    alone = value("4", "nt/h3", "convnova", "pretrained")
    assert math.isnan(spread_of(alone).sd) and spread_of(alone).n == 1
    other = dataclasses.replace(t1, spread_is="99 % CI half-width")
    assert math.isnan(spread_of(other).sd) and "not used" in spread_of(other).how


# The difference


def test_without_a_test_term_it_is_welch():
    rng = np.random.default_rng(0)
    for n, m in [(2, 2), (3, 10), (10, 5), (40, 7)]:
        a, b = rng.normal(0.8, 0.01, n), rng.normal(0.79, 0.03, m)
        known = Spread(float(np.std(b, ddof=1)), m, m - 1.0, "")
        found, want = gap(list(a), float(b.mean()), known, math.nan), stats.welch(a, b)
        assert found[:3] == pytest.approx((want.difference, want.low, want.high), abs=1e-12)
        assert (found.seeds_low, found.seeds_high) == (found.low, found.high)


def test_the_test_term_widens_it_and_has_no_degrees_of_freedom_to_lose():
    t = pytest.importorskip("scipy.stats").t
    ours, known, error = [0.80, 0.81, 0.83], Spread(0.01, 10, 6.58, ""), 0.015
    found = gap(ours, 0.82, known, error)
    v = [np.var(ours, ddof=1) / 3, 0.01**2 / 10, error**2]
    df = sum(v) ** 2 / (v[0] ** 2 / 2 + v[1] ** 2 / 6.58)
    half = t.ppf(0.975, df) * math.sqrt(sum(v))
    assert (found.low, found.high) == pytest.approx(
        (found.difference - half, found.difference + half), abs=1e-12
    )
    alone = gap([0.8] * 3, 0.82, Spread(0.0, 10, 6.58, ""), error)  # only the test term is left
    assert alone.high - alone.low == pytest.approx(2 * 1.959964 * error, rel=1e-6)


def test_a_value_without_a_spread_borrows_ours():
    t = pytest.importorskip("scipy.stats").t
    ours = [0.80, 0.81, 0.83]
    found = gap(ours, 0.82, Spread(math.nan, 1, math.nan, ""), math.nan)
    half = t.ppf(0.975, 2) * np.std(ours, ddof=1) * math.sqrt(1 / 3 + 1)
    assert found.high - found.low == pytest.approx(2 * half, rel=1e-9)
    assert math.isnan(gap([0.8], 0.8, Spread(0.01, 5, 3.58, ""), 0.01).low)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    constant, df = MAX_DEVIATION[10]
    inside = 0
    for _ in range(2000):
        theirs, ours = rng.normal(0, 1, 10), rng.normal(0, 1.5, 5)
        sd = np.abs(theirs - theirs.mean()).max() / constant
        found = gap(list(ours), float(theirs.mean()), Spread(float(sd), 10, df, ""), math.nan)
        inside += found.low <= 0 <= found.high
    assert 0.935 < inside / 2000 < 0.97


@pytest.mark.parametrize(
    ("ours", "mean", "error", "n", "want"),
    [
        ([0.80, 0.82, 0.84], 0.83, 0.0, 5, ("agrees", "")),
        ([0.700, 0.701, 0.702], 0.83, 0.01, 5, ("differs", "")),
        ([0.800, 0.801, 0.802], 0.82, 0.02, 5,
         ("agrees", "only with the noise of the test examples")),
        ([0.8200, 0.8201, 0.8202], 0.825, 0.0, 5, ("agrees", "difference below 0.01")),
        ([0.5, 0.5, 0.6, 0.6], 0.83, 0.0, 4, ("descriptive", "only 4 of our seeds")),
    ],
)  # fmt: skip
def test_verdicts(ours, mean, error, n, want):
    found = gap(ours, mean, Spread(0.001, 10, 6.58, ""), error)
    assert verdict_of(found, n, 0.01) == want


# Our models for the published ones


@pytest.mark.parametrize("table", matching.TABLES)
def test_every_published_value_gets_a_cell_and_a_word(table):
    found = plan(f"convnova/table{table}")
    assert [c.value for c in found.cells] == list(values("convnova", table))
    for outcome in (compare(cell, {}) for cell in found.cells):
        assert outcome.verdict in ("not run", "not comparable") and outcome.why
    outcomes = [compare(cell, {}) for cell in found.cells]
    assert render(outcomes, found.about, "md").count("\n| ") == len(outcomes) + 1
    assert len(list(csv.DictReader(io.StringIO(render(outcomes, found.about, "csv"))))) == len(
        outcomes
    )


def test_every_counterpart_has_the_size_that_was_printed():
    """But for two networks whose heads, which depend on the task, hold much of their size."""
    seen = set()
    for v in (v for t in matching.TABLES for v in values("convnova", t)):
        ours = matching.our_model(v)
        assert matching.metric_of(v, v.task) or v.task == "nt/AVERAGE18"
        assert set(matching.tasks_of(v)) <= set(TASKS)
        if not ours.preset or not v.params or v.model in ("cnn", "deepatt"):
            continue
        printed = float(v.params[:-1]) * {"K": 1e3, "M": 1e6, "N": 1e6}[v.params[-1]]
        assert MODELS[ours.preset].n_params == pytest.approx(printed, rel=0.1), v
        seen.add(ours.preset)
    assert len(seen) == 21
    assert matching.our_model(dataclasses.replace(H3, model="x")).ruled_out.endswith("to x 1.7M")


def test_how_epochs_were_chosen_is_read_from_what_is_said_of_it():
    said = {t: {matching.chosen_on(v) for v in values("convnova", t)} for t in matching.TABLES}
    assert said == {
        **{t: {"test"} for t in ("1", "2", "4", "5", "6", "11", "12", "13", "14")},
        "3": {"validation", "not stated"}, "10": {"not stated"}, "15": {"not stated"},
    }  # fmt: skip
    assert matching.protocol_of(H3) == "test-selected/1"


def test_pretrained_convnova_is_never_comparable_and_scratch_is():
    pretrained = value("1", "nt/h3", "convnova", "pretrained")
    assert matching.obstacles(pretrained) == ["pretrained weights were not published"]
    assert not matching.obstacles(H3)
    assert not matching.obstacles(value("1", "nt/h3", "ntv2", "pretrained"))
    assert (
        "does not say"
        in matching.obstacles(value("5", "nt/h3", "convnova_no_gate", "unspecified"))[0]
    )


def test_kernel_and_dilation_become_options():
    one = value("12", "nt/h3", "convnova", variant="kernel=11,dilation=2")
    options, recipe = matching.as_published(one, "convnova", "scratch")
    assert (options["kernel_size"], options["dilation"], recipe.epochs) == (11, 2, 20)
    wide = value("10", "deepsea/chromatin_profile", "convnova", params="27.4M", metric="auroc_tf")
    assert matching.as_published(wide, "convnova-27m", "scratch")[1].epochs == 10
    assert matching.metric_of(wide, wide.task) == "auroc_mean:tf"
    assert "auroc_mean:groups" in matching.METRICS.values()


# Through the command, on a stand-in for nt/h3 in its official layout


def fasta(n, seed):
    part = planted_split(n, seed)
    return "".join(f">r{i}|{part.y[i]}\n{part.seqs[i]}\n" for i in range(n))


@functools.cache
def _run(cache, *words):
    argv, env = command(*words)
    env = {**env, "DNABENCH_CACHE": str(cache)}
    return completed(argv, env)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(cache, words, done): nt/h3 of 60 and 40 sequences imported, two cells reproduced."""
    folder = tmp_path_factory.mktemp("reproduce")
    (folder / "nt" / "H3").mkdir(parents=True)
    for split, n, seed in (("train", 60, 0), ("test", 40, 2)):
        (folder / "nt" / "H3" / f"{split}.fna").write_text(fasta(n, seed))
    cache = folder / "cache"
    assert _run(cache, "data", "import", folder / "nt").returncode == 0
    words = (
        "reproduce", "convnova/table13", "-t", "h3", "-m", "convnova", "--seeds", "2222,42-45",
        "--epochs", 1, "--set", "width=8", "--set", "dilation_schedule=code", "--executor",
        "inline", "--out", folder / "runs",
    )  # fmt: skip
    done = _run(cache, *words)
    assert done.returncode == 0, done.stderr
    return cache, words, done


@pytest.fixture(scope="module")
def records(ran):
    return list(Store(ran[1][-1]))


def test_it_runs_what_is_missing_and_prints_every_cell(ran, records):
    _, _, done = ran
    assert "5 ran, 0 already done, 0 failed" in done.stderr and len(records) == 5
    pretrained, scratch = [x for x in done.stdout.splitlines() if x.startswith("| nt/h3")]
    assert "81.50 ± 0.80" in pretrained and "weights were not published" in pretrained
    assert "81.18 ± 1.68" in scratch and "convnova width=8 dilation_schedule=code" in scratch
    for why in ("train has 60 examples, published 13,468", "test has 40 examples, published 1,497",
                "width=8 instead of 128", "epochs=1 instead of 20"):  # fmt: skip
        assert why in scratch
    mean = fmean(r.scores["test"]["mcc"] for r in records)
    assert f"| {100 * mean:.2f} " in scratch and f"{100 * mean - 81.18:.2f}" in scratch
    assert "schedule" not in scratch.partition("not comparable")[2]  # text and code differ in it
    assert "dilation_schedule=code" in done.stdout and "test-selected/1 (" in done.stdout
    assert "padding=left-n" in done.stdout and "nt-benchmark/convnova.yaml" in done.stdout


def test_again_there_is_nothing_to_run_and_csv_has_fractions(ran, records):
    cache, words, _ = ran
    dry = _run(cache, *words, "--dry-run")
    assert "2 cells, 5 trials: 5 done, 0 to run" in dry.stdout and "5 of 5 done" in dry.stdout
    done = _run(cache, *words, "--format", "csv")
    assert "0 ran, 5 already done" in done.stderr
    first, second = csv.DictReader(io.StringIO(done.stdout))
    assert first["verdict"] == "not comparable" and first["ours"] == ""
    want = stats.summary([r.scores["test"]["mcc"] for r in records])
    assert float(second["ours"]) == pytest.approx(want.mean)
    assert float(second["published_mean"]) == 0.8118 and second["n"] == "5"
    assert second["our_protocol"] == "test-selected/1" and second["our_epochs"] == "1"
    assert second["our_dilation_schedule"] == "code" and second["spread_is"] == "unknown"


def test_a_wrong_name_is_one_message_and_the_nearest(ran):
    done = _run(ran[0], "reproduce", "convnova/tabel13")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "no table named 'convnova/tabel13'; did you mean convnova/table13" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"table": "convnova/table16"}, "convnova/table16 cannot be reproduced here; choose from"),
        ({"table": "gpn-thesis/table1"}, "cannot be reproduced here"),
        ({"tasks": ["h3k4me"]}, "did you mean h3k4me"),
        ({"tasks": ["gue/emp_h3"]}, "no task of the table named 'gue/emp_h3'"),
        ({"tasks": ["nt_reduced/h4"]}, "no task of the table named 'nt_reduced/h4'"),
        ({"models": ["convnva"]}, "did you mean convnova"),
        ({"models": ["kmer"]}, "no model of the table named 'kmer'; "),
        ({"settings": ["dilatoin=2"]}, "did you mean dilation"),
        ({"settings": ["dilation"]}, "'dilation' is not a setting"),
        ({"regime": "pretraind"}, "--regime 'pretraind'"),
        ({"regime": "gpn=scratch"}, "gpn is not in the requested cells"),
        ({"protocol": "test-slected"}, "did you mean test-selected/1"),
        ({"seeds": "x"}, "--seeds 'x'"),
        ({"limit": "-1"}, "--limit '-1'"),
    ],
    ids=str,
)
def test_wrong_words(words, says):
    with pytest.raises((KeyError, ValueError)) as e:
        plan(**words)
    assert says in e.value.args[0]


def test_tasks_and_models_go_by_all_their_names():
    def cells(**words):
        return [c.value for c in plan(**words).cells]

    assert cells(tasks=["nt/H3"], models=["legnet"]) == [value("13", "nt/h3", "legnet")]
    assert cells(tasks=["h3"], models=["ntv2-500m"]) == cells(tasks=["h3"], models=["ntv2"])
    assert cells(tasks=["nt_reduced/h3"]) == cells(tasks=["h3"])
    (one,) = plan(tasks=["nt_reduced/h3"], models=["legnet"]).cells
    assert "nt_reduced/h3" in one.why_not


# The verdicts of cells, on the real records made as like the published ones as they can be


NEAR = [0.80, 0.82, 0.81, 0.80, 0.82]


def alike(record, score, v=H3, task=None, **changes):
    """The record as it would be, had the run been the published one and scored that."""
    options, recipe = matching.as_published(v, matching.our_model(v).preset, "scratch")
    task = TASKS[task or v.task]
    trial = dataclasses.replace(
        record.trial, options=options, recipe=recipe, task=task.name, **changes
    )
    about = {**record.task, "metric": task.metric, "n_test": task.official["test"]}
    return dataclasses.replace(
        record, trial=trial, task=about, n_examples=dict(task.official),
        scores={"test": {task.metric: score}},
    )  # fmt: skip


def outcome(records, v=H3, **wanted):
    known = {r.trial.id: r for r in records}
    return compare(PlannedCell(value=v, trials=tuple(known), **wanted), known)


def test_runs_as_published_agree_or_differ(records):
    near = outcome([alike(r, x) for r, x in zip(records, NEAR, strict=True)])
    assert (near.verdict, near.why, near.ours.n) == ("agrees", "", 5)
    error = math.sqrt((1 - 0.81**2) / 1497)
    assert near.gap.test_error == pytest.approx(error)
    want = gap(NEAR, 0.8118, spread_of(H3), error)
    assert near.gap == pytest.approx(want, abs=1e-12)
    far = outcome([alike(r, x) for r, x in zip(records, [x - 0.1 for x in NEAR], strict=True)])
    assert far.verdict == "differs"
    few = outcome([alike(r, 0.7) for r in records[:4]])
    assert (few.verdict, few.why) == ("descriptive", "only 4 of our seeds")
    schedule = [alike(r, 0.81) for r in records]
    for r in schedule:
        r.trial.options["dilation_schedule"] = "code"
    assert outcome(schedule).verdict == "agrees"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"limit": 60.0}, "ours used at most 60 examples of each split"),
        ({"limit": 0.1}, "ours used only 10 % of each split"),
        (
            {"protocol": "honest/1"},
            "published epoch chosen on test, ours (honest/1) on validation",
        ),
        (
            {"protocol": "last-epoch/1"},
            "published epoch chosen on test, ours (last-epoch/1) on no split",
        ),
        ({"protocol": "mine/1"}, "the protocol mine/1 is not known here"),
        (
            {"regime": "checkpoint:x.pt@0123456789abcdef"},
            "ours starts from the file x.pt, published: scratch",
        ),
        ({"regime": "pretrained:a/b@c"}, "ours starts from official weights, published: scratch"),
    ],
    ids=lambda x: str(x)[:30],
)
def test_what_forbids_a_comparison_still_prints_the_numbers(records, change, why):
    changed = outcome([alike(r, 0.81, **change) for r in records])
    assert (changed.verdict, changed.why) == ("not comparable", why)
    assert changed.ours.mean == pytest.approx(0.81) and math.isfinite(changed.gap.low)


def test_other_data_options_and_recipes_forbid_it_too(records):
    (same, *_) = [alike(r, 0.81) for r in records]
    assert not differences(H3, same)
    reduced = alike(records[0], 0.81, task="nt_reduced/h3")
    assert differences(H3, reduced) == ["our data are nt_reduced/h3"]
    fewer = dataclasses.replace(same, n_examples={"train": 13468, "test": 1496})
    assert differences(H3, fewer) == ["test has 1,496 examples, published 1,497"]
    cut = dataclasses.replace(same, n_examples={"train": 12121, "val": 1347, "test": 1497})
    assert not differences(H3, cut)  # what was cut off for validation was there
    assert differences(H3, records[0])[-2:] == ["width=8 instead of 128", "epochs=1 instead of 20"]
    other = dataclasses.replace(same, trial=dataclasses.replace(same.trial, model="legnet"))
    assert differences(H3, other) == ["ours is legnet, convnova corresponds to the published model"]
    pretrained = value("1", "nt/h3", "convnova", "pretrained")
    assert differences(pretrained, same) == ["published: pretrained; ours: from scratch"]


def test_a_file_may_stand_for_official_weights_but_not_for_unpublished_ones(records):
    regime = "checkpoint:x.safetensors@0123456789abcdef"
    v = value("1", "nt/h3", "convnova", "pretrained")
    own = outcome([alike(r, 0.81, v, regime=regime) for r in records], v)
    assert own.why.endswith("not published; ours starts from the file x.safetensors")
    v = value("1", "nt/h3", "hyenadna", "pretrained")
    official = outcome([alike(r, 0.78, v, model="hyenadna", regime=regime) for r in records], v)
    assert official.verdict == "agrees"
    assert official.remarks == ("the file x.safetensors is used in place of the official weights",)


def test_failed_runs_and_lacking_metrics_are_said(records):
    failed = [
        dataclasses.replace(alike(r, 0.81), scores={}, error="Traceback\nOSError: no weights")
        for r in records
    ]
    none = outcome(failed)
    assert (none.verdict, none.why, none.remarks) == (
        "not run",
        "OSError: no weights",
        ("5 failed",),
    )
    lacking = outcome([dataclasses.replace(alike(r, 0.8), scores={"test": {}}) for r in records])
    assert (lacking.verdict, lacking.why) == ("not run", "no record has mcc")
    assert outcome([], why_not="no data").why == "no data"


def test_an_average_needs_all_of_its_tasks(records):
    v = value("11", "nt/AVERAGE18", "convnova", variant="kernel=9,dilation=4")
    tasks = matching.tasks_of(v)
    assert len(tasks) == 18
    runs = [
        alike(r, 0.6 + 0.01 * i + 0.001 * s, v, task)
        for i, task in enumerate(tasks)
        for s, r in enumerate(records)
    ]
    whole = outcome(runs, v)
    assert whole.ours.mean == pytest.approx(0.6 + 0.01 * 8.5 + 0.002) and whole.ours.n == 5
    assert whole.verdict == "differs" and whole.published == pytest.approx(0.7453)
    errors = [
        stats.test_standard_error(TASKS[t].metric, 0.602 + 0.01 * i, TASKS[t].official["test"])
        for i, t in enumerate(tasks)
    ]
    assert whole.gap.test_error == pytest.approx(math.hypot(*errors) / 18)
    assert outcome(runs[:-5], v).verdict == "not run"
    assert outcome(runs[:-1], v).ours.n == 4  # a seed that lacks a task is left out


def test_the_text_says_how_things_were_made(records):
    (about,) = [t for t in tables("convnova") if t.table == "13"]
    cells = [
        outcome([alike(r, x) for r, x in zip(records, NEAR, strict=True)], model="m"),
        outcome(
            [], value("13", "nt/splice_sites_all", "hyenadna", "pretrained"), why_not="no data"
        ),
    ]
    text = render(cells, about, "md")
    assert "2 cells: 1 agrees, 1 not run." in text and "81.00 | 5 | [79.76, 82.24]" in " ".join(
        text.split()
    )
    assert "| -0.18 " in text and "do not match the seeds of table 16" in text
    assert "convnova dilation_schedule=paper; weights scratch; test-selected/1" in text
    assert "[nt/h3: 5 runs]" in text
