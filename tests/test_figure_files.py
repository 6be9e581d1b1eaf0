"""Figures as files and inline, and the command `figure`."""

import re
from xml.etree import ElementTree

import pytest
import typer
from test_figures import only
from test_html import NASTY, grid, record
from typer.testing import CliRunner

from dnabench.cli.figure import KINDS, figure
from dnabench.reports.figures import strips, style
from dnabench.results.store import Store


def test_inline_svg_keeps_text_as_text_and_ids_to_itself():
    names = [NASTY, "#010201 var", 'x id="column-1" y', "a$x$b", "url(#p1) 3.14159265"]
    table = only([record(m, seed=s, score=0.5 + 0.01 * s) for m in names for s in range(3)])
    (_, one), (_, two) = strips.strips(table, "one")[0], strips.strips(table, "two")[0]
    tree = ElementTree.fromstring(one)
    texts = {t.text for t in tree.iter("text")}
    assert set(names[1:]) <= texts and any(t.startswith('m&<b>x</b>"') for t in texts)
    assert "<b>" not in one and "<script" not in one
    ids = [e.get("id") for e in tree.iter() if e.get("id")]
    assert len(ids) == len(set(ids)) and all(i.startswith("one0-") for i in ids)
    assert not set(ids) & set(re.findall(r' id="([^"]+)"', two))
    assert {e.get("href")[1:] for e in tree.iter("use")} <= set(ids)
    assert tree.get("role") == "img" and names[1] in tree.get("aria-label")
    assert not re.search(r"#010[23]", re.sub(r">[^<]*<|aria-label=\"[^\"]*\"", "", one))
    assert {int(e.get("data-column")) for e in tree.iter() if e.get("data-column")} == set(range(5))


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF"),
                                                ("svg", b"<?xml"), ("SVG", b"<?xml")])  # fmt: skip
def test_a_file_is_of_its_kind_and_always_the_same(suffix, begins, tmp_path):
    table = only(grid(seeds=2))
    for name in "ab":
        style.save(lambda: strips.figure(table), tmp_path / f"{name}.{suffix}")
    one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
    assert one.startswith(begins) and one == two


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.gif: a figure is a \.png, \.pdf, \.svg file"):
        style.save(lambda: strips.figure(only(grid(seeds=2))), tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


# --- command --------------------------------------------------------------------------------------


def command(*argv):
    app = typer.Typer()
    app.command()(figure)
    return CliRunner().invoke(app, [str(a) for a in argv])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures") / "runs"
    store = Store(folder)
    records = grid(seeds=2)
    records += [record("net", "other/t", score=0.5), record("deep", "other/t", score=0.6)]
    for k in (3, 5):
        for d in (1, 2):
            records.append(
                record("swept", "s/h3", options={"k": k, "d": d}, protocol="least-val-loss/1")
            )
    records += [record("net", protocol="test-selected/1")]
    for one in records:
        store.append(one)
    return folder


@pytest.mark.parametrize(
    ("kind", "more", "shows"),
    [
        ("strip", ["--protocol", "honest/1"], ["s/h10", "other/t", "kmer", "deep"]),
        ("curves", ["--protocol", "honest/1", "-t", "s"],
         ["validation MCC", "epoch", "kmer", "Band"]),
        ("pareto", ["--protocol", "honest/1", "-t", "s"],
         ["parameters, including the head", "seconds per run", "mean MCC of 6 tasks"]),
        ("cd", ["--protocol", "honest/1", "-t", "s"], ["1.00", "4.00", "kmer", "Nemenyi"]),
        ("heatmap", ["--models", "swept", "--x", "d", "--y", "k"],
         ["0.500", "d", "k", "MCC (s/h3). Framed"]),
        ("strip", ["--protocol", "test-selected/1"], ["net", "TEST-SELECTED"]),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_each_figure_as_a_file(kind, more, shows, runs, tmp_path):
    done = command(kind, "--out", runs, "--to", tmp_path / "a.svg", *more)
    assert done.exit_code == 0, done.output
    tree = ElementTree.parse(tmp_path / "a.svg")
    texts = " | ".join(t.text or "" for t in tree.iter("{http://www.w3.org/2000/svg}text"))
    for word in shows:
        assert word in texts
    assert ("TEST-SELECTED" in texts) == ("test-selected/1" in more)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["radar"], "no figure named 'radar'; choose from " + ", ".join(KINDS)),
        (["strip", "--to", "a.gif"], "--to a.gif: name a .pdf, .svg or .png file"),
        (["heatmap"], "heatmap needs two options: --x dilation --y kernel_size"),
        (["cd", "--x", "d", "--y", "k"], "--x is for heatmap and line, --y for heatmap, not"),
        (["strip"], "choose with --protocol and --limit: honest/1; least-val-loss/1; test"),
        (["strip", "-m", "nett"], "--models nett: no record of it"),
        (["strip", "-t", "nope"], "--tasks nope: no record of it"),
        (["pareto", "--protocol", "honest/1"], "a figure shows one suite; choose with --tasks"),
        (["cd", "--protocol", "test-selected/1"], "no suite has two tasks that two models share"),
        (["curves", "--protocol", "nope/1"], "choose with --protocol and --limit: honest/1"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)  # fmt: skip
def test_the_command_says_what_is_wrong(argv, says, runs):
    done = command(*argv, "--out", runs)
    assert done.exit_code == 2 and says in done.output


def test_the_command_without_records(tmp_path):
    done = command("strip", "--out", tmp_path / "none")
    assert done.exit_code == 2 and "no records in" in done.output
