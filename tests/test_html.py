"""The HTML report in a real browser: it is alone, sorts, filters, fits a phone, prints."""

import json
import random
import re
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from browser import chromium, executable  # noqa: F401  a fixture

from dnabench.reports.analysis import analyze
from dnabench.reports.evidence import Interval, Report
from dnabench.reports.grid import Grid
from dnabench.reports.table import tables
from dnabench.reports.text import html
from dnabench.reports.text.html import flags
from dnabench.reports.text.summary import summary, summary_sentences
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
def opened(chromium, stored):  # noqa: F811
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


def names(tab, query="#t1 .main tbody tr[data-row]"):
    """Tasks that are shown, from the top."""
    return [x.get_attribute("data-row") for x in tab.query_selector_all(query) if x.is_visible()]


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


def box(tab, query):
    return tab.query_selector(query).bounding_box()


def test_the_first_screen_has_verdict_table_and_picture(opened, tmp_path):
    path = tmp_path / "first.html"
    path.write_text(page(analyzed(grid()), date="2026-11-28"), encoding="utf-8")
    tab = opened(path, viewport={"width": 1400, "height": 900})
    head = tab.inner_text("header") + tab.inner_text("#t1 h2")
    for word in ("Which model", "2026-11-28", "144 trials", "honest/1", "6 seeds"):
        assert word in head
    assert tab.inner_text("#t1 .verdict").startswith("deep is better than net by 0.0")
    verdict, scores, picture = (box(tab, f"#t1 {x}") for x in (".verdict", ".main", ".overall"))
    assert verdict["y"] + verdict["height"] < scores["y"] < 450
    assert scores["y"] + scores["height"] <= 900 and picture["y"] + picture["height"] <= 900
    assert scores["x"] + scores["width"] <= picture["x"] and picture["x"] > 700  # the right half


def test_a_phone_shows_models_as_columns(opened, tmp_path):
    path = tmp_path / "phone.html"
    path.write_text(page(analyzed(grid())), encoding="utf-8")
    tab = opened(path, viewport={"width": 390, "height": 844})
    heads = tab.query_selector_all("#t1 .main thead th[data-column]")
    whole = [h for h in heads if (b := h.bounding_box()) and b["x"] + b["width"] <= 390]
    assert len(whole) >= 2
    rows = tab.query_selector_all("#t1 .main tbody tr[data-row]")
    assert sum(r.bounding_box()["y"] < 800 for r in rows) >= 3


def test_names_break_at_their_joints_on_a_phone_alone(opened, tmp_path):
    path = tmp_path / "names.html"
    models = {"convnova-386k": 0.6, "gena-lm-bigbird-base-sparse": 0.5, "x" * 40: 0.7}
    tasks = {"splice": ("nt/splice_sites_acceptors", "nt/splice_sites_all")}
    path.write_text(page(analyzed(grid(models, tasks))), encoding="utf-8")
    lines = """e => {
        const range = document.createRange(), out = [];
        for (const node of [...e.childNodes].filter(n => n.nodeType === 3)) {
            range.selectNode(node);
            if (node.data.trim()) out.push([node.data.trim(), range.getClientRects().length]);
        }
        return out;
    }"""
    heads = "#t1 .main thead th.number span"
    tab = opened(path, viewport={"width": 1400, "height": 900})
    one = [h.bounding_box()["height"] for h in tab.query_selector_all(heads)]
    assert len(one) == 3 and len(set(one)) == 1
    first = box(tab, "#t1 .main tbody tr[data-row] th")["height"]
    tab = opened(path, viewport={"width": 390, "height": 844})
    assert box(tab, "#t1 .main tbody tr[data-row] th")["height"] > first
    found = [tab.evaluate(lines, h) for h in tab.query_selector_all(heads)]
    assert all(n == 1 for parts in found[:2] for _, n in parts)  # no part is cut
    assert [text for text, _ in found[0]] == ["convnova-", "386k"]
    assert max(h.bounding_box()["width"] for h in tab.query_selector_all(heads)) <= 90


