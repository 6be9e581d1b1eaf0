"""The shape of the repository, as assertions."""

import ast
import inspect
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PARTS = {
    "harness": "dnabench",
    **{p: f"dnabench.{p}" for p in ("models", "tasks", "results", "reports", "probes")},
}

# Who may import whom, innermost first: a module imports only from rows above its own, or from its
# own room. A room is a folder; the files of harness/ itself are rooms of their own.
ROWS = [
    ["sequences"],
    ["schema", "recipes", "spaces"],
    ["records"],
    ["types"],
    ["registry", "correlation", "cache", "spreadsheets"],
    ["tensors", "areas"],
    ["loading"],
    ["metrics", "weights", "host", "host.machine", "host.memory", "host.disk"],
    ["protocols"],
    ["splits"],
    ["shares"],
    ["tokens"],
    ["models", "tasks", "results"],
    ["train", "reports", "host.doctor"],
    ["networks", "pretraining"],
    ["probes"],
    ["executors"],
    ["sweep"],
    ["forecast"],
    ["cli", "frames"],
    ["api"],
    [""],
    ["__main__"],
]
LONGEST_FUNCTION = 60  # lines of code, without the docstring
LONGEST_MODULE = 380
LONGEST_FAMILY = 400  # of models/, where a family is one file


def module_of(path):
    part, *rest = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([PARTS[part], *(r for r in rest if r != "__init__")])


def place(module):
    """(row, room) of a module of dnabench."""
    rows = {name: i for i, row in enumerate(ROWS) for name in row}
    name = module.removeprefix("dnabench").removeprefix(".")
    room = name.split(".")[0]
    while name not in rows:
        name = name.rpartition(".")[0]
    return rows[name], room if room in rows or room == "host" else ""


FILES = [f for part in PARTS for f in sorted((ROOT / part).rglob("*.py"))]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import; write dnabench.<part>"
            if node.module in PARTS.values() and node.module != "dnabench":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def violations(path):
    me = module_of(path)
    row, room = place(me)
    for name in imports(path):
        top = name.split(".")[0]
        if top in PARTS:
            yield f"{me} imports {name}; write dnabench.{name}"
        if top == "dnabench":
            other_row, other_room = place(name)
            if not (room and room == other_room) and other_row >= row:
                yield f"{me} imports {name}, which is no further in"


def private(name):
    return name.startswith("_") and not name.endswith("__")


def private_uses(path):
    """Names and modules that begin with "_", of another room: imported, or read as an attribute."""
    part = room_of(module_of(path))
    theirs = set()  # names bound here to modules, or to objects, of other rooms
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "dnabench":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if room_of(name) != part:
                    theirs.add(alias.asname or alias.name)
                    if any(map(private, name.split("."))):
                        yield name
        elif (
            isinstance(node, ast.Attribute) and private(node.attr)
            and isinstance(node.value, ast.Name) and node.value.id in theirs
        ):  # fmt: skip
            yield f"{node.value.id}.{node.attr}"


