"""Records that are odd, of a newer version or damaged: named with path and reason, never fatal."""

import contextlib
import io
import json
import random
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import dnabench

from dnabench import Record
from dnabench.cli.app import main
from dnabench.executors.base import Event
from dnabench.reports.table import tables
from dnabench.results.store import Store
from dnabench.schema import trial_id
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.sweep import _outcome, run
from dnabench.types import Job, Resources

HERE = Path(__file__).parent
GOOD = HERE / "cases" / "store"  # six runs: three of cnn, three of kmer
CASES = sorted((HERE / "cases" / "fault-store").glob("*.json"))  # one record each, mutated
FUTURE = HERE / "record-future.json"
DELETED = object()
VALUES = [
    DELETED, None, True, 0, -1, 1.5, "", "<script>alert(1)</script>", "\ud800", [], [1], [[]], {},
    {"a": 1}, {"a": {}}, 10**30, 10**15, float("nan"), float("inf"), -1e308,
]  # fmt: skip


@pytest.fixture
def out(tmp_path):
    shutil.copytree(GOOD, tmp_path / "runs")
    return tmp_path / "runs"


def said(*words):
    """What a command prints in this process, stderr last; an exception of it fails the test.

    A figure may end with an error in a sentence, as when no run is left for it; the bare text of
    a KeyError is no sentence.
    """
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            main([str(word) for word in words])
        except SystemExit as e:
            sentence = stderr.getvalue().partition("error:")[2].split()
            assert not e.code or (words[0] == "figure" and len(sentence) > 4), (words, sentence)
    return stdout.getvalue() + stderr.getvalue()


def skipped(path, text):
    """The reason in the warning about a file."""
    (line,) = (x for x in text.splitlines() if f"skipped {path}" in x)
    return line.partition("not a record: ")[2]


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_a_record_of_a_wrong_type_is_skipped_with_path_and_reason(case, out):
    path = out / "records" / f"{json.loads(case.read_text())['id']}.json"
    shutil.copy(case, path)
    text = said("report", "--out", out)
    assert " is " in skipped(path, text) and ", not a" in skipped(path, text)
    assert "cnn" in text and "kmer" in text
    said("report", "--out", out, "--format", "html")


def ruin(out):
    """Put every kind of odd file among the good ones; path -> a word of its reason."""
    records = out / "records"
    some = json.loads(next(records.iterdir()).read_text())
    odd = {
        "deep": ("[" * 100_000, "nested"),
        "inside": (json.dumps(some | {"x": nest(400)}), "nested"),
        "list": ("[1, 2]", "schema"), "half": (json.dumps(some)[:300], "Unterminated|Expecting"),
        "other": (json.dumps(some | {"schema": "dnabench.record/7"}), "record/7"),
        "copy of one": (json.dumps(some), "a copy"), "number": ("9" * 5000, "digits|schema"),
        "surrogate": (json.dumps(some | {"error": "\ud800"}), "surrogates"),
        "edited": (json.dumps(some | {"id": "0" * 16}), "its fields give"),
    }  # fmt: skip
    for name, (text, _) in odd.items():
        (records / f"{name}.json").write_text(text)
    (records / "bytes.json").write_bytes(b"\xff\xfe\x00{}")
    (records / "folder.json").mkdir()
    reasons = {name: why for name, (_, why) in odd.items()}
    return {
        records / f"{name}.json": why
        for name, why in {**reasons, "bytes": "decode", "folder": "directory"}.items()
    }


def nest(levels):
    value = 0
    for _ in range(levels):
        value = [value]
    return value


def test_every_kind_of_odd_file_is_named_by_every_command(out, csv, tmp_path):
    run = ["run", "--models", "kmer", "--data", csv, "--seeds", "1", "--out", out]
    table = ["reproduce", "convnova/table13", "--tasks", "nt/h3", "--out", out, "--dry-run"]
    ruined = ruin(out)
    commands = [
        ["report", "--out", out], ["compare", "cnn", "kmer", "--out", out], [*run, "--dry-run"],
        ["figure", "strip", "--out", out, "--to", tmp_path / "f.svg"], run, table,
    ]  # fmt: skip
    for command in commands:
        done = dnabench(*command)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        for path, why in ruined.items():
            if "--dry-run" in command:
                continue  # reads the records that it asks for, and no others
            reason = skipped(path, done.stderr)
            assert any(word in reason for word in why.split("|")), (path, reason)
    assert all(path.exists() for path in ruined)


@pytest.mark.slow
def test_an_odd_record_of_a_trial_that_is_asked_for_runs_again(out, csv):
    words = ["run", "--models", "kmer", "--data", csv, "--seeds", "1", "--out", out]
    assert dnabench(*words).returncode == 0
    (mine,) = set((out / "records").iterdir()) - {out / "records" / p.name for p in RECORDS}
    mine.write_text("[" * 100_000)
    for command in ([*words, "--dry-run"], words):
        done = dnabench(*command)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        assert "missing" in done.stdout or "1 ran" in done.stdout
    assert Record.from_json(mine.read_text()).trial.model == "kmer"