def test_25_models_scroll_beside_a_frozen_column(opened, tmp_path):
    path = tmp_path / "many.html"
    means = {f"model-{k}": 0.3 + k / 50 for k in range(25)}
    path.write_text(page(analyzed(grid(means, seeds=2))), encoding="utf-8")
    tab = opened(path, viewport={"width": 1400, "height": 900})
    before = box(tab, "#t1 .main tbody tr[data-row] th")["x"]
    tab.evaluate("document.querySelector('#t1 .scores .wide').scrollLeft = 900")
    assert box(tab, "#t1 .main tbody tr[data-row] th")["x"] == before
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1400


def test_a_click_on_a_score_shows_its_runs(opened):
    tab = opened()
    assert not tab.is_visible("output.runs")
    tab.click('#t1 .main tr[data-row="s/h4"] td[data-column="1"]')
    said = tab.inner_text("output.runs").splitlines()
    (evidence,) = analyzed(grid())
    row = next(r for r in evidence.table.rows if r.name == "s/h4")
    assert said[0] == "net on s/h4" and len(said) == 7
    first = row.cells[1].runs[0]
    assert said[1] == (f"seed 0  {first.scores['test']['mcc']:.4f}  records/{first.trial.id}.json")
    tab.keyboard.press("Escape")
    assert not tab.is_visible("output.runs")


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


def test_summary_names_the_winner_and_the_missing_intervals():
    (evidence,) = analyzed(grid())
    ((suite, said), (general, more)) = summary(evidence)
    assert (suite, general) == ("s", "")
    assert said[0].startswith("deep is better than net by 0.09")
    assert said[0].endswith(
        " over 6 tasks (6 seeds, Holm over 6 pairs of models); over tasks like these no interval "
        "holds 0 either."
    )
    assert said[1:3] == [
        "deep is better than every other model on 6 of 6 tasks.",
        "On single tasks (Holm over 36 tests): 18 wins, 0 losses, 0 undecided; mean rank 1.00 of "
        "4.",
    ]
    assert more == [
        "The intervals and p-values cover variation between seeds only, not the sampling of the "
        "test examples (the predictions were not read); the test examples alone give a standard "
        "error of up to 0.040 (s/h3)."
    ]


def test_summary_without_a_winner():
    (evidence,) = analyzed(grid({"net": 0.71, "wide": 0.705, "kmer": 0.706}))
    text = " ".join(summary_sentences(evidence))
    assert "No model is shown to beat the k-mer baseline on 6 of 6 tasks." in text
    assert text.startswith("No model is clearly the best over 6 tasks (6 seeds, Holm over 3 pairs")


def test_summary_has_no_general_part_when_nothing_is_missing():
    (evidence,) = analyzed(grid({"net": 0.6, "deep": 0.7}))
    sure = Interval(-0.1, -0.2, -0.05)
    comparisons = tuple(replace(d, nested=sure, why_not="") for d in evidence.comparisons)
    said = summary(replace(evidence, comparisons=comparisons))
    assert [suite for suite, _ in said] == ["s"]
    assert said[0][1][1] == "deep is better than every other model on 6 of 6 tasks."


def test_a_tie_of_ranks_is_no_lead():
    records = grid({"b": 0.6}, TASKS) + grid({"a": 0.62}, {"histone": TASKS["histone"]})
    records += grid({"a": 0.58}, {"promoter": TASKS["promoter"], "splice": TASKS["splice"]})
    (evidence,) = analyzed(records)
    text = " ".join(summary_sentences(evidence))
    assert text.startswith("No model is clearly the best over 6 tasks (6 seeds): b leads a (0.0")
    mixed = [r for r in records if r.trial.task != "s/x"]
    for r in mixed:
        if r.task["family"] == "promoter":
            x = r.scores["test"]["mcc"]
            vars(r).update(scores={"test": {"r2": x}}, task=r.task | {"metric": "r2"})
    mixed = [r for r in mixed if r.trial.task != "s/h10"]
    text = " ".join(summary_sentences(analyzed(mixed)[0]))
    assert "no mean difference: b and a share the best mean rank (1.50 of 2)." in text


