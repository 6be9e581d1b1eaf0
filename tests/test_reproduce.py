"""`dnabench reproduce`: published values beside runs, the verdicts and the words."""

import csv
import dataclasses
import functools
import io
import math
from statistics import fmean

import pytest
from conftest import command, completed, planted_split
from test_reproduce_values import H3, plan, value

from dnabench import TASKS
from dnabench.reports import stats
from dnabench.reports.papers import matching
from dnabench.reports.papers.differences import differences
from dnabench.reports.papers.published import tables
from dnabench.reports.papers.reproduction import PlannedCell, compare, gap, spread_of
from dnabench.reports.papers.reproduction_text import render
from dnabench.results.store import Store

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