@pytest.mark.slow
def test_a_record_that_this_version_cannot_read_is_kept_when_its_trial_runs_again(csv, tmp_path):
    """A newer version may give a field another type; twice, so that the names differ."""
    out = tmp_path / "runs"
    words = ["run", "--models", "kmer", "--data", csv, "--seeds", "1", "--out", out]
    assert dnabench(*words).returncode == 0
    (mine,) = (out / "records").iterdir()
    predictions = out / "predictions" / f"{mine.stem}.npz"
    for n in (1, 2):
        logits = predictions.read_bytes()
        newer = json.dumps(json.loads(mine.read_text()) | {"seconds": {"training": n}})
        mine.write_text(newer)
        done = dnabench(*words)
        kept = mine.with_name(f"{mine.name}.unreadable-{n}")
        assert done.returncode == 0 and "1 ran" in done.stdout, done.stderr
        assert done.stderr.count("warning: kept ") == 1 and f"kept {kept}: " in done.stderr
        assert predictions.with_name(f"{mine.stem}.npz.unreadable-{n}").read_bytes() == logits
        assert kept.read_text() == newer and Record.from_json(mine.read_text()).scores
    store = Store(out)
    assert len(list(store)) == 1 and not store.unreadable and len(store.kept()) == 2


def test_a_dead_worker_overwrites_no_record_that_this_version_cannot_read(csv, tmp_path):
    store, died = Store(tmp_path / "runs"), Event("died", 0, "RuntimeError: the worker died")
    store.check_writable()
    job = grid(Request(models=["kmer"], data=str(csv), seeds="1"))[0]
    path = store.record_path(job.trial.id)
    path.write_text("of a newer version")
    assert _outcome(died, job, store, Resources()).kind == "failed"
    assert [p.read_text() for p in store.kept()] == ["of a newer version"]
    path.unlink()
    path.mkdir()  # cannot be read, even by root
    refused = _outcome(died, job, store, Resources())
    assert refused.kind == "failed" and str(path) in refused.record.error and path.is_dir()


def test_a_record_file_that_cannot_be_opened_is_named_and_its_trial_does_not_run(csv, tmp_path):
    out = tmp_path / "runs"
    words = ["run", "--models", "kmer", "--data", csv, "--seeds", "2", "--out", out]
    plan = dnabench(*words, "--dry-run").stdout.splitlines()
    held = next(line.split()[2] for line in plan if line.split()[1:2] == ["0"])
    path = out / "records" / f"{held}.json"
    path.mkdir(parents=True)
    done = dnabench(*words)
    assert done.returncode == 1 and "1 ran, 0 already done, 1 failed" in done.stdout, done.stderr
    assert f"cannot read {path}: " in done.stderr and "did not run" in done.stderr
    assert path.is_dir() and not Store(out).kept()
    journal = [
        json.loads(line) for line in next(out.glob("journal-*.jsonl")).read_text().splitlines()
    ]
    assert held not in {line["trial"] for line in journal}


RECORDS = sorted((GOOD / "records").iterdir())


def places(value, at=()):
    """Every place in a JSON value; of a list its ends."""
    yield at
    items = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list) and value:
        items = [(i, value[i]) for i in {0, len(value) - 1}]
    for name, inner in items:
        yield from places(inner, (*at, name))


def mutated(record, rng):
    """One place of a record with another value; half of the trials get the id of their fields."""
    *at, last = rng.choice(list(places(record))[1:])
    inside = record
    for name in at:
        inside = inside[name]
    value = rng.choice(VALUES)
    if value is DELETED:
        del inside[last]
    else:
        inside[last] = value
    if rng.random() < 0.5:
        with contextlib.suppress(Exception):  # fields from which there is no id
            record["id"] = trial_id(record["trial"])
    return record


@pytest.mark.parametrize("seed", range(4))
def test_mutated_records_are_read_or_named_and_no_command_fails(seed, tmp_path):
    """Six mutations at once in each of six stores; a report, and one other command."""
    rng, named, read = random.Random(seed), 0, 0
    for i in range(6):
        out = tmp_path / str(i)
        shutil.copytree(GOOD, out)
        for path in sorted((out / "records").iterdir())[i % 2 :]:
            record = mutated(json.loads(path.read_text()), rng)
            new = path.with_name(f"{record.get('id')}.json")
            path.unlink()
            (new if "/" not in str(record.get("id")) else path).write_text(json.dumps(record))
        store = Store(out)
        left = list(store)
        if not left:
            continue
        text = said("report", "--out", out)
        assert all(skipped(path, text) == why for path, why in store.unreadable.items())
        named, read = named + len(store.unreadable), read + len(left)
        figure = ["figure", rng.choice(["strip", "curves"]), "--to", out / "f.svg"]
        form = ["report", "--format", rng.choice(["html", "csv", "latex", "parquet"])]
        words = rng.choice([figure, [*form, "--to", out / "x"]])
        if words[0] == "report" or len(tables(left)) == 1:
            said(*words, "--out", out)
    assert named >= 5 and read >= 5


