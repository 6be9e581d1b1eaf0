"""harness/shares.py, --train-share and reports/trends.py: less training data, and its curves."""

import dataclasses
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from conftest import dnabench, planted_task
from scipy import stats as scipy_stats
from test_reports import failed, runs

import dnabench as db
from dnabench import Sequences
from dnabench.protocols import PROTOCOLS
from dnabench.reports.analysis import analyze
from dnabench.reports.render import render
from dnabench.reports.report import report
from dnabench.reports.resampling import Resampler
from dnabench.reports.table import across_shares, tables
from dnabench.reports.text.overview import overview
from dnabench.reports.trends import SHARE, share_section, swept, trend
from dnabench.results.store import Store
from dnabench.shares import absent, enters_at, part_of_train
from dnabench.splits import cut, same_sequence, streams
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.numbers import parse_shares
from dnabench.types import Recipe, Record

SHARES = (0.05, 0.1, 0.3, 0.77, 1)
RUN = ["-m", "kmer,cnn", "-s", "demo", "-t", "cell_type", "--epochs", "2", "--limit", "400",
       "--executor", "inline"]  # fmt: skip


def plan(**changes):
    request = {"models": ["kmer", "cnn"], "tasks": ["demo/cell_type"], "seeds": "2"} | changes
    return [job.trial for job in grid(Request(**request))]


def clustered(n=400, seed=0):
    """A task whose training examples are in groups of very unlike sizes."""
    task = planted_task(n)
    train = task.load("train")
    sizes = np.array([n // 4, n // 8, *[5] * 20, *[1] * n])
    groups = np.repeat(np.arange(len(sizes)), sizes)[:n]
    np.random.default_rng(seed).shuffle(groups)
    return task, train._replace(clusters=groups * 7 - 3)


# --- the examples --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_smaller_share_is_part_of_a_larger_one_and_all_of_it_is_train(seed):
    task = planted_task(300, classes=3)
    train = task.load("train")
    parts = [part_of_train(train, share, task, seed) for share in SHARES]
    for small, large in itertools.pairwise(parts):
        assert set(small.ids) < set(large.ids)
    assert parts[-1] is train
    for share, part in zip(SHARES, parts, strict=True):
        assert np.bincount(part.y).tolist() == [pytest.approx(100 * share, abs=0.51)] * 3
        kept = [i for i in train.ids if i in set(part.ids)]
        assert part.ids.tolist() == kept  # in the order of the file


def test_another_seed_draws_other_examples_and_the_same_seed_the_same():
    task = planted_task(300)
    train = task.load("train")
    a, again, b = (set(part_of_train(train, 0.1, task, s).ids) for s in (1, 1, 2))
    assert a == again != b


def test_groups_of_related_examples_stay_whole_at_every_share():
    task, train = clustered()
    sizes = Counter(train.clusters.tolist())
    before: set[str] = set()
    for share in SHARES:
        part = part_of_train(train, share, task, 5)
        assert all(sizes[c] == n for c, n in Counter(part.clusters.tolist()).items())
        assert len(part.y) / len(train.y) == pytest.approx(share, rel=0.3)
        assert before < set(part.ids)
        before = set(part.ids)


def test_copies_of_a_sequence_on_either_strand_enter_together():
    task = planted_task(100)
    train = task.load("train")
    one, other = train.seqs, train.seqs.reverse_complement()
    codes = np.concatenate([one.codes, other.codes])
    offsets = np.concatenate([one.offsets, other.offsets[1:] + one.offsets[-1]])
    both = train._replace(
        seqs=Sequences(codes, offsets), y=np.tile(train.y, 2), ids=np.tile(train.ids, 2)
    )
    at = enters_at(both, 3)
    assert (at[:100] == at[100:]).all() and len(np.unique(same_sequence(both.seqs))) == 100


def test_a_class_has_an_example_at_the_smallest_share_and_a_lost_one_is_named():
    task = planted_task(200)
    train = task.load("train")
    rare = train._replace(y=(np.arange(200) < 3).astype(np.int64))
    assert np.bincount(part_of_train(rare, 0.05, task, 0).y).tolist() == [10, 1]
    assert absent(task, rare, rare.take(np.arange(3, 200))) == ["1"]
    many = dataclasses.replace(task, kind="multilabel", classes=("a", "b"))
    labels = np.zeros((200, 2), np.float32)
    labels[:4, 1] = labels[:, 0] = 1
    assert absent(many, train._replace(y=labels), train._replace(y=labels[9:])) == ["b"]


def test_a_share_that_leaves_too_little_is_refused_with_the_way_out():
    task, train = clustered(40)
    with pytest.raises(ValueError, match=r"--train-share 0.01: of the 40 training .* give 0.05 or"):
        part_of_train(train, 0.01, task, 0)
    few = train._replace(clusters=np.repeat(np.arange(4), 10))
    with pytest.raises(ValueError, match=r"in 4 groups of .*nearest are 10; try 0.25 or more"):
        part_of_train(few, 0.1, dataclasses.replace(task, clusters="chromosome"), 0)
    with pytest.raises(ValueError, match=r"0.0001: of the 400 .* of demo/cell_type 0.04 would be"):
        plan(train_share=["0.0001"], limit="400")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "nan", "x", "1e-400"])