def test_few_seeds_claim_nothing():
    (evidence,) = analyzed(grid(seeds=3))
    said = summary_sentences(evidence)
    assert said[0].startswith(
        "Nothing is claimed over 6 tasks, since a model has 3 seeds and a claim needs 5: deep "
    )
    (evidence,) = analyzed(grid(families={"": ("s/x",)}, seeds=3))
    assert summary_sentences(evidence)[0].startswith(
        "Nothing is claimed: every comparison has fewer than 5 seeds of a model"
    )
    assert not any("better than every other" in text for text in said)


def test_failed_runs_and_missing_cells_are_in_the_summary():
    records = grid()[:-6]  # deep lacks s/x
    records[0] = replace(records[0], scores={}, error="Traceback\nboom")
    (evidence,) = analyzed(records)
    assert summary_sentences(evidence)[-1] == (
        "Runs: 1 failed (excluded) and 1 of 24 cells not run."
    )


def test_families_that_disagree_are_named():
    # ahead on four histone tasks, behind by more on the two other families
    tasks = {**TASKS, "histone": (*TASKS["histone"], "s/h2")}
    records = grid({"b": 0.6}, tasks) + grid({"a": 0.62}, {"histone": tasks["histone"]})
    records += grid({"a": 0.585}, {"promoter": tasks["promoter"], "splice": tasks["splice"]})
    (evidence,) = analyzed(records)
    (pair,) = evidence.suites[0].pairs
    assert pair.lead.value * pair.lead_of_families.value < 0
    assert any(
        "changes sign when every family of tasks counts alike" in x
        for x in summary_sentences(evidence)
    )


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


# --- what it does --------------------------------------------------------------------------------


def test_pairs_that_were_not_compared_say_so(opened, tmp_path):
    (table,) = tables(grid(seeds=2))
    path = tmp_path / "against.html"
    path.write_text(page([analyze(table, pairs=[(0, 1), (0, 2), (0, 3)])]), encoding="utf-8")
    cells = opened(path).locator("#t1 .matrix td.self").all_inner_texts()
    assert cells.count("·") == 4 and cells.count("not compared") == 6


def test_sorting_by_a_model_then_back(opened):
    tab = opened()
    written = names(tab)
    assert written == ["s/h3", "s/h4", "s/h10", "s/p1", "s/p2", "s/x"]
    head = tab.locator("#t1 .main thead th", has_text="deep")
    head.locator("button").click()
    scores = [
        float(x.get_attribute("data-value"))
        for x in tab.query_selector_all('#t1 .main tbody td[data-column="3"]')
    ]
    assert scores == sorted(scores, reverse=True) and names(tab) != written
    assert head.get_attribute("aria-sort") == "descending"
    assert not tab.is_visible("#t1 .main tr.family")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").click()
    assert names(tab) == written and head.get_attribute("aria-sort") is None
    assert tab.is_visible("#t1 .main tr.family")


def test_sorting_text_and_numbers_of_a_test_table(opened):
    tab = opened()
    tab.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    table = tab.locator("#t1-tests table", has_text="Hedges g").first
    at = [x.strip() for x in table.locator("thead th").all_inner_texts()].index("Holm p")
    table.locator("thead button").nth(at).click()
    values = [
        float(row.locator("td").nth(at - 1).inner_text()) for row in table.locator("tbody tr").all()
    ]
    assert len(set(values)) > 5 and values == sorted(values)  # 1.2e-07 among 0.034
    table.locator("thead button").first.click()
    tasks = [x.strip() for x in table.locator("tbody th").all_inner_texts()]
    assert list(dict.fromkeys(tasks)) == ["s/h3", "s/h4", "s/h10", "s/p1", "s/p2", "s/x"]


