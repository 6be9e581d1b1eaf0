"""What a report tells of searches: all of them, task by task, and whether they were equal."""

import json
import os
import re
import shutil
import signal
import threading
import time
from dataclasses import replace

import pytest
from conftest import dnabench
from test_pretraining import training

import dnabench as db
from dnabench.pretraining.pretrain import pretrain
from dnabench.registry import MODELS
from dnabench.reports.report import report
from dnabench.reports.resampling import Resampler
from dnabench.reports.text.latex import latex
from dnabench.reports.text.overview import overview
from dnabench.results.searches import different, save_search, searches
from dnabench.results.store import Store
from dnabench.sweep.own_spaces import space_of

SPLICE, CELLS = "demo/splice_junctions", "demo/cell_type"
QUICK = {"limit": 60, "epochs": 1, "executor": "inline"}
FIRST, SECOND = "k_min=3 k_max=4", "k_min=4 k_max=6"  # what search seeds 0 and 2 choose


def evidence_of(folder):
    store = Store(folder)
    (evidence,) = report(list(store), store, Resampler(store)).evidence
    return evidence


def tuning_of(evidence):
    """Remarks on tuning, and the section of default against tuned."""
    said = [x for x in evidence.remarks if any(w in x for w in ("tun", "search", "space"))]
    (section,) = (s for s in evidence.sections if s.title == "Default against tuned")
    return said, section


def tune(folder, models, tasks=SPLICE, budget=2, **more):
    return db.tune(
        models, tasks=tasks, out=folder, **QUICK, **{"seeds": 2, "budget": budget} | more
    )


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """kmer searched from two search seeds, cnn from one of them."""
    folder = tmp_path_factory.mktemp("twice")
    tune(folder, "kmer,cnn", budget=3)
    tune(folder, "kmer", budget=3, search_seed=2)
    return folder


def test_all_searches_of_a_model_are_counted_and_named(twice):
    first, second = searches(Store(twice))
    kmer = [choice for s in (first, second) for choice in s.choices if choice.model == "kmer"]
    assert [" ".join(c.best.settings) for c in kmer] == [FIRST, SECOND]
    n = different(kmer, SPLICE)
    assert n == len({c.settings for choice in kmer for c in choice.candidates}) == 5
    said, section = tuning_of(evidence_of(twice))
    line = next(row for row in section.rows if row[1] == "kmer")
    assert line[2] == "3 (5 in 2 searches)" and line[3] == SECOND
    note = section.notes[0]
    assert f"kmer was searched more than once on {SPLICE}: 5 different configurations" in note
    assert f"that of 3 configurations (random, search seed 0) chose {FIRST}" in note
    assert any("budgets of tuning differ: 3 configurations for cnn; 5 configurations in 2 searches "
               "for kmer" in x for x in said)  # fmt: skip


def test_what_an_earlier_search_chose_and_tested_is_told(twice):
    evidence = evidence_of(twice)
    names = [c.name for c in evidence.table.columns if c.model == "kmer"]
    assert "kmer tuned" in names and len(names) == 3  # default, tuned, and the earlier choice
    said, _ = tuning_of(evidence)
    (told,) = (x for x in said if "no untuned model" in x)
    assert told.startswith(f"kmer with {FIRST} is") and "random, search seed 0" in told


def test_a_larger_budget_counts_what_the_smaller_one_tried_once(tmp_path):
    tune(tmp_path, "kmer,cnn")
    tune(tmp_path, "kmer,cnn", budget=4)
    said, section = tuning_of(evidence_of(tmp_path))
    assert [row[2] for row in section.rows] == ["4 (4 in 2 searches)"] * 2
    assert not any("differ" in x for x in said)


def test_a_search_of_an_older_version_is_counted_by_its_settings(tmp_path):
    tune(tmp_path, "kmer,cnn")
    (old,) = (tmp_path / "tuning").glob("*.json")
    kept = json.loads(old.read_text())
    for candidate in (c for choice in kept["choices"] for c in choice["candidates"]):
        del candidate["same"]
    old.write_text(json.dumps(kept))
    tune(tmp_path, "cnn", budget=3)
    tune(tmp_path, "kmer", budget=3)
    kmer = [c for s in searches(Store(tmp_path)) for c in s.choices if c.model == "kmer"]
    assert different(kmer, SPLICE) == 3
    said, section = tuning_of(evidence_of(tmp_path))
    assert [row[2] for row in section.rows] == ["3 (3 in 2 searches)"] * 2
    assert not any("budgets" in x for x in said)


def test_the_newest_search_alone_is_the_tuned_column(tmp_path):
    """Though its default is another one, and it ran fewer seeds."""
    first = tune(tmp_path, "kmer", budget=3, seeds=3).search
    second = tune(tmp_path, "kmer", budget=3, search_seed=2, set="kmer.k_min=4").search
    (old,), (new,) = first.choices, second.choices
    assert old.best is not old.default and new.best is not new.default
    evidence = evidence_of(tmp_path)
    column = [c.name for c in evidence.table.columns].index("kmer tuned")
    runs = {r.trial.id for row in evidence.table.rows for r in row.cells[column].runs}
    assert runs == {*new.final.values()}