def test_no_share_is_explained(text):
    with pytest.raises(ValueError, match=r"above 0 and at most 1: 0\.01,0\.1,1"):
        parse_shares(["0.5", text])


def test_validation_and_test_are_whole_and_the_schedule_is_that_of_the_share():
    for name in ("honest/1", "nt-cv10/1"):
        task = planted_task(200, dev=False)
        at = streams(1, task.name, PROTOCOLS[name]).cut
        whole, val = cut(task, PROTOCOLS[name], at)
        part = part_of_train(whole, 0.2, task, at)
        assert val is not None and len(val.y) == 20 and len(part.y) == 36
        assert not set(part.ids) & set(val.ids)


# --- trials --------------------------------------------------------------------------------------


def test_a_share_is_part_of_the_id_and_share_1_is_the_trial_of_before():
    plain, whole = plan(), plan(train_share=["1"])
    assert [t.id for t in plain] == [t.id for t in whole]
    several = plan(train_share=["0.1", "1", "0.1"])
    assert len(several) == 2 * len(plain) and {t.id for t in plain} < {t.id for t in several}
    record = Record(trial=several[0])
    again = Record.from_json(record.to_json())
    assert again.trial == several[0] and again.trial.train_share == 0.1
    assert "train_share" not in Record(trial=plain[0]).to_json()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two models, three seeds, two shares, and one share swept over a setting."""
    out = tmp_path_factory.mktemp("shares") / "runs"
    done = dnabench("run", *RUN, "--seeds", 3, "--train-share", "0.1", "--train-share", "1",
                    "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Store(out)


def test_every_model_trains_on_the_same_part_and_is_scored_on_the_whole(store):
    sizes = {(r.trial.train_share, tuple(sorted(r.n_examples.items()))) for r in store}
    (_, small), (_, whole) = sorted(sizes)  # both models and all seeds have the same
    small, whole = dict(small), dict(whole)
    assert small["train"] == pytest.approx(0.1 * whole["train"], abs=1)
    assert small | {"train": 0} == whole | {"train": 0}


def test_share_1_gives_what_a_run_without_shares_gives(store, tmp_path):
    out = tmp_path / "runs"
    assert dnabench("run", *RUN, "--seeds", 1, "--out", out).returncode == 0
    for record in Store(out):
        twin = store.read(record.trial.id)
        assert twin is not None and twin.scores == record.scores and twin.curve == record.curve


# --- tables, figures -----------------------------------------------------------------------------


def test_shares_are_never_pooled_nor_rivals(store):
    whole, small = tables(store)
    assert (whole.train_share, small.train_share) == (1, 0.1)
    for table in (whole, small):
        assert {r.trial.train_share for r in table.records} == {table.train_share}
        assert [c.name for c in table.columns] == ["kmer", "cnn"]
        assert all(len(cell.scores) == 3 for row in table.rows for cell in row.cells)
    alone = [r for r in store if r.trial.train_share == 1]
    assert analyze(whole).comparisons == analyze(tables(alone)[0]).comparisons


def test_learning_curves_are_means_and_t_intervals_of_each_share(store):
    (table,) = across_shares(store)
    found = trend(table, SHARE)
    assert found is not None and found.values == (0.1, 1) and found.names == ("kmer", "cnn")
    lines = share_section(found, 3).rows
    sizes = [r.n_examples["train"] for r in sorted(store, key=lambda r: r.trial.train_share)]
    assert lines[0][2:] == ["training examples", str(sizes[0]), str(sizes[-1])]
    for name, k in (("cnn", 0), ("cnn", 1)):
        share = found.values[k]
        x = [
            r.scores["test"]["mcc"] for r in store
            if (r.trial.model, r.trial.train_share) == (name, share)
        ]  # fmt: skip
        low, high = scipy_stats.t.interval(0.95, 2, np.mean(x), scipy_stats.sem(x))
        (line,) = [line for line in lines if line[2] == name]
        assert line[3 + k] == f"{np.mean(x):.3f} [{low:.3f}, {high:.3f}]".replace("-0.000", "0.000")


def test_report_shows_the_curves_in_every_format_for_reading(store):
    found = report(list(store), store, Resampler(store))
    text, page = render(found, "md"), render(found, "html")
    assert text.count("Score by share of the training examples") == 1
    assert "## honest/1, at most 400" in text and "10 % of train" in text
    assert "Trained on 10 % of the training examples; validation and test are whole." in text
    assert "Score by share of train</h3>" in page and "kmer: 0." in page
    rows = render(found, "csv").splitlines()
    place = rows[0].split(",").index("train_share")
    assert {row.split(",")[place] for row in rows[1:]} == {"0.1", "1"}
    shown = dnabench("report", "--out", store.folder).stdout
    assert shown.count("Verdict") == 1 and "Score by share of the training examples" in shown


def of_share(model, share, mean=0.5, made=runs):
    found = made(model, mean) if made is runs else [made(model, seed=s) for s in range(2)]
    return [
        dataclasses.replace(r, trial=dataclasses.replace(r.trial, train_share=share)) for r in found
    ]


def lines_of(found):
    return [(panel.row.name, c.line, len(c.cells)) for panel in found.panels for c in panel.curves]


def test_a_share_that_also_ran_another_suite_stays_on_its_curve():
    """The recipes of both suites may differ; those of the suite of a row do not."""
    curve = of_share("a", 1.0) + of_share("a", 0.1) + of_share("b", 1.0)
    other = runs("a", 0.7, task="other/t", recipe=Recipe(lr=0.1)) + runs("b", 0.4, task="other/t")
    (table,) = across_shares(curve + other)
    found = trend(table, SHARE)
    assert found is not None and found.values == (0.1, 1) and found.names == ("a",)
    assert lines_of(found) == [("demo/t", 0, 2)]
    apart = [dataclasses.replace(r, trial=dataclasses.replace(r.trial, task="other/u"))
             for r in of_share("b", 0.3)]  # fmt: skip
    (table,) = across_shares(curve + other + apart)  # at no two shares on one task
    assert trend(table, SHARE) == found._replace(panels=trend(table, SHARE).panels)
    (table,) = across_shares(of_share("a", 1.0) + runs("a", 0.6, recipe=Recipe(lr=0.1)) +
                             of_share("a", 0.1))  # fmt: skip
    assert lines_of(trend(table, SHARE)) == [("demo/t", 0, 2)]  # a recipe has its own line


def test_a_swept_value_that_also_ran_another_suite_stays_on_its_line():
    sweep = [
        r for k, x in ((8, 0.6), (16, 0.7), (32, 0.65)) for r in runs("a", x, options={"k": k})
    ]
    (table,) = tables(sweep + runs("a", 0.5, task="other/t", options={"k": 16}))
    (found,) = swept(table)
    assert (found.by, found.values, lines_of(found)) == ("k", (8, 16, 32), [("demo/t", 0, 3)])


def test_the_first_screen_shows_what_was_run_on_a_smaller_share_alone(tmp_path):
    def screen(name, records):
        store = Store(tmp_path / name)
        for one in records:
            store.append(one)
        return overview(report(list(store), store, Resampler(store)), store.folder)

    curve = of_share("a", 1.0) + of_share("a", 0.1)
    assert screen("curve", curve).count("Verdict") == 1
    with_other = screen("other", curve + of_share("b", 0.1, 0.777))
    assert "0.777" in with_other and with_other.count("Verdict") == 2
    assert "2 failed" in screen("failed", curve + of_share("b", 0.1, made=failed))
    apart = screen("apart", of_share("a", 1.0) + of_share("b", 0.1, 0.777))
    assert "0.777" in apart and "10 % of train" in apart


def test_the_figures_of_shares_and_of_a_sweep(store, tmp_path):
    done = dnabench("figure", "line", "--out", store.folder, "--to", tmp_path / "a.svg")
    assert done.returncode == 0, done.stderr
    svg = (tmp_path / "a.svg").read_text()
    assert "share of train" in svg and "10 %" in svg and "convnova" not in svg
    done = dnabench("figure", "strip", "--out", store.folder, "--to", tmp_path / "b.svg")
    assert done.returncode == 2 and "--train-share: honest/1" in done.stderr
    words = ("--train-share", 0.1, "--to", tmp_path / "b.svg")
    assert dnabench("figure", "strip", "--out", store.folder, *words).returncode == 0
    done = dnabench("figure", "line", "--x", "lr", "--train-share", 1, "--out", store.folder)
    assert done.returncode == 2 and "several values of one number (lr)" in done.stderr


@pytest.mark.slow
def test_any_swept_number_has_a_line(tmp_path):
    out = tmp_path / "runs"
    words = ["--seeds", 2, "--sweep", "lr=0.001,0.01,0.1", "--sweep", "batch=16,64"]
    assert dnabench("run", *RUN, *words, "--out", out).returncode == 0
    (table,) = tables(Store(out))
    by = {found.by: found for found in swept(table)}
    assert by.keys() == {"lr", "batch"} and by["lr"].values == (0.001, 0.01, 0.1)
    assert by["lr"].names == ("cnn batch=16", "cnn batch=64")
    assert all(cell for panel in by["lr"].panels for c in panel.curves for cell in c.cells)
    done = dnabench("figure", "line", "--x", "lr", "--out", out, "--to", tmp_path / "a.svg")
    assert done.returncode == 0 and ">0.01<" in (tmp_path / "a.svg").read_text()
    assert "choose with --x: batch, lr" in dnabench("figure", "line", "--out", out).stderr


def test_python_takes_shares_and_gives_them(tmp_path):
    words = {"limit": 200, "epochs": 1, "executor": "inline", "out": tmp_path / "runs"}
    results = db.run(
        "kmer", suite=["demo"], tasks="cell_type", seeds=1, train_share=[0.2, 1], **words
    )
    scores = results.scores().sort_values("train_share")
    assert scores["train_share"].tolist() == [0.2, 1.0]
    assert scores["n_train"].tolist()[0] == pytest.approx(
        0.2 * scores["n_train"].tolist()[1], abs=1
    )
    one = db.run("kmer", suite="demo", tasks="cell_type", seeds=1, train_share=0.2, **words)
    assert len(one.records) == 1 and math.isclose(one.records[0].trial.train_share, 0.2)


def test_plan_counts_the_examples_of_a_share():
    from dnabench.forecast.extrapolate import sizes_of

    request = Request(models=["cnn"], tasks=["demo/splice_junctions"], seeds="1",
                      train_share=["0.1", "1"])  # fmt: skip
    small, whole = (sizes_of(job) for job in grid(request))
    assert small.train == round(0.1 * whole.train) and small[1:] == whole[1:]