HARMS = {
    "cut": lambda p, a: p.write_bytes(p.read_bytes()[:300]),
    "empty": lambda p, a: p.write_bytes(b""),
    "text": lambda p, a: p.write_text("these are no arrays"),
    "folder": lambda p, a: (p.unlink(), p.mkdir()),
    "npy": lambda p, a: (np.save(p.with_suffix(".npy"), 1), p.with_suffix(".npy").rename(p)),
    "nothing": lambda p, a: np.savez(p),
    "labels": lambda p, a: np.savez(p, **a | {"labels": a["labels"][:-1]}),
    "ids": lambda p, a: np.savez(p, **a | {"ids": a["ids"][1:]}),
    "scalar": lambda p, a: np.savez(p, **a | {"labels": np.array(1)}),
    "words": lambda p, a: np.savez(p, **a | {"logits": np.full(a["logits"].shape, "x")}),
    "nan": lambda p, a: np.savez(p, **a | {"logits": a["logits"] * np.nan}),
    "bases": lambda p, a: np.savez(p, **a | {"bases": np.full(len(a["ids"]), -1)}),
    "edited": lambda p, a: np.savez(p, **a | {"logits": -a["logits"]}),
    "objects": lambda p, a: np.savez(p, **a | {"ids": np.array([{}] * 4, object)}),
}


@pytest.mark.parametrize("harm", HARMS)
def test_wrong_predictions_are_named_with_the_reason_and_the_report_goes_on(harm, out):
    path = sorted((out / "predictions").iterdir())[0]
    HARMS[harm](path, Store(out).predictions(path.stem))
    text = said("report", "--full", "--out", out)
    (line, *_) = (x for x in text.splitlines() if str(path) in x)
    assert len(line) > len(str(path)) + 20
    said("compare", "cnn", "kmer", "--out", out)


def test_a_flipped_byte_in_predictions_is_no_traceback(out):
    rng = random.Random(0)
    path = sorted((out / "predictions").iterdir())[0]
    whole = path.read_bytes()
    for _ in range(12):
        harmed = bytearray(whole)
        for _ in range(8):
            harmed[rng.randrange(len(whole))] = rng.randrange(256)
        path.write_bytes(harmed)
        assert "cnn" in said("report", "--out", out)


# Newer versions


def test_a_record_of_a_newer_version_is_read_and_written_back_with_all_its_fields():
    text = FUTURE.read_text()
    record = Record.from_json(text)
    assert record.to_json() == text and Record.from_json(record.to_json()) == record
    assert record.trial.id == json.loads(text)["id"] and record.trial.recipe.optimizer == "muon"
    assert record.unknown["reviewed"] is True and record.task["genome"] == "hg38"
    assert record.unknown["trial"]["recipe"] == {"ema": 0.999, "dropout_schedule": "off"}


def test_a_trial_of_a_newer_version_does_not_run_and_its_error_record_is_readable(tmp_path):
    trial, store = Record.from_json(FUTURE.read_text()).trial, Store(tmp_path / "runs")
    (failed,) = run([Job(trial)], store, Resources(executor="inline")).failed
    assert "needs a newer version of dnabench" in failed.error
    assert "does not know recipe.ema, window, " in failed.error
    (back,) = store
    assert not store.unreadable and back.trial == trial and back.trial.id == trial.id
    assert json.loads(failed.to_json())["trial"]["window"] == {"stride": 3}
    assert json.loads(failed.to_json())["trial"]["recipe"]["ema"] == 0.999
    assert back.to_json() == failed.to_json()


def test_what_a_newer_version_leaves_out_of_its_id_does_not_count_here():
    """`dropout_schedule` has its default there, so the trial is the one without it."""
    trial = Record.from_json(FUTURE.read_text()).trial
    assert trial.unknown == {"window": {"stride": 3}, "recipe.ema": 0.999}
    assert trial_id(asdict(trial)) == trial.id


def test_an_edited_record_of_a_newer_version_is_refused():
    for old, new in (("0.999", "0.9"), ('"stride": 3', '"stride": 4'), ('"seed": 0', '"seed": 1')):
        assert old in FUTURE.read_text()
        with pytest.raises(ValueError, match="its fields give"):
            Record.from_json(FUTURE.read_text().replace(old, new))


def test_runs_that_differ_in_a_field_of_a_newer_version_are_two_columns():
    text = FUTURE.read_text()
    other = json.loads(text)
    other["trial"]["window"] = {"stride": 9}
    flat = {k: v for k, v in other["trial"]["recipe"].items() if k != "dropout_schedule"}
    other["id"] = trial_id({**other["trial"], "recipe": flat})
    (table,) = tables([Record.from_json(text), Record.from_json(json.dumps(other))])
    assert len(table.columns) == 2 and len({c.name for c in table.columns}) == 2


def test_a_store_keeps_and_reports_what_it_does_not_know(out):
    record = Record.from_json(FUTURE.read_text())
    store = Store(out)
    store.append(record)
    assert store.record_path(record.trial.id).read_text() == FUTURE.read_text()
    assert not store.unreadable and record.trial.task in said("report", "--out", out)