def test_missing_cells_sort_last_both_ways(opened, tmp_path):
    path = tmp_path / "gap.html"
    records = [r for r in grid(seeds=2) if (r.trial.model, r.trial.task) != ("deep", "s/h4")]
    path.write_text(page(analyzed(records)), encoding="utf-8")
    tab = opened(path)
    for _ in range(2):
        tab.locator("#t1 .main thead th", has_text="deep").locator("button").click()
        assert names(tab)[-1] == "s/h4"


def test_filters_hide_rows_pictures_and_tests(opened):
    from playwright.sync_api import expect

    tab = opened()
    tab.fill("#t1 input[type=search]", "H")
    assert names(tab) == ["s/h3", "s/h4", "s/h10"]
    assert names(tab, "#t1-runs .picture") == ["s/h3", "s/h4", "s/h10"]
    assert set(names(tab, "#t1-tests details[open] tr[data-row]")) == {"s/h3", "s/h4", "s/h10"}
    assert not tab.locator("#t1 tr.family", has_text="splice").is_visible()
    assert "3 of 6 tasks" in tab.inner_text("#t1 output")
    tab.fill("#t1 input[type=search]", "")
    tab.select_option("#t1 select", "promoter")
    assert names(tab) == ["s/p1", "s/p2"]
    tab.click("#t1 button[type=reset]")
    expect(tab.locator("#t1 output")).to_have_text("")
    assert len(names(tab)) == 6


def test_a_model_can_be_left_out(opened):
    tab = opened()
    column = '[data-column="1"]'
    assert tab.is_visible(f"#t1 .main td{column}")
    tab.uncheck('#t1 input[name=column][value="1"]')
    assert not tab.is_visible(f"#t1 .main td{column}") and not tab.is_visible(
        f"#t1 .main th{column}"
    )
    assert not tab.is_visible(f"#t1-runs svg g{column}")
    assert not tab.locator("#t1 .matrix tbody th", has_text="net").is_visible()
    assert tab.is_visible('#t1 .main td[data-column="2"]')
    assert "3 of 4 models" in tab.inner_text("#t1 output")
    # sorting keeps it out
    tab.locator("#t1 .main thead th", has_text="deep").locator("button").click()
    assert not tab.is_visible(f"#t1 .main td{column}")