def test_a_column_that_the_newest_search_took_away_is_explained(twice, tmp_path):
    folder = shutil.copytree(twice, tmp_path / "runs")
    newest = searches(Store(folder))[-1]
    default = [replace(c, chosen=0, final={i: i for i in c.final}) for c in newest.choices]
    save_search(Store(folder), replace(newest, search_seed=9, choices=tuple(default)))
    done = dnabench("compare", "kmer tuned", "cnn", "--out", folder)
    assert "its newest search chose the default on every task" in done.stderr


def test_final_runs_of_the_newest_search_that_are_missing_are_told(twice, tmp_path):
    folder = shutil.copytree(twice, tmp_path / "runs")
    (choice,) = searches(Store(folder))[-1].choices
    for trial_id in {*choice.final.values()} - {*choice.final}:
        Store(folder).record_path(trial_id).unlink()
    evidence = evidence_of(folder)
    assert "kmer tuned" not in [c.name for c in evidence.table.columns]
    assert any(x.startswith("2 of 4 final runs of kmer have no record (2 of what was chosen)")
               and "tune` again" in x for x in evidence.remarks)  # fmt: skip
    assert not any("final run" in x for x in evidence_of(twice).remarks)


def test_what_was_tested_is_shown_though_its_default_is_missing(twice, tmp_path):
    folder = shutil.copytree(twice, tmp_path / "runs")
    (choice,) = searches(Store(folder))[-1].choices
    for trial_id in choice.final:
        Store(folder).record_path(trial_id).unlink()
    evidence = evidence_of(folder)
    (column,) = (k for k, c in enumerate(evidence.table.columns) if c.name == "kmer tuned")
    runs = {r.trial.id for row in evidence.table.rows for r in row.cells[column].runs}
    assert runs == {*choice.final.values()}
    assert any(x.startswith("2 of 4 final runs of kmer have no record (2 of its default)")
               and "tune` again" in x for x in evidence.remarks)  # fmt: skip
    _, section = tuning_of(evidence)
    line = next(row for row in section.rows if row[1] == "kmer")
    assert line[3] == SECOND and line[-1] == "not compared"


def test_a_model_that_was_tuned_on_one_task_is_untuned_on_another(tmp_path):
    db.run("kmer,cnn", tasks=[SPLICE, CELLS], seeds=2, out=tmp_path, **QUICK)
    tune(tmp_path, "cnn")
    tune(tmp_path, "kmer", CELLS)
    said, _ = tuning_of(evidence_of(tmp_path))
    assert any(x.startswith(f"on {SPLICE}: cnn was tuned and kmer not") for x in said)
    assert any(x.startswith(f"on {CELLS}: kmer was tuned and cnn not") for x in said)


def test_unequal_budgets_seeds_kinds_and_spaces_are_flagged(tmp_path):
    tune(tmp_path / "a", "kmer,cnn", [SPLICE, CELLS], tuning_seeds=1)
    said, _ = tuning_of(evidence_of(tmp_path / "a"))
    assert not said
    more = {"tuning_seeds": 2, "search": "grid", "budget": 3}
    tune(tmp_path / "a", "cnn", space=["batch=one:16,32"],
         set=["cnn.lr=0.001", "cnn.weight_decay=0.01"], **more)  # fmt: skip
    said, _ = tuning_of(evidence_of(tmp_path / "a"))
    for text in (
        f"on {SPLICE}: budgets of tuning differ: 2 configurations for kmer; 5 configurations in 2",
        f"on {SPLICE}: kinds of search differ: random for kmer; random and grid for cnn",
        f"on {SPLICE}: numbers of tuning seeds differ: 1 for kmer; 1 and 2 for cnn",
    ):
        assert any(x.startswith(text) for x in said), (text, said)
    assert not any("by hand" in x for x in said)  # kmer has no batch


def test_a_space_given_by_hand_is_compared_with_that_of_other_models(tmp_path):
    usual, one = space_of(MODELS["legnet"])["lr"], {"tuning_seeds": 1, "seeds": 1}
    tune(tmp_path, "legnet", **one)
    tune(tmp_path, "cnn", space=f"cnn.lr={usual}", **one)
    said, _ = tuning_of(evidence_of(tmp_path))
    assert not said
    tune(tmp_path, "cnn", space="cnn.lr=log:1e-4..1e-3", **one)
    said, _ = tuning_of(evidence_of(tmp_path))
    assert any(x.startswith("a space was given by hand for cnn (lr=log:1e-4..1e-3) and not")
               for x in said)  # fmt: skip


def test_a_space_that_is_given_to_all_models_that_have_it_is_equal(tmp_path):
    tune(tmp_path, "cnn,legnet", space="lr=log:1e-4..1e-3", tuning_seeds=1)
    said, _ = tuning_of(evidence_of(tmp_path))
    assert not said


