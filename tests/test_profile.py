"""harness/forecast/profile.py in real processes at small sizes, and the figure of its rows."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch

from dnabench.forecast.profile import MODES, Cost, Run, _measured, _options, profile, table
from dnabench.registry import MODELS
from dnabench.reports.figures.profile import draw
from dnabench.train.precision import Arithmetic

SHORT, LONG = 200, 10_000
PLUGIN = """
import os, signal, torch
from dnabench import MODELS, Model

class Net(torch.nn.Module):
    def __init__(self, trouble):
        super().__init__()
        self.head, self.trouble = torch.nn.Linear(1, 2), trouble

    def forward(self, ids, mask):
        return self.head(torch.ones(1, 1) * self.trouble(self.training))

def in_training(training):
    if training:
        raise RuntimeError("no gradient here\\nsecond line")
    return 1.0

TROUBLES = {
    "dies": lambda training: os.kill(os.getpid(), signal.SIGKILL),
    "greedy": lambda training: torch.ones(2**44)[0],
    "forward_only": in_training,
}
for name, trouble in TROUBLES.items():
    MODELS.add(Model(
        name=name, family="test", n_params=0, min_length=1, context=100, source="test",
        license="CC0-1.0", build=lambda task, options, trouble=trouble: Net(trouble),
    ))
"""
CALL = (
    "import json; from dnabench.forecast.profile import profile\n"
    "print(json.dumps(profile({}, [10])))"
)


@pytest.fixture(scope="module")
def rows():
    """Two lengths that work, after those that cannot."""
    seen = []
    done = profile(["convnova-386k", "kmer"], [SHORT, LONG], on_row=seen.append)
    assert seen == done
    return done


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    """name -> row of three networks that fail, in a process whose plugins they are."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "profile_plugin.py").write_text(textwrap.dedent(PLUGIN))
    info = folder / "profile_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: profile-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dnabench.models]\ntests = profile_plugin\n")
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    call = CALL.format(["dies", "greedy", "forward_only"])
    done = subprocess.run(
        [sys.executable, "-c", call], env=env, capture_output=True, text=True, check=True
    )
    return {row[0]: Cost(*row) for row in json.loads(done.stdout)}


def test_a_row_a_length_and_model_by_length(rows):
    assert [(r.model, r.length) for r in rows] == [
        (model, length) for length in (SHORT, LONG) for model in ("convnova-386k", "kmer")
    ]


def test_longer_costs_more_and_training_more_than_a_forward_pass(rows):
    short, long = rows[0], rows[2]
    assert short.error == long.error == "" and short.n_params == 386_240 + 2 * 64 + 2
    for row in (short, long):
        assert 0 < row.forward_seconds < row.train_seconds < 60
    assert short.forward_seconds < long.forward_seconds
    assert short.train_seconds < long.train_seconds
    assert short.forward_bytes < long.forward_bytes < long.train_bytes
    assert short.train_bytes < long.train_bytes
    # Training keeps what every block made: 5 blocks, 2 branches, at least 3 arrays of width 64
    assert long.train_bytes > 30 * LONG * 64 * 4


def test_products_are_those_of_a_run_in_fp32(monkeypatch):
    """On CUDA convolutions alone would take TF32, and a network of them look fast beside others."""
    open_, found, real = [], [], Arithmetic.products

    @contextlib.contextmanager
    def noted(self):
        open_.append(self.precision)
        with real(self):
            yield
        open_.pop()

    def step(*_):
        found.append([*open_])

    monkeypatch.setattr(Arithmetic, "products", noted)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(step)
    try:
        for mode in MODES:
            options = {**MODELS["convnova-386k"].options, "width": 8, "blocks": 2}
            _measured(Run("convnova-386k", options, 40, mode, "cpu"))
            assert found.count(["fp32"]) > 8
            found.clear()
    finally:
        hook.remove()


def test_what_is_no_network_is_a_row_that_says_so(rows):
    assert rows[1] == Cost("kmer", 0, SHORT, error=rows[1].error)
    assert "kmer is no network" in rows[1].error


def test_out_of_reach_is_a_row_that_names_the_context():
    (row,) = profile(["hyenadna"], [2_000])  # no process is started
    assert row == Cost("hyenadna", 0, 2_000, error="hyenadna reads 1,024 bp at most")


def test_a_killed_process_is_a_row(troubled):
    row = troubled["dies"]
    assert (
        row.error == "forward: RuntimeError: the worker process died (SIGKILL, often out of memory)"
    )
    assert row.forward_seconds is None and row.train_bytes is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems promise memory they lack")
def test_too_large_an_array_is_a_row(troubled):
    assert troubled["greedy"].error == "forward: out of memory"


