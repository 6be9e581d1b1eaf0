"""Published values: files of the package, the script that makes them, the command on them."""

import csv
import re
import shutil
import subprocess
import sys

import pytest
from test_published import ROOT, SHARED, TEXT, needs_reference
from typer.testing import CliRunner

from dnabench.cli.published import published as app
from dnabench.reports.papers import published
from dnabench.results.make_published import make


def test_what_is_known_of_a_value():
    by_task = {v.task: v for v in published.values("convnova", "1") if v.model == "convnova"}
    dilation_1 = {t for t, v in by_task.items() if v.variant == "dilation=1"}
    assert dilation_1 == {"nt/h3k4me2", "nt/h3k4me3", "nt/h3k14ac", "nt/h4ac"}  # found by hand
    assert sum(v.variant == "" for v in by_task.values()) == 3  # the splice rows match no task
    assert all(v.variant == "dilation=4" for v in published.values("arxiv:2502.18538", "5")
               if v.model == "convnova")  # fmt: skip
    one = by_task["nt/h3"]
    assert (one.mean, one.spread, one.n, one.decimals) == (81.50, 0.80, 10, 2)
    assert (one.printed, one.unit, one.spread_is) == ("81.50 ± 0.80", "percent", "max |deviation|")
    assert len(published.values()) == 1011 and len(published.seeds()) == 1000
    with (ROOT / "results" / "published" / "seeds.csv").open() as f:
        assert published.seeds()[0].mean == float(next(csv.DictReader(f))["value"])


@needs_reference
def test_the_files_are_what_the_script_makes(tmp_path):
    make(SHARED, tmp_path)
    made = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    assert made == {f.name: f.read_bytes() for f in (ROOT / "results" / "published").iterdir()}


@needs_reference
@pytest.mark.parametrize(
    ("ours", "theirs", "kept"),
    [
        ("means", "published_means", ["task", "metric", "model", "params", "mean", "spread"]),
        ("seeds", "published_seeds", ["task", "metric", "model", "variant", "seed", "value"]),
        ("kernel_dilation", "kernel_dilation", ["task", "metric", "mean"]),
        ("embedding_auc", "published_embedding_auc", ["metric", "model", "regime"]),
    ],
)
def test_no_number_changed_on_the_way(ours, theirs, kept):
    def read(path):
        with path.open(newline="") as f:
            return list(csv.DictReader(f))

    mine = read(ROOT / "results" / "published" / f"{ours}.csv")
    reference = read(SHARED / "reference" / f"{theirs}.csv")
    keys = ["source", "table", *kept]
    assert [[r[k] for k in keys] for r in mine] == [[r[k] for k in keys] for r in reference]
    if ours == "embedding_auc":
        assert [r["mean"] for r in mine] == [r["value"] for r in reference]
    if ours == "kernel_dilation":
        said = [f"kernel={r['kernel_size']},dilation={r['dilation']}" for r in reference]
        assert [r["variant"] for r in mine] == said


@needs_reference
def test_the_script_refuses_a_number_that_the_text_does_not_have(tmp_path):
    shutil.copytree(SHARED / "reference", tmp_path / "reference", copy_function=shutil.copyfile)
    (tmp_path / "papers").mkdir()
    shutil.copyfile(TEXT, tmp_path / "papers" / TEXT.name)
    means = tmp_path / "reference" / "published_means.csv"
    means.write_text(means.read_text().replace(",81.50,0.80,", ",81.51,0.80,", 1))
    with pytest.raises(ValueError, match="Table 1: reference and text differ"):
        make(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "convnva/table1"], r"no table named 'convnva/table1'; did you mean convnova/t"),
        (["show", "convnova/table99"], r"did you mean convnova/table.*published list` prints all"),
        (["show", "convnova"], r"no table named 'convnova'"),
        (["show", "convnova/table1", "--format", "pdf"], r"no format 'pdf'.*md, csv, latex"),
        (["list", "convnov"], r"no paper named 'convnov'; did you mean convnova\?"),
        (["list", "gpn"], r"no paper named 'gpn'; choose from convnova, gpn-thesis, embeddings"),
    ],
)  # fmt: skip
def test_a_wrong_name_gets_one_message(words, said):
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and not done.stdout
    assert len(done.stderr.splitlines()) == 1 and re.search(said, done.stderr)


def test_a_wrong_table_of_a_paper():
    with pytest.raises(KeyError, match="no table of convnova named '20'; did you mean"):
        published.values("convnova", "20")
    assert published.named("convnova/1") == published.named("convnova/table1")


def test_looking_is_light():
    code = (
        "import sys\nfrom dnabench.cli.published import published\n"
        "try: published(sys.argv[1:])\nexcept SystemExit as e: assert not e.code, e.code\n"
        "heavy = ('torch', 'pandas', 'scipy', 'sklearn', 'matplotlib')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    for words, line in (
        (["list"], "convnova/table1      90        percent"),
        (["show", "convnova/table1"], "| H3K4me1           | 51.64 ± 1.12"),
    ):
        argv = [sys.executable, "-c", code, *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        assert line in done.stdout
        assert done.stdout.splitlines()[-1] == "[]"