def test_what_an_unfinished_search_tried_is_told(twice, tmp_path):
    folder = shutil.copytree(twice, tmp_path / "runs")
    (newest,) = [s for s in searches(Store(folder)) if s.search_seed == 2]
    (folder / "tuning" / f"{newest.id}.json").unlink()
    said, _ = tuning_of(evidence_of(folder))
    told = f"2 configurations of kmer on {SPLICE} were tried by a search that has not chosen"
    assert any(x.startswith(told) for x in said)
    for words in ([], ["--full"]):
        shown = dnabench("report", "--out", folder, *words)
        assert told in " ".join(shown.stdout.split()), shown.stderr


def test_a_folder_with_nothing_but_trials_of_tuning_says_so(twice, tmp_path):
    folder = shutil.copytree(twice, tmp_path / "runs")
    for record in [r for r in Store(folder) if not r.trial.tuning]:
        Store(folder).record_path(record.trial.id).unlink()
    done = dnabench("report", "--out", folder)
    assert done.returncode and "only trials of tuning" in done.stderr
    assert "run their `dnabench tune` again" in done.stderr


def test_a_paper_and_the_first_screen_tell_of_tuning(twice, tmp_path):
    store = Store(twice)
    shown = report(list(store), store, Resampler(store))
    (evidence,) = shown.evidence
    captions = [line for line in latex(shown.evidence).splitlines() if "caption{" in line]
    (scores,) = (line for line in captions if "Metric:" in line)
    plain = scores.replace("\\_", "_")
    assert "Budget: 3 configurations of each model" in plain and "Final seeds: 0, 1." in plain
    assert "Spaces: kmer: k_max=int:4..7" in plain and "5 different configurations" in plain
    first = " ".join(overview(shown, twice).split())
    assert f" {evidence.tuned} " in first and evidence.tuned == (
        "tuned: 5 configurations in 2 searches or 3 configurations each, chosen on validation; see "
        "--full"
    )
    db.run("kmer", tasks=SPLICE, seeds=1, out=tmp_path, **QUICK)
    plain = Store(tmp_path)
    shown = report(list(plain), plain, Resampler(plain))
    assert not shown.evidence[0].tuned and "Budget:" not in latex(shown.evidence)


def test_what_a_pretraining_took_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))
    pretrain(training(tmp_path, steps=2, looks=1), tmp_path / "net")
    card = json.loads((tmp_path / "net" / "network.json").read_text())
    tuned = tune(
        tmp_path / "runs", "convnova-386k", regime=f"checkpoint:{tmp_path / 'net'}", seeds=1,
        tuning_seeds=1, set=["width=8", "blocks=2", "kernel_size=3"],
    )  # fmt: skip
    (took,) = tuned.search.pretraining.values()
    assert took == {"bp": card["bp"], "seconds": card["seconds"]} and took["bp"] == 480
    assert searches(Store(tmp_path / "runs")) == [tuned.search]
    _, section = tuning_of(evidence_of(tmp_path / "runs"))
    assert "not counted: checkpoint:net read 0.00048 Mbp in " in section.notes[0]
    assert "minutes. Chosen:" in section.notes[0]


@pytest.mark.parametrize(
    ("flags", "says"),
    [(["--budget-hours", "2"], "4 h for the search itself, 2 h for each of 2 choices"),
     (["--budget-flops", "1e12"], "2e+12 FLOP for the search itself, 1e+12 for each of 2 choices"),
     (["--search", "tpe", "--budget", "5"], "4 other configurations for each of 2 choices")],
)  # fmt: skip
def test_a_dry_run_says_what_the_search_itself_takes(flags, says, tmp_path):
    pytest.importorskip("optuna")
    done = dnabench("tune", "-m", "cnn", "-t", f"{SPLICE},{CELLS}", "--limit", "60", "--epochs",
                    "1", "--out", tmp_path, "--dry-run", "--jobs", "1", *flags)  # fmt: skip
    assert says in done.stdout, done.stderr
    lines = done.stdout.splitlines()
    (memory,) = (line for line in lines if line.startswith("memory: "))  # as `dnabench plan` has it
    assert re.fullmatch(r"memory: (.*) for the largest trial, \1 for 1 at once; .*", memory)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_search_that_is_stopped_while_it_tests_is_told(tmp_path):
    over = threading.Event()

    def stop():  # by Ctrl-C, after the first record that read test
        while len([*(tmp_path / "records").glob("*.json")]) < 3:
            time.sleep(0.01)
        while not over.is_set():  # Python loses one that meets the callback of a weak reference
            os.kill(os.getpid(), signal.SIGINT)
            over.wait(2)

    watching = threading.Thread(target=stop, daemon=True)
    watching.start()
    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path, "cnn", tuning_seeds=1, seeds=60)
    over.set()
    watching.join()
    store = Store(tmp_path)
    assert 0 < sum(not r.trial.tuning for r in store) < 60
    (search,) = searches(store)
    evidence = evidence_of(tmp_path)
    assert evidence.tuned and not any("has not chosen" in x for x in evidence.remarks)
    assert tune(tmp_path, "cnn", tuning_seeds=1, seeds=1).search.id == search.id
    assert len(searches(store)) == 1