def test_a_section_filters_only_itself(opened):
    tab = opened()
    tab.fill("#t1 input[type=search]", "nothing has this name")
    assert names(tab) == [] and names(tab, "#t2 .main tr[data-row]") == ["s/h3"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_has_no_sideways_scroll(opened, scheme, tmp_path):
    tab = opened(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    tab.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    boxes = tab.eval_on_selector_all(
        ".wide", "all => all.filter(b => b.scrollWidth > b.clientWidth).length"
    )
    assert boxes > 0  # the tables scroll in their own
    small = tab.evaluate(
        "[...document.querySelectorAll('p, li, td, th, label, dd')].filter(e => e.offsetParent && "
        "!e.closest('svg, .matrix') && parseFloat(getComputedStyle(e).fontSize) < 14).length"
    )
    assert tab.evaluate("getComputedStyle(document.body).fontSize") == "16px" and small == 0


def test_dark_is_dark_and_prints_on_white(opened):
    tab = opened(color_scheme="dark")
    colours = (
        "(() => {const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]})()"
    )

    def light(css):
        return sum(int(x) for x in re.findall(r"\d+", css)[:3]) / 3

    paper, ink = map(light, tab.evaluate(colours))
    assert paper < 60 < 180 < ink
    tab.emulate_media(media="print", color_scheme="dark")
    paper, ink = map(light, tab.evaluate(colours))
    assert paper > 240 and ink < 80
    assert not tab.is_visible("form.filters")


def test_it_prints_with_everything_unfolded(opened, tmp_path):
    tab = opened()
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert tab.query_selector("details:not([open])") is None
    tab.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert tab.query_selector("details:not([open])") is not None
    pdf = tab.pdf(format="A4")
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000


def test_screenshot_is_not_blank(opened, tmp_path):
    from matplotlib.image import imread

    tab = opened(viewport={"width": 700, "height": 900})
    for part, scheme in (("#t1-words", "dark"), ("#t1-suites .pictures", "light")):
        tab.emulate_media(color_scheme=scheme)
        tab.locator(part).first.screenshot(path=tmp_path / "part.png")
        pixels = imread(tmp_path / "part.png")[..., :3].reshape(-1, 3)
        ink = (abs(pixels - pixels[0]).max(1) > 0.3).mean()
        assert 0.005 < ink < 0.4, part
        assert (pixels[0].mean() < 0.3) == (scheme == "dark")
    hue = pixels.max(1) - pixels.min(1)
    assert (hue > 0.3).mean() > 5e-4  # marks have colours


def test_everybody_can_read_it(opened):
    tab = opened()
    levels = [
        int(x)
        for x in tab.eval_on_selector_all("h1,h2,h3,h4,h5", "all => all.map(h => h.tagName[1])")
    ]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    lacking = tab.evaluate(
        """[...document.querySelectorAll('svg')].filter(s =>
            s.getAttribute('aria-hidden') !== 'true'
            && !(s.getAttribute('role') === 'img' && s.getAttribute('aria-label'))).length
        + [...document.querySelectorAll('th')].filter(h => !h.getAttribute('scope')).length
        + [...document.querySelectorAll('input,select')].filter(i => !i.labels.length).length
        + [...document.querySelectorAll('.wide')].filter(w => !w.getAttribute('aria-label')).length
        + [...document.querySelectorAll('button')].filter(b => !b.textContent.trim()).length"""
    )
    assert lacking == 0
    assert tab.get_attribute("html", "lang") == "en" and tab.title() == "dnabench report"
    ids = tab.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))
    broken = tab.eval_on_selector_all(
        "a[href], use",
        "all => all.map(e => e.getAttribute('href')).filter(h => !h.startsWith('#') "
        "|| !document.getElementById(h.slice(1))).length",
    )
    assert broken == 0


def test_text_has_contrast(opened):
    """WCAG AA: 4.5 to 1 between text and the paper, in both schemes."""
    for scheme in ("light", "dark"):
        tab = opened(color_scheme=scheme)
        variables = ("paper", "ink", "quiet", "accent", "won", "lost", "warn")
        read = "v => getComputedStyle(document.documentElement).getPropertyValue('--' + v)"
        found = {v: tab.evaluate(read, v).strip() for v in variables}

        def luminance(colour):
            hexed = colour.lstrip("#")
            hexed = "".join(2 * c for c in hexed) if len(hexed) == 3 else hexed
            parts = np.array([int(hexed[i : i + 2], 16) / 255 for i in (0, 2, 4)])
            linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
            return linear @ [0.2126, 0.7152, 0.0722]

        paper = luminance(found.pop("paper"))
        for name, colour in found.items():
            low, high = sorted((paper, luminance(colour)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (scheme, name)


def test_names_cannot_become_markup(opened):
    tab = opened()
    assert tab.evaluate("window.owned") is None
    text = tab.inner_text("body")
    assert f"ValueError: {NASTY}" in text and f"run -m '{NASTY}'" in text
    assert tab.inner_text("#t2 .main thead th:last-child").startswith(NASTY)
    assert tab.query_selector("main b b") is None
    assert tab.locator("script").count() == 1


def test_a_script_that_slipped_in_would_not_run(chromium, stored, tmp_path):  # noqa: F811
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
