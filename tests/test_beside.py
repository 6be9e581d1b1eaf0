"""Beside the mean: strands, homology to train, validation of variants; words of compare."""

import csv
import io
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import planted_split, planted_task
from test_families import swept
from test_leads import TASKS as TASKS_OF_8
from test_leads import suite
from test_pooling import stored
from test_reports import runs
from test_trial import job, task  # noqa: F401

from dnabench import TASKS, Sequences
from dnabench.metrics import mcc
from dnabench.reports.analysis import analyze
from dnabench.reports.evidence import Report
from dnabench.reports.homology import by_homology
from dnabench.reports.render import compare_text, render
from dnabench.reports.report import report
from dnabench.reports.resampling import Resampler
from dnabench.reports.table import tables
from dnabench.reports.validity import reason
from dnabench.results.store import Store
from dnabench.sweep.trial import run_trial
from dnabench.tasks.audit import audit as audits


def report_of(store):
    return report(list(store), store, Resampler(store, replicates=20))


def lines_of(found, **where):
    rows = csv.DictReader(io.StringIO(render(found, "csv")))
    return [r for r in rows if all(r[k] == v for k, v in where.items())]


# --- strands --------------------------------------------------------------------------------------


def turned(split):
    """The task's splits, test read from the other strand."""
    found = planted_task().load(split)
    return found._replace(seqs=found.seqs.reverse_complement()) if split == "test" else found


@pytest.mark.parametrize("model", ["cnn", "convnova-386k"])
def test_strand_flips_are_what_a_test_of_the_other_strand_answers(task, model):  # noqa: F811
    record, arrays = run_trial(job(task(symmetric=True), model, epochs=3))
    plain, other = run_trial(job(task(load=turned), model, epochs=3))
    flips = (arrays["logits"].argmax(1) != other["logits"].argmax(1)).mean()
    assert record.flags["strand_flips"] == flips > 0  # the motif is no palindrome
    assert "strand_flips" not in plain.flags and record.trial.id == plain.trial.id
    same, _ = run_trial(job(task(symmetric=True), model, epochs=1, rc="conjoin"))
    assert same.flags["strand_flips"] == 0


def test_both_sequences_of_a_pair_are_turned(task):  # noqa: F811
    def load(split, turned=False):
        found = planted_task().load(split)
        other = found.seqs.take(np.roll(np.arange(len(found.y)), 1))
        if turned and split == "test":
            return found._replace(
                seqs=found.seqs.reverse_complement(), other=other.reverse_complement()
            )
        return found._replace(other=other)

    ends = [
        run_trial(job(task(symmetric=True, pairs=True, load=one), "cnn", epochs=3))
        for one in (load, partial(load, turned=True))
    ]
    shares = {record.flags["strand_flips"] for record, _ in ends}
    first, second = (arrays["logits"].argmax(1) for _, arrays in ends)
    assert shares == {(first != second).mean()} and shares != {0.0}


def test_only_tasks_that_say_so_are_symmetric():
    marks = {"gue/emp_h3", "gue/tf_0", "nt/enhancers", "nt_revised/h3k9ac", "nt_reduced/h3",
             "genomic_benchmarks/human_ocr_ensembl"}  # fmt: skip
    stranded = ("promoter", "prom_", "splice", "coding", "covid", "regulatory", "worm", "gene")
    assert all(TASKS[name].symmetric for name in marks)
    named = [name for name in TASKS if TASKS[name].symmetric]
    assert not [n for n in named if any(word in n.partition("/")[2] for word in stranded)]


# --- homology -------------------------------------------------------------------------------------


def with_copies(split):
    """30 of 80 test sequences are in train, 25 more on the other strand."""
    found = planted_task().load(split)
    if split != "test":
        return found
    train = planted_split(160, 0)
    texts = [found.seqs[i] for i in range(len(found.y))]
    texts[:30] = [train.seqs[i] for i in range(30)]
    other = train.seqs.take(np.arange(40, 65)).reverse_complement()
    texts[30:55] = [other[i] for i in range(25)]
    return found._replace(seqs=Sequences.parse(texts))


def test_scores_by_the_nearest_training_sequence(task, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path))
    store, copied = Store(tmp_path / "runs"), task(load=with_copies)
    store.check_writable()
    record, arrays = run_trial(job(copied, "cnn", epochs=3))
    store.append(record, arrays)
    assert "By homology" not in render(report_of(store), "md")
    audit = audits.audit(copied)
    audits.keep(audit)
    y, logits = arrays["labels"], arrays["logits"]
    by_hand = {"identical": slice(0, 30), "reverse complement": slice(30, 55),
               "none found": slice(55, 80)}  # fmt: skip
    want = {f"mcc:homology: {k}": mcc(y[at], logits[at]) for k, at in by_hand.items()}
    assert by_homology(audit, "mcc", arrays) == want and len(set(want.values())) > 1
    part = {name: x[:60] for name, x in arrays.items()}
    assert by_homology(audit, "mcc", part) == {}  # a part of the split: rows are not the audit's
    found = report_of(store)
    for fmt in ("md", "html"):
        assert "By homology to train" in render(found, fmt)
    text = render(found, "md")
    assert "| 30 " in text and "By group of outputs" not in text
    for name, score in want.items():
        (line,) = lines_of(found, group=name.removeprefix("mcc:"))
        assert float(line["mean"]) == score and line["metric"] == "mcc"