def test_a_forward_pass_counts_when_training_fails(troubled):
    row = troubled["forward_only"]
    assert row.forward_seconds > 0 and row.train_seconds is None and row.n_params == 4
    assert row.error == "train: RuntimeError: no gradient here"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: profile(["convnva"], [10]), "did you mean convnova"),
        (lambda: profile(["unet"], [0]), "each must be 1 bp or more"),
        (lambda: profile(["unet"], [10], settings={"widht": 8}), "did you mean width"),
        (lambda: profile(["unet"], [10], settings={"convnova.width": 8}), "convnova.width"),
    ],
)
def test_slips_are_refused_before_anything_runs(call, says):
    with pytest.raises((KeyError, ValueError), match=says):
        call()


def test_settings_go_to_those_that_have_them():
    names, settings = ["unet", "convnova"], {"width": 8, "levels": 2, "convnova.blocks": 3}
    one, other = (_options(MODELS[name], names, settings) for name in names)
    assert one == {**MODELS["unet"].options, "width": 8, "levels": 2}
    assert other == {**MODELS["convnova"].options, "width": 8, "blocks": 3}


# --- table and figure -----------------------------------------------------------------------------

MADE = [
    Cost("convnova", 1_688_706, 1_000, 0.0125, 0.1, 20_000_000, 100_000_000),
    Cost("caduceus_ph", 1_935_106, 1_000, 0.1, 0.25, 50_000_000, 1_234_567_890),
    Cost("convnova", 1_688_706, 100_000, 1.0, 9.0, 10**9, 4 * 10**9),
    Cost("caduceus_ph", 1_935_106, 100_000, 30.0, None, 3 * 10**9, None, "train: out of memory"),
    Cost("hyenadna", 0, 100_000, error="hyenadna reads 1,024 bp at most"),
]


def cells(text):
    return [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]


def test_table_gives_numbers_and_multiples_of_the_first_model():
    head, _, *body = cells(table(MADE))
    assert head[:5] == ["model", "parameters", "length (bp)", "forward (s)", "x convnova"]
    assert head[5::2] == ["training (s)", "forward (MB)", "training (MB)"]
    assert body[0][3:] == ["0.0125", "1.00", "0.100", "1.00", "20.0", "1.00", "100", "1.00"]
    assert body[1] == [
        "caduceus_ph", "1,935,106", "1,000", "0.100", "8.00", "0.250", "2.50", "50.0", "2.50",
        "1,235", "12.35",
    ]  # fmt: skip
    assert body[3][3:] == ["30.0", "30.00", "-", "-", "3,000", "3.00", "-", "-"]
    assert body[4] == ["hyenadna", "-", "100,000", *["-"] * 8]
    assert {len(row) for row in (head, *body)} == {11}


def test_table_ends_with_the_errors():
    assert table(MADE).endswith(
        "\n\n- caduceus_ph at 100,000 bp: train: out of memory\n"
        "- hyenadna at 100,000 bp: hyenadna reads 1,024 bp at most\n"
    )


def test_table_has_no_multiples_where_the_first_model_failed():
    failed = Cost("convnova", 0, 1_000, error="forward: out of memory")
    assert cells(table([failed, MADE[1]]))[3][3:] == [
        "0.100", "-", "0.250", "-", "50.0", "-", "1,235", "-",
    ]  # fmt: skip


def rows_of(costs):
    return [cost._asdict() for cost in costs]


@pytest.mark.parametrize(
    ("name", "begins"), [("a.png", b"\x89PNG\r\n\x1a\n"), ("a.pdf", b"%PDF-"), ("a.SVG", b"<?xml")]
)
def test_figure_in_three_formats_the_same_bytes_twice(name, begins, tmp_path):
    pictures = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        draw(rows_of(MADE), tmp_path / folder / name)
        pictures.append((tmp_path / folder / name).read_bytes())
    assert pictures[0].startswith(begins) and pictures[0] == pictures[1]


def test_png_is_whole_and_shows_the_lines_of_each_model(tmp_path):
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    from dnabench.reports.figures.style import PALETTE

    draw(rows_of(MADE), tmp_path / "two.png")
    draw(rows_of(MADE[:1]), tmp_path / "one.png")
    two, one = (imread(tmp_path / f"{name}.png")[..., :3] for name in ("two", "one"))
    assert two.shape[0] > 500 and two.shape[1] > 1000

    def pixels(image, colour):
        return int((abs(image - to_rgb(colour)).max(2) < 0.02).sum())

    assert pixels(two, PALETTE[0]) > 500 and pixels(two, PALETTE[1]) > 500
    assert pixels(one, PALETTE[1]) == 0


def test_figure_writes_its_labels(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw(rows_of(MADE), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    for word in ("convnova", "caduceus_ph", "length (bp)", "seconds", "peak memory (MB)",
                 "training step", "forward pass", "100,000", "0.1", "10", "1,000"):  # fmt: skip
        assert f">{word}<" in text, word


@pytest.mark.parametrize(
    ("rows", "name", "says"),
    [(MADE, "a.gif", r"a figure is a \.png, \.pdf, \.svg file"), (MADE[4:], "a.png", "no row has")],
)
def test_figure_says_what_it_cannot_do(rows, name, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        draw(rows_of(rows), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_figure_needs_no_torch():
    code = "import sys, dnabench.reports.figures.profile; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