def room_of(module):
    """models, tasks, results, reports, a folder of harness/, or "" for harness/ itself."""
    room = module.split(".")[1] if "." in module else ""
    return room if (ROOT / "harness" / room).is_dir() or room in PARTS else ""


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_inwards(path):
    assert not list(violations(path))
    assert not list(private_uses(path))


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("models/x.py", "from dnabench.tasks import demo"),
        ("tasks/x.py", "import dnabench.models"),
        ("reports/x.py", "from dnabench.train.loop import fit"),
        ("harness/types.py", "import dnabench"), ("models/x.py", "import models"),
        ("harness/metrics.py", "from dnabench.sweep.sweep import run"),
        ("results/x.py", "from dnabench.sweep.grid import grid"),
        ("harness/train/x.py", "from dnabench.executors.local import local"),
        ("harness/host/memory.py", "from dnabench.tasks import demo"),
        ("harness/executors/x.py", "from dnabench.forecast.timing import measure"),
    ],
)  # fmt: skip
def test_the_rule_catches_planted_violations(where, line, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / where
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    assert list(violations(path))


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("harness/train/x.py", "from dnabench.models._layers import lean"),
        ("harness/train/x.py", "from dnabench.models import _layers"),
        ("harness/train/x.py", "from dnabench.models.kernels.convolve import _fastest"),
        ("harness/train/x.py",
         "def f():\n    from dnabench.models.kernels import scan as s\n    s._mamba_kernel()"),
        ("harness/cli/x.py", "from dnabench.tasks._declare import LENGTHS"),
        ("harness/sweep/x.py", "from dnabench.reports.figures import _marks"),
        ("harness/sweep/x.py", "from dnabench.train.loop import _better"),
        ("models/x.py", "from dnabench.types import _ADDED"),
    ],
)  # fmt: skip
def test_private_names_of_other_rooms_are_found(where, line, tmp_path, monkeypatch):
    for room in ("cli", "sweep", "train"):
        (tmp_path / "harness" / room).mkdir(parents=True)
    (tmp_path / "models").mkdir()
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / where
    path.write_text(line + "\n")
    assert list(private_uses(path))
    path.write_text("from dnabench.types import Task\nimport dnabench\ndnabench.__version__\n")
    assert not list(private_uses(path))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_functions_are_short(path):
    text = path.read_text()
    longest = LONGEST_FAMILY if path.parent == ROOT / "models" else LONGEST_MODULE
    assert len(text.splitlines()) <= longest
    for node in ast.walk(ast.parse(text)):
        # typer reads a command's flags from its parameters, so they stand in the signature
        if isinstance(node, ast.FunctionDef) and "command" not in ast.unparse(node).split("\n")[0]:
            assert own_lines(node) <= LONGEST_FUNCTION, f"{path.name}:{node.name}"


def own_lines(function):
    """Lines of code without the docstring; a class inside has methods, counted on their own."""
    doc = ast.get_docstring(function, clean=False)
    classes = [n for n in ast.walk(function) if isinstance(n, ast.ClassDef)]
    return (
        function.end_lineno - function.lineno + 1 - (len(doc.splitlines()) if doc else 0)
        - sum(c.end_lineno - c.lineno + 1 for c in classes)
    )  # fmt: skip


def test_every_package_is_in_the_wheel():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(module_of(f) for f in FILES if f.name == "__init__.py")


def test_the_oldest_torch_that_is_allowed_has_what_is_called():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (torch,) = (Requirement(line) for line in named if line.startswith("torch>"))
    calls = [f for f in FILES if "torch.compiler.is_exporting" in f.read_text()]  # since torch 2.7
    assert calls and not torch.specifier.contains("2.6.9") and torch.specifier.contains("2.7")


def test_every_model_and_task_file_loads():
    from dnabench import MODELS, TASKS

    assert list(MODELS) and list(TASKS) and not {**MODELS.broken, **TASKS.broken}


def test_no_module_hides_a_part():
    assert not {f.stem for f in (ROOT / "harness").glob("*.py")} & PARTS.keys()


@pytest.mark.parametrize(
    "words",
    [["--help"], ["run", "--help"], ["list", "models"], ["list", "tasks"], ["list", "recipes"],
     ["list", "metrics"], ["list", "protocols"], ["list", "suites"], ["list", "spaces"],
     ["run", "--suite", "demo", "--dry-run"]],
    ids=" ".join,
)  # fmt: skip
def test_looking_imports_neither_torch_nor_pandas(words, tmp_path):
    code = (
        "import sys\nfrom dnabench.cli.app import main\n"
        f"try: main({words!r})\nexcept SystemExit as e: assert not e.code, e.code\n"
        "heavy = 'torch', 'pandas', 'sklearn', 'matplotlib', 'transformers'\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


def test_reports_import_no_torch():
    code = (
        "import sys, dnabench.reports.render, dnabench.reports.table, dnabench.reports.stats\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("module", ["dnabench.metrics", "dnabench.areas", "dnabench.reports.stats"])
def test_numbers_say_where_they_come_from(module):
    for name, f in inspect.getmembers(import_module(module), inspect.isfunction):
        if f.__module__.startswith(module) and not name.startswith("_"):
            assert f.__doc__ and "Returns:" in f.__doc__, name