@pytest.mark.parametrize("part", [{"train_share": 0.5}, {"limit": 5000.0}])
def test_a_run_on_a_part_of_train_has_no_scores_by_homology(task, tmp_path, monkeypatch, part):  # noqa: F811
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path))
    copied = task(load=with_copies)
    audits.keep(audits.audit(copied))
    record, arrays = run_trial(job(copied, "cnn", epochs=1))
    for name, trial in (("whole", {}), ("part", part)):
        store = Store(tmp_path / name)
        store.check_writable()
        store.append(replace(record, trial=replace(record.trial, **trial)), arrays)
        assert ("By homology" in render(report_of(store), "md")) == (name == "whole")


# --- predictions that cannot be read now ----------------------------------------------------------


def test_a_lack_of_memory_makes_no_record_invalid_and_is_not_remembered(tmp_path, monkeypatch):
    store = stored(tmp_path)
    records, whole = list(store), report_of(store)
    shutil.rmtree(tmp_path / ".cache")
    with monkeypatch.context() as short:
        short.setattr("dnabench.results.predictions.free_memory", lambda: 100)
        short.setattr("dnabench.results.predictions.SMALL", 0)
        text = render(report_of(store), "md")
        assert "invalid" not in text and f"predictions of {len(records)} runs not read" in text
        assert "100 of memory are free" in text
        assert reason(records[0], store) == ""
    assert render(report_of(store), "md") == render(whole, "md")
    short_of = store.open_predictions(records[0].trial.id)
    with pytest.raises(OSError, match="not read for lack of memory"), short_of:
        raise MemoryError


# --- variants -------------------------------------------------------------------------------------


def test_variants_stand_beside_their_score_on_validation(tmp_path):
    store = Store(tmp_path)
    best = {0.0001: 0.62, 0.0003: 0.73, 0.001: 0.71, 0.01: 0.65}  # on validation: not as on test
    for one in (*swept(), *runs("plain", 0.5)):
        lr = one.trial.options.get("lr")
        one.scores["val"] = {"mcc": best.get(lr, 0.5) + 0.001 * one.trial.seed}
        store.append(one)
    found = report_of(store)
    text = render(found, "md")
    assert "### Configurations of one model" in text and "Tried: 4 configurations of net." in text
    lines = [x.split("|") for x in text.splitlines() if x.rstrip(" |").endswith("best")]
    assert [x[2].strip() for x in lines if "net lr" in x[2]] == ["net lr=0.0003"]
    rows = lines_of(found, model="net")
    mean = 0.001 * np.mean([one.trial.seed for one in swept()])
    assert [float(r["validation"]) for r in rows] == pytest.approx(
        [x + mean for x in best.values()]
    )
    assert {r["configurations"] for r in rows} == {"4"}
    (plain,) = lines_of(found, model="plain")
    assert plain["configurations"] == "1"
    alone = render(report(runs("net", 0.7), store, Resampler(None)), "md")
    assert "Configurations of one model" not in alone


# --- compare --------------------------------------------------------------------------------------


def test_compare_on_one_task_begins_with_the_pair():
    for records, begins in (
        (runs("a", 0.8) + runs("b", 0.7) + runs("c", 0.9), "a beats b by 0.100 MCC"),
        (
            runs("a", 0.8, seeds=range(3)) + runs("b", 0.7, seeds=range(3)),
            "a scores higher than b by 0.100",
        ),
        (
            runs("a", 0.8, seeds=range(3)) + runs("b", 0.8, seeds=range(3)),
            "a and b have the same mean: 0.000 MCC (95 % CI",
        ),
        (
            runs("a", 0.8002, seeds=range(3)) + runs("b", 0.8, seeds=range(3)),
            "a and b have the same mean to 3 decimals: 0.000 MCC (95 % CI",
        ),
    ):
        text = compare_text(records, "a", "b")
        said = next(x for x in text.splitlines() if x and x[0] not in "#>")
        assert said.startswith(begins) and "every other" not in text.partition("| task")[0]


def test_compare_makes_no_test_of_all_models():
    records = suite({"a": 0.7, "b": 0.6, "c": 0.5}, TASKS_OF_8)
    every = render(Report(evidence=(analyze(*tables(records)),)), "md")
    assert "Friedman chi2" in every and "Friedman" not in compare_text(records, "a", "b")


# --- the mean over tasks, and what is left out ----------------------------------------------------


def test_the_error_of_a_mean_over_tasks_is_of_seeds_and_examples(tmp_path):
    store = stored(tmp_path / "0", kind="binary")
    for k in range(1, 6):  # the same runs as other tasks
        for one in list(store):
            if one.trial.task == "demo/t":
                copy = replace(one, trial=replace(one.trial, task=f"demo/t{k}"))
                store.append(copy, store.predictions(one.trial.id))
    (found,) = report(list(store), store, Resampler(store, replicates=200)).evidence
    (pair,) = found.suites[0].pairs
    errors = [d.se for d in found.comparisons]
    assert all(d.nested and abs(d.se - d.welch.se) > 1e-6 for d in found.comparisons)
    assert pair.lead.se == pytest.approx(np.sqrt(np.sum(np.square(errors))) / len(errors))


def test_thousands_of_reasons_are_few_words(tmp_path):
    records = [r for k in range(12) for t in TASKS_OF_8 for r in runs(f"m{k}", k / 20, task=t)]
    store = Store(tmp_path)
    for one in records:
        store.append(one)  # without predictions: a reason a model and seed
    found = report(records, store, Resampler(store))
    assert len({d.why_not for e in found.evidence for d in e.comparisons}) > 50
    text = render(found, "md")
    assert max(len(x) for x in text.splitlines() if not x.startswith("|")) < 2500
