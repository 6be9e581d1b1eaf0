"""What a user installs: the wheel, in an environment of its own, and plugins beside it."""

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import dnabench

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an sdist of the tracked files, built in a copy so that no build/ is left."""
    folder = tmp_path_factory.mktemp("build")
    files = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True
    )
    for name in filter(None, files.stdout.split("\0")):
        target = folder / "src" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    argv = [sys.executable, "-m", "build", "--outdir", folder / "dist", folder / "src"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


def test_the_wheel_holds_the_parts_the_data_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0].split("-")[0] for n in names} == {"dnabench"}
    for part in (
        "cli/app.py",
        "py.typed",
        "models/convnova.py",
        "tasks/demo.py",
        "reports/text/page.html",
    ):
        assert f"dnabench/{part}" in names
    sizes = [i.file_size for i in zipfile.ZipFile(wheel).infolist() if "demo_data" in i.filename]
    assert len(sizes) >= 3 and sum(sizes) < 1_500_000
    assert any(n.endswith("licenses/LICENSE") for n in names)


def test_the_sdist_can_run_its_tests(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {n.partition("/")[2] for n in archive.getnames()}
    assert {
        "tests/conftest.py",
        "tests/golden_records.json",
        "constraints.txt",
        "Makefile",
    } <= names


@pytest.mark.slow
def test_an_installed_wheel_runs_a_trial(built, tmp_path):
    """Away from the checkout: the wheel's own files, with the dependencies of this environment."""
    (wheel,) = built.glob("*.whl")
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", site, wheel], check=True, capture_output=True)
    words = ["run", "--tasks", "demo/splice_junctions", "--limit", "60", "--epochs", "1"]
    words += ["-m", "kmer,cnn", "--seeds", "1", "--executor", "inline"]
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        f"import dnabench; assert dnabench.__file__.startswith({str(site)!r}), dnabench.__file__\n"
        f"from dnabench.cli.app import main; main({words!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs" / "records").glob("*.json"))) == 2


@pytest.mark.slow
def test_a_plugin_adds_models_and_tasks(plugin, tmp_path):
    models = dnabench("list", "models", plugin=plugin)
    assert models.returncode == 0 and "sleeps" in models.stdout
    assert "plug/strand" in dnabench("list", "tasks", plugin=plugin).stdout
    assert "plug" in dnabench("list", "suites", plugin=plugin).stdout
    out = tmp_path / "runs"
    words = ["-m", "sleeps,kmer", "-t", "plug_strand", "--seeds", "1", "--out", out]
    done = dnabench("run", *words, plugin=plugin)
    assert done.returncode == 0, done.stderr
    records = [json.loads(p.read_text()) for p in (out / "records").glob("*.json")]
    assert {r["trial"]["model"] for r in records} == {"sleeps", "kmer"}
    assert {r["trial"]["task"] for r in records} == {"plug/strand"}


def test_a_broken_plugin_is_named_and_the_rest_works(plugin):
    done = dnabench("list", "models", plugin=plugin)
    assert done.returncode == 0 and "convnova" in done.stdout
    assert "models: plugin broken did not load: ModuleNotFoundError" in done.stderr


def test_a_broken_file_is_named_and_the_rest_works(tmp_path):
    """A copy of the packages with a model file that fails, beside the real one."""
    site = tmp_path / "dnabench"
    shutil.copytree(ROOT / "harness", site)
    for name in ("models", "tasks", "results", "reports"):
        shutil.copytree(ROOT / name, site / name)
    (site / "models" / "unfinished.py").write_text(
        "from dnabench.types import Model\nModel(name='x')\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from dnabench.cli import main; main()"
    )
    argv = [sys.executable, "-c", code, "list", "models"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0 and "convnova" in done.stdout
    assert "models: unfinished did not load: TypeError" in done.stderr


def test_without_the_plugin_its_models_are_unknown():
    done = dnabench("run", "-m", "sleeps", "--suite", "demo")
    assert done.returncode == 2 and "no model named 'sleeps'" in done.stderr


def test_a_name_can_be_taken_only_once():
    from dnabench import MODELS

    with pytest.raises(ValueError, match="model 'cnn' is already registered"):
        MODELS.add(MODELS["cnn"])
