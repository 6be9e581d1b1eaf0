"""`import dnabench as db`: one file from training to export, by command and in Python."""

import csv
import io
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import dnabench, planted_split
from scipy.special import softmax

import dnabench as db
from dnabench import Sequences
from dnabench.executors import EXECUTORS
from dnabench.results.store import Store
from dnabench.train.compiled import keep_artefacts
from dnabench.train.precision import Arithmetic

FLAGS = {"epochs": 2, "seeds": 3, "keep": "best", "executor": "inline"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A CSV of labelled sequences, a FASTA of new ones, and what Python made of the CSV."""
    folder = tmp_path_factory.mktemp("api")
    rows = ["sequence,label,split"]
    for seed, (split, n) in enumerate((("train", 64), ("dev", 24), ("test", 32))):
        part = planted_split(n, seed)
        rows += [f"{part.seqs[i]},{part.y[i]},{split}" for i in range(n)]
    (folder / "motif.csv").write_text("\n".join(rows) + "\n")
    new = planted_split(9, 7).seqs
    (folder / "new.fa").write_text("".join(f">n{i}\n{new[i]}\n" for i in range(9)))
    results = db.run(["kmer", "cnn"], folder / "motif.csv", out=folder / "runs", **FLAGS)
    return folder, results, new


def test_command_and_python_share_engine_and_folder(place):
    folder, results, _ = place
    words = ["--epochs", 2, "--seeds", 3, "--keep", "best", "--executor", "inline"]
    done = dnabench("run", "-m", "kmer,cnn", "--data", folder / "motif.csv", "--out",
                    folder / "runs", *words)  # fmt: skip
    assert "0 ran, 6 already done" in done.stdout and "run again" not in done.stderr
    assert len(results.records) == 6 and not results.failed
    assert repr(results) == f"<Results: 6 trials in {folder / 'runs'}>"


def test_scores_and_curves_are_those_of_the_records(place):
    _, results, _ = place
    scores, curves = results.scores(), results.curves()
    assert isinstance(scores, pd.DataFrame) and len(scores) == 6
    for record in results.records:
        row = scores[scores["trial"] == record.trial.id].iloc[0]
        assert row["score"] == row["mcc"] == record.scores["test"]["mcc"]
        assert row["metric"] == "mcc" and row["seed"] == record.trial.seed
        own = curves[curves["trial"] == record.trial.id]
        assert own["loss"].tolist() == [epoch["loss"] for epoch in record.curve]
        assert own[own["chosen"]]["epoch"].tolist() == [record.best_epoch]
    assert (scores["network"] != "").sum() == 2


def test_scores_leave_out_what_a_report_leaves_out(place, tmp_path):
    folder, results, _ = place
    shutil.copytree(folder / "runs", tmp_path / "runs")
    wrong = next(r for r in results.records if r.trial.model == "cnn")
    path = Store(tmp_path / "runs").record_path(wrong.trial.id)
    changed = replace(wrong, scores={**wrong.scores, "test": {"mcc": 1.0, "accuracy": 1.0}})
    path.write_text(changed.to_json())
    found = db.Results(tmp_path / "runs")
    scores = found.scores()
    row = scores[scores["trial"] == wrong.trial.id].iloc[0]
    assert row["invalid"].startswith("its record says mcc 1.000000, ")
    assert row[["score", "mcc", "accuracy"]].isna().all()
    rest = scores[scores["trial"] != wrong.trial.id]
    assert (rest["invalid"] == "").all() and not rest["score"].isna().any()
    means = scores.groupby(scores["model"].str.split().str[0])["score"].mean().to_dict()
    rows = csv.DictReader(io.StringIO(found.report("csv")))
    shown = {row["model"]: float(row["mean"]) for row in rows if row["metric"] == "mcc"}
    assert means == pytest.approx(shown)


def test_verdicts_and_report_are_those_of_the_command(place):
    folder, results, _ = place
    (row,) = results.verdicts().to_dict("records")
    report = dnabench("report", "--out", folder / "runs", "--format", "md").stdout
    assert {row["a"], row["b"]} == {"kmer", "cnn"} and row["verdict"] in report
    assert row["low"] <= row["difference"] <= row["high"]
    assert results.report("md").strip() == report.strip()
    results.report("html", to=folder / "r.html")
    assert (folder / "r.html").read_text().startswith("<!doctype html>")


def test_from_one_csv_to_predictions_embeddings_and_an_export(place):
    folder, results, new = place
    network = results.best("data/motif", "cnn")
    path = folder / "runs" / "networks" / network.card.record.trial.id
    scores = results.scores()
    assert str(path) in set(scores["network"])

    stored = Store(folder / "runs").predictions(path.name)["logits"]
    rows = pd.read_csv(folder / "motif.csv").query("split == 'test'")
    np.testing.assert_allclose(network.logits(rows["sequence"]), stored, atol=1e-5)

    by_command = dnabench("predict", path, folder / "new.fa").stdout
    table = db.load_network(path).predict(new, ids=[f"n{i}" for i in range(9)])
    found = list(csv.DictReader(io.StringIO(by_command)))
    assert [row["id"] for row in found] == table["id"].tolist()
    assert [row["class"] for row in found] == table["class"].tolist()
    np.testing.assert_allclose([float(row["p_1"]) for row in found], table["p_1"], atol=1e-5)

    done = dnabench("embed", path, folder / "new.fa", "--to", folder / "new.parquet")
    assert done.returncode == 0, done.stderr
    features = pd.read_parquet(folder / "new.parquet")
    assert features["id"].tolist() == table["id"].tolist()
    np.testing.assert_allclose(
        features.drop(columns="id"), db.embed(path, folder / "new.fa"), atol=1e-6
    )

    assert list(features) == ["id", *(f"e{i}" for i in range(features.shape[1] - 1))]
    assert np.isfinite(features.drop(columns="id")).all(axis=None)  # what UMAP takes

    done = dnabench("export", path, "--format", "torch-export")
    assert done.returncode == 0 and (path / "model.pt2").is_file(), done.stderr
    made = db.export(network, folder / "own.pt2", format="torch-export")
    assert made.path == folder / "own.pt2" and made.difference < 1e-5
    assert db.export(path, format="torch-export").path == path / "model.pt2"
    with pytest.raises(ValueError, match=r"say where to, to=\.\.\."):
        db.export(network)
    ids = torch.from_numpy(network.tokenizer(Sequences.parse(rows["sequence"]), 60, "mask").ids)
    for file in (path / "model.pt2", made.path):
        program = torch.export.load(file).module()
        found = program(ids.long(), torch.ones(ids.shape)).detach()
        np.testing.assert_allclose(found, stored, atol=1e-5)


def test_predictions_by_command_are_the_stored_ones(place):
    folder, results, _ = place
    trial = results.best("data/motif", "cnn").card.record.trial
    path = folder / "runs" / "networks" / trial.id
    rows = pd.read_csv(folder / "motif.csv").query("split == 'test'")
    rows.drop(columns="label").to_csv(folder / "test.csv", index=False)
    done = dnabench("predict", path, folder / "test.csv", "--to", folder / "test.parquet")
    assert done.returncode == 0, done.stderr
    stored = Store(folder / "runs").predictions(path.name)["logits"]
    found = pd.read_parquet(folder / "test.parquet")[["p_0", "p_1"]]
    np.testing.assert_allclose(found, softmax(stored, axis=1), atol=1e-5)


def test_names_and_flags_that_do_not_exist_are_refused(place):
    folder, results, _ = place
    with pytest.raises(TypeError, match=r"run\(\) has no 'epoch'; there are set, "):
        db.run("kmer", folder / "motif.csv", epoch=2)
    with pytest.raises(KeyError, match="no model named 'kmre'; did you mean kmer"):
        db.run("kmre", folder / "motif.csv", out=folder / "x")
    with pytest.raises(ValueError, match="--device 'cuda:9' cannot be used here"):
        db.run("kmer", folder / "motif.csv", out=folder / "x", device="cuda:9")
    with pytest.raises(KeyError, match="no trial of a model on data/other"):
        results.best("data/other")
    with pytest.raises(ValueError, match="write no, best or all"):
        db.run("kmer", folder / "motif.csv", out=folder / "x", keep="some")
    with pytest.raises(ValueError, match="2 ids for 1 sequences"):
        results.best("data/motif", "cnn").predict(["ACGT" * 15], ids=["a", "b"])


def test_one_bare_string_is_no_list_of_sequences(place):
    network = place[1].best("data/motif", "cnn")
    for call in (network.logits, network.predict, lambda s: db.embed("convnova-386k", s)):
        with pytest.raises(ValueError, match="'ACGTACGT' is one string, of which every letter"):
            call("ACGTACGT")


def test_the_best_of_scores_that_cannot_be_compared_is_refused(place, tmp_path):
    folder, *_ = place
    flags = {**FLAGS, "seeds": 1, "epochs": 1}
    db.run("cnn", folder / "motif.csv", out=tmp_path, **flags)
    db.run("cnn", folder / "motif.csv", out=tmp_path, limit=40, **flags)
    with pytest.raises(
        ValueError, match=r"several protocols, metrics or limits .*limit none; .*40"
    ):
        db.Results(tmp_path).best("data/motif")


def test_a_file_that_changed_since_an_earlier_call_is_read_again(tmp_path):
    """As in a notebook; the results were those of the file as it was."""
    path, flags = tmp_path / "my.csv", {"seeds": 1, "executor": "inline", "out": tmp_path / "runs"}

    def results(seed):
        part = planted_split(120, seed)
        rows = [f"{part.seqs[i]},{part.y[i]}" for i in range(len(part.y))]
        path.write_text("\n".join(["sequence,label", *rows]) + "\n")
        return db.run("kmer", path, **flags)

    first, second, again = (results(seed).records for seed in (0, 1, 0))
    assert len(first) == len(second) == 1 and first == again
    assert first[0].trial.id != second[0].trial.id and first[0].scores != second[0].scores


def test_results_of_a_folder_that_the_command_line_filled(place):
    folder, results, _ = place
    every = db.Results(folder / "runs")
    assert sorted(every.scores()["trial"]) == sorted(results.scores()["trial"])
    with pytest.raises(ValueError, match="no finished trials"):
        db.Results(folder / "none").verdicts()


def test_importing_dnabench_is_light_and_its_names_are_complete():
    code = (
        "import sys, dnabench as db\n"
        "heavy = [m for m in ('torch', 'pandas', 'pyarrow', 'dnabench.api') if m in sys.modules]\n"
        "print(heavy, all(hasattr(db, name) for name in db.__all__), 'run' in dir(db))\n"
        "print([hasattr(db, 'nothing')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[] True True", "[False]"]


@pytest.mark.slow
def test_a_notebook_shows_progress(place, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    folder, *_ = place
    monkeypatch.setenv("DNABENCH_CACHE", str(folder / "cache"))
    cell = (
        "import dnabench as db\n"
        f"db.run(['kmer'], {str(folder / 'motif.csv')!r}, seeds=2, executor='inline',\n"
        f"       out={str(folder / 'notebook')!r}).scores()"
    )
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    NotebookClient(book, kernel_name="python3").execute()
    *shown, table = [one["data"] for one in book.cells[0].outputs if "data" in one]
    lines = [one["text/plain"] for one in shown]
    assert [line[: line.index(":")] for line in lines] == [
        f"[{i}/2] kmer data/motif seed {i - 1}" for i in (1, 2)
    ]
    assert "<table" in table["text/html"]


def test_tables_of_failures_alone_have_the_columns_of_others(place, tmp_path):
    results, none = place[1], db.Results(tmp_path / "empty")
    for table, empty in (
        (results.scores(), none.scores()), (results.curves(), none.curves())
    ):  # fmt: skip
        assert len(empty) == 0 and len(empty.columns) >= 11
        assert list(empty.columns) == list(table.columns)[: len(empty.columns)]


def test_runs_in_this_process_leave_nothing_to_the_next(place, tmp_path):
    data = place[0] / "motif.csv"
    flags = {"seeds": 1, "epochs": 1, "executor": "inline", "device": "cpu"}
    before, found = torch.get_num_threads(), []
    try:
        torch.set_num_threads(2)
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(5)
        drawn = torch.rand(3)
        torch.manual_seed(5)
        variables = {**os.environ}
        for i, strict in enumerate((False, True, False)):
            out = tmp_path / str(i)
            ran = db.run(["convnova-386k"], data, out=out, deterministic=strict, **flags)
            assert torch.get_num_threads() == 2
            assert not torch.are_deterministic_algorithms_enabled()
            assert torch.get_default_dtype() == torch.float64
            found += ran.records
        assert torch.equal(torch.rand(3), drawn) and {**os.environ} == variables
    finally:
        torch.set_num_threads(before)
        torch.set_default_dtype(torch.float32)
    assert [r.where.get("deterministic", False) for r in found] == [False, True, False]
    forms = [r.where["convolution"] for r in found]
    assert forms[1] == {"all that can": "direct"} and "all that can" not in {**forms[0], **forms[2]}
    np.testing.assert_allclose(
        [r.curve[0]["loss"] for r in found], found[0].curve[0]["loss"], rtol=1e-4
    )


def test_trials_on_cuda_leave_no_variable_to_later_workers(monkeypatch, tmp_path):
    found, name, compiled = [], "CUBLAS_WORKSPACE_CONFIG", "TORCHINDUCTOR_CACHE_DIR"
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path))
    monkeypatch.delenv(compiled, raising=False)

    def work(job, progress):
        Arithmetic("fp32", "cuda", deterministic=True)
        keep_artefacts()
        assert os.environ[compiled].startswith(str(tmp_path))
        found.append(os.environ[name])

    for given, left in ((None, None), (":16:8", ":16:8")):
        monkeypatch.delenv(name, raising=False)
        if given:
            monkeypatch.setenv(name, given)
        inline = EXECUTORS["inline"](work)
        events = [event.kind for event in inline.events(inline.submit(["job"]))]
        assert events == ["started", "returned"] and os.environ.get(name) == left
        assert compiled not in os.environ
    assert found == [":4096:8", ":16:8"]


def test_a_job_that_breaks_a_gpu_inline_is_a_failed_job_not_the_end(monkeypatch):
    def broken(states):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.get_rng_state_all", lambda: ["state"])
    monkeypatch.setattr("torch.cuda.set_rng_state_all", broken)

    def work(job, progress):
        raise RuntimeError("CUDA error: device-side assert triggered")

    inline = EXECUTORS["inline"](work)
    events = [event.kind for event in inline.events(inline.submit(["first", "second"]))]
    assert events == ["started", "died", "started", "died"]
