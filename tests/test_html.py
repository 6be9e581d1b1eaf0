"""The HTML report: what its page says, in a real browser; it is alone, safe and small."""

import json
import random
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from browser import executable

from dnabench.reports.analysis import analyze
from dnabench.reports.evidence import Report
from dnabench.reports.grid import Grid
from dnabench.reports.table import tables
from dnabench.reports.text import html
from dnabench.reports.text.html import flags
from dnabench.results.store import Store
from dnabench.types import Recipe, Record, Trial

NASTY = "m&<b>x</b>\"'</script><script>window.owned=1</script><!--"
MEANS = {"kmer": 0.60, "net": 0.71, "wide": 0.705, "deep": 0.80}
TASKS = {"histone": ("s/h3", "s/h4", "s/h10"), "promoter": ("s/p1", "s/p2"), "splice": ("s/x",)}


def record(model="net", task="s/h3", seed=0, score=0.5, family="", protocol="honest/1", **other):
    """A record as run.py makes them."""
    trial = Trial(
        model=model, options=other.pop("options", {}), regime="scratch", task=task, data="d" * 16,
        protocol=protocol, recipe=other.pop("recipe", Recipe()), seed=seed,
    )  # fmt: skip
    curve = [{"epoch": e, "loss": 1 / e, "val": {"mcc": score - 0.1 / e}} for e in range(1, 7)]
    fields = {
        "scores": {"test": {"mcc": score}}, "curve": curve, "best_epoch": 6,
        "n_params": 1000 * (1 + len(model)), "seconds": 2.0 * len(model),
        "task": {"metric": "mcc", "family": family, "n_test": 400}, "where": {"python": "3.11.7"},
    }  # fmt: skip
    return Record(trial=trial, **fields | other)


def grid(means=MEANS, families=TASKS, seeds=6, **other):
    """Every model on every task, the spread of seeds 0.01."""
    rng = random.Random(0)
    return [
        record(m, t, s, mean + 0.03 * k + rng.gauss(0, 0.01), f, **other)
        for m, mean in means.items()
        for f, tasks in families.items()
        for k, t in enumerate(tasks)
        for s in range(seeds)
    ]


def analyzed(records):
    return [analyze(table) for table in tables(records)]


