"""The HTML report on screens and paper: it sorts, filters, fits a phone, prints, can be read."""

import re
from itertools import pairwise

import numpy as np
import pytest
from test_html import TASKS, analyzed, grid, opened, page, stored

__all__ = ["opened", "stored"]  # fixtures


def names(tab, query="#t1 .main tbody tr[data-row]"):
    """Tasks that are shown, from the top."""
    return [x.get_attribute("data-row") for x in tab.query_selector_all(query) if x.is_visible()]


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


LONG = {"convnova-386k": 0.6, "gena-lm-bigbird-base-sparse": 0.5, "hyenadna-tiny-1k lr=1": 0.7}
DEMO = {"kmer": 0.45, "cnn": 0.89, "convnova-386k": 0.84}  # the first that a new user sees


@pytest.mark.parametrize(
    ("models", "families"),
    [(LONG, TASKS), (DEMO, {"splicing": ["demo/splice_junctions"]})],
    ids=["long", "demo"],
)
def test_three_models_fit_a_screen_of_1200_px(opened, tmp_path, models, families):
    path = tmp_path / "three.html"
    path.write_text(page(analyzed(grid(models, families))), encoding="utf-8")
    for width in (1200, 800):
        tab = opened(path, viewport={"width": width, "height": 900})
        scores = tab.query_selector("#t1 .scores .wide")
        assert scores.evaluate("e => e.scrollWidth <= e.clientWidth"), width
        rows = [r.bounding_box()["height"] for r in tab.query_selector_all("#t1 .main td")]
        assert max(rows) < 35, width  # scores stay on one line


def test_long_names_in_lists_of_tests_wrap(opened, tmp_path):
    path = tmp_path / "long.html"
    long = (
        "hyenadna-tiny-1k embed_dropout=0.1 resid_dropout=0 shift=0.05 (checkpoint:20M@a5eb6394e85)"
    )
    path.write_text(page(analyzed(grid({long: 0.6, long + "2": 0.5}))), encoding="utf-8")
    tab = opened(path, viewport={"width": 1200, "height": 900})
    tab.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
    cells = tab.query_selector_all("#t1-tests .lines tbody > tr > *")
    assert len(cells) > 20 and max(c.bounding_box()["width"] for c in cells) < 500


def test_names_break_at_their_joints_where_they_must(opened, tmp_path):
    path = tmp_path / "names.html"
    path.write_text(page(analyzed(grid({"convnova-386k": 0.6, "x" * 24: 0.5}))), encoding="utf-8")
    heads = "#t1 .main thead th.number span"
    tab = opened(path, viewport={"width": 1400, "height": 900})
    one = [h.bounding_box()["height"] for h in tab.query_selector_all(heads)]
    assert len(one) == 2 and len(set(one)) == 1
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
    tab = opened(path, viewport={"width": 1400, "height": 900})
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