def page(evidence, **other):
    return html.page(Report(evidence=tuple(evidence), **other))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store on disk with failures, collapsed runs and a nasty name; its page as a file."""
    folder = tmp_path_factory.mktemp("html")
    store = Store(folder / "runs")
    records = grid()
    records[0] = replace(records[0], flags={"collapsed": True})
    records += [replace(records[-1], trial=replace(records[-1].trial, seed=99), scores={}, task={},
                        error=f"Traceback\nValueError: {NASTY}")]  # fmt: skip
    records += grid({NASTY: 0.5}, {NASTY: ("s/h3",)}, 2, protocol="test-selected/1")
    for one in records:
        store.append(one)
    path = folder / "report.html"
    first, second = analyzed(store)
    second = replace(second, sections=(Grid("More", ["a", "b"], [[NASTY, "1"]], [NASTY]),))
    path.write_text(page([first, second], commands=(f"run -m '{NASTY}'",)), encoding="utf-8")
    return path


@pytest.fixture
def opened(chromium, stored):
    """A function that opens the page; at the end nothing was asked for and nothing complained."""
    asked, said, contexts = [], [], []

    def open_(path=stored, **options):
        contexts.append(chromium.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("request", lambda r: asked.append(r.url))
        tab.on("console", lambda m: said.append(m.text))
        tab.on("pageerror", lambda e: said.append(str(e)))
        tab.goto(path.as_uri())
        asked.remove(path.as_uri())
        return tab

    yield open_
    for one in contexts:
        one.close()
    assert not asked and not said


# --- what it says --------------------------------------------------------------------------------


def test_sections_in_order_and_nothing_empty(opened):
    tab = opened()
    assert [x.inner_text() for x in tab.query_selector_all("#t1 h3")] == [
        "Scores", "Summary", "Across tasks", "Individual runs", "Training curves", "Tests",
        "Failures and flags", "Provenance",
    ]  # fmt: skip
    heads = tab.query_selector_all("h2")
    assert [x.evaluate("e => e.firstChild.textContent.trim()") for x in heads] == [
        "honest/1", "test-selected/1", "More: test-selected/1", "Commands",
    ]  # fmt: skip
    # one model: nothing to compare, no tests, no matrix
    assert tab.query_selector("#t2-tests") is None and tab.query_selector("#t2 .matrix") is None
    assert "TEST-SELECTED" in tab.inner_text("#t2 .watermark")
    assert tab.query_selector("#t1 .watermark") is None


def test_no_records_is_a_page_too(opened, tmp_path):
    (tmp_path / "none.html").write_text(page([]), encoding="utf-8")
    assert "nothing has been run yet" in opened(tmp_path / "none.html").inner_text("body")


def test_the_matrix_counts_the_verdicts(opened):
    tab = opened()
    (evidence,) = analyzed(grid())
    place = {c.name: i for i, c in enumerate(evidence.table.columns)}
    heads = [x.inner_text() for x in tab.query_selector_all("#t1 .matrix thead th")]
    assert heads[0] == "deep" and heads[-1] == "kmer"  # by average rank
    for line in tab.query_selector_all("#t1 .matrix tbody tr"):
        who = line.query_selector("th").inner_text()
        for rival, cell in zip(heads, line.query_selector_all("td"), strict=True):
            if rival == who:
                continue
            won = lost = undecided = 0
            for d in evidence.comparisons:
                if {d.i, d.j} == {place[who], place[rival]}:
                    word = d.verdict if d.i == place[who] else {"win": "loss", "loss": "win"}.get(
                        d.verdict, d.verdict)  # fmt: skip
                    won, lost = won + (word == "win"), lost + (word == "loss")
                    undecided += word not in ("win", "loss")
            shown = re.findall(r"\d+", cell.query_selector(".tally").inner_text())
            assert [int(x) for x in shown] == [won, lost, undecided], (who, rival)


def test_every_seed_is_a_dot(opened):
    tab = opened()
    panel = tab.query_selector('#t1-runs .picture[data-row="s/h3"] svg')
    assert len(panel.query_selector_all('[data-column="1"] use')) == 6 + 1  # and the mean
    assert "net 0.7" in panel.get_attribute("aria-label")


def test_remarks_appear_once_and_many_are_folded(opened, tmp_path):
    (evidence,) = analyzed(grid(seeds=2))
    remarks = ["the same", *(f"{NASTY} {i}" for i in range(12)), "the same"]
    path = tmp_path / "remarks.html"
    path.write_text(page([replace(evidence, remarks=tuple(remarks))]), encoding="utf-8")
    tab = opened(path)
    said = tab.locator("#t1-words .remarks li")
    assert said.count() == 13 and said.first.inner_text() == "the same (2 times)"
    assert [x.is_visible() for x in said.all()] == [True] * 8 + [False] * 5


def test_equal_flags_are_joined():
    raised = [{"collapsed": True}, {"collapsed": False, "micro_batch": 16}, {"micro_batch": 8}]
    raised += [{"ambiguous_letters": {"train": 0, "test": 3}}, {"ambiguous_letters": {"train": 0}}]
    raised += [{"strand_flips": 0.1}]  # beside calibration
    records = [record(seed=i, flags=f) for i, f in enumerate(raised)]
    (table,) = tables(records)
    assert flags(table) == [
        "collapsed: 1 run of net on s/h3", "micro batch 8 to 16: 2 runs of net on s/h3",
        "ambiguous letters: 1 run of net on s/h3",
    ]  # fmt: skip


def test_pairs_that_were_not_compared_say_so(opened, tmp_path):
    (table,) = tables(grid(seeds=2))
    path = tmp_path / "against.html"
    path.write_text(page([analyze(table, pairs=[(0, 1), (0, 2), (0, 3)])]), encoding="utf-8")
    cells = opened(path).locator("#t1 .matrix td.self").all_inner_texts()
    assert cells.count("·") == 4 and cells.count("not compared") == 6


def test_names_cannot_become_markup(opened):
    tab = opened()
    assert tab.evaluate("window.owned") is None
    text = tab.inner_text("body")
    assert f"ValueError: {NASTY}" in text and f"run -m '{NASTY}'" in text
    assert tab.inner_text("#t2 .main thead th:last-child").startswith(NASTY)
    assert tab.query_selector("main b b") is None
    assert tab.locator("script").count() == 1


def test_a_script_that_slipped_in_would_not_run(chromium, stored, tmp_path):
    path = tmp_path / "spoilt.html"
    text = stored.read_text(encoding="utf-8")
    path.write_text(text.replace("<main>", "<main><script>window.owned = 1</script>"))
    tab = chromium.new_page()
    tab.goto(path.as_uri())
    assert tab.evaluate("window.owned") is None and not tab.is_hidden("#t1 form.filters")
    tab.close()


# --- bytes and time ------------------------------------------------------------------------------


def test_same_records_same_bytes_and_no_address():
    records = grid({"kmer": 0.6, "net": 0.7}, {"f": ("s/a", "s/b")}, 3)
    text = page(analyzed(records))
    assert text == page(analyzed(records))
    assert not re.search(r"https?://|url\(\s*['\"]?(?!#)|@import|#010[23]", text)


def test_eight_models_on_18_tasks_stay_below_3_mb():
    families = {f"f{i}": tuple(f"nt/task_{i}_{k}" for k in range(6)) for i in range(3)}
    models = {f"model-{i}": 0.5 + 0.02 * i for i in range(8)}
    evidence = analyzed(grid(models, families, 10))
    start = time.process_time()
    text = page(evidence)
    assert time.process_time() - start < 30  # about 3 s
    assert len(text.encode()) < 3e6  # about 0.9 MB
    pictures = sum(map(len, re.findall(r"(?s)<svg role.*?</svg>", text)))
    assert pictures < 1.5e6


def test_audits_have_their_section():
    from dnabench.tasks.audit.audit import audit
    from dnabench.types import Sequences, Split, Task

    def load(split):
        seqs = ["ACGTTGCAACGTAGGCTAAC" * 3, "GGCATTACGATCGATTTACA" * 3][: 1 + (split == "train")]
        y = np.arange(len(seqs)) % 2
        return Split(Sequences.parse(seqs), y, np.arange(len(seqs)).astype(str))

    task = Task(
        name="s/h3", kind="binary", classes=("0", "1"), metric="mcc", length=60,
        counts={"train": 2, "test": 1}, data="d" * 16, load=load, source="made here", license="-",
    )  # fmt: skip
    document = json.loads(audit(task).to_json())
    text = page([], audits=(document,))
    assert "Data audit" in text and "<h3>s/h3</h3>" in text
    assert "1 of 1 test examples (100.0%) have a copy in train" in text
    assert "Data audit" not in page([])


def test_a_chromium_is_looked_for_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv("DNABENCH_CHROMIUM", "/opt/mine")
    assert executable() == "/opt/mine"
    monkeypatch.delenv("DNABENCH_CHROMIUM")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert executable() is None
