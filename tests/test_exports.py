"""Every cell of docs/benchmarks/exports.md, at the smallest options of each family."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tiny_transformers as tiny
import torch
from kept_cases import job_of, kept, smallest, task_of_kind, tiny_network

from dnabench import MODELS
from dnabench.models.outside.references import model_named
from dnabench.networks.export import export, reading

FORMS = ("onnx", "torch-export")
AS_LLAMA = ("hf:./mistral-bpe", "hf:./mixtral-6mer", "hf:./qwen3-6mer")  # ONNX takes 8 s each
WORDS = {"width": 16, "layers": 1, "heads": 2, "inner": 16}
PIECES = {**WORDS, "vocabulary": 64}
BRANCHES = {"width": 8, "blocks": 2, "kernel_size": 3}
TINY = {
    "basenji": {"blocks": 1},
    "caduceus_ph-470k": {"width": 8, "layers": 1},
    "caduceus_ps-470k": {"width": 8, "layers": 1},
    "convnova-386k": BRANCHES,
    "convnova_no_gate": BRANCHES,
    "convnova_single_branch": BRANCHES,
    "convnova_unet": {"width": 8, "kernel_size": 3},
    "dnabert-3": WORDS,
    "dnabert2": PIECES,
    "gena_lm-base": PIECES,
    "gena_lm": PIECES,
    "gpn-smol": {"width": 8, "layers": 1, "inner": 8},
    "hyenadna-tiny-1k": {"width": 8, "layers": 1, "l_max": 130},
    "nt_h": WORDS,
    "ntv2-50m": WORDS,
    "ntv2_star": WORDS,
    "unet": {"width": 4, "levels": 2, "kernel_size": 3},
}


def survey():
    """Model -> its cells on the page: what stored logits are off by, ONNX, torch-export, hf."""
    page = Path(__file__).parents[1] / "docs/benchmarks/exports.md"
    rows = [line.split("|")[1:-1] for line in page.read_text().splitlines() if line[:2] == "| "]
    cells = [[cell.strip() for cell in row] for row in rows]
    return {name: shown for name, kind, *shown in cells if kind == "sequence"}


CELLS = survey()


def test_the_survey_of_formats_has_every_family():
    assert {*smallest(), "gena_lm", *(f"hf:./{name}" for name in tiny.FAMILIES)} == CELLS.keys()
    for name, (off, *forms, hf) in CELLS.items():
        assert float(off) < 1e-4 and set(forms) <= {"yes", "one length", "–"}
        native = name.startswith("hf:") or MODELS[name].in_transformers is not None
        assert (hf == "yes") == (native and name != "gena_lm-base"), name  # lacks the last norm
        assert name.startswith("hf:") or not MODELS[name].custom_trainer or forms == ["–", "–"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_a_family_exports_to_the_formats_of_its_row(name, put, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, model = TINY.get(name, {}), None
    if name.startswith("hf:"):
        monkeypatch.setitem(tiny.SMALL, "num_hidden_layers", 1)
        tiny.make(Path(name[5:]), name[5:])
        model, options = model_named(name), {"pooling": "transformers"}
    model, task = model or MODELS[name], put(task_of_kind("multiclass"))
    network, _, stored = kept(job_of(model, task, options), tmp_path / "runs")
    logits = network.logits(task.load("test").seqs)
    np.testing.assert_allclose(logits, stored["logits"], atol=1e-4, rtol=1e-4)
    for form, cell in zip(FORMS, CELLS[name][1:3], strict=True):
        if form == "onnx" and name in AS_LLAMA:
            continue
        if cell == "–":
            with pytest.raises(ValueError, match=rf"{model.name} cannot be exported"):
                export(network, form, tmp_path / form)
            assert not (tmp_path / form).exists()
        else:
            done = export(network, form, tmp_path / form)
            assert done.any_length == (cell == "yes"), form


class Astray(torch.nn.Module):
    """A network whose exported program answers otherwise, as one with a wrong operation would."""

    def __init__(self, net, exported, longest=1000):
        super().__init__()
        self.net, self.exported, self.longest = net, exported, longest

    def forward(self, ids, mask):
        """Of 80 bp in training."""
        logits = self.net(ids, mask)
        if torch.compiler.is_exporting():
            return self.exported(logits, ids.shape[1])
        if ids.shape[1] > self.longest:
            raise ValueError("too long")
        return logits


@pytest.fixture
def network(put, tmp_path):
    """Takes sequences of any length."""
    return tiny_network(tmp_path / "runs", put, "cnn", "multiclass")[0]


def test_a_file_that_answers_nan_is_refused(network, tmp_path):
    network.net = Astray(network.net, lambda logits, width: logits * math.nan)
    with pytest.raises(ValueError, match=r"other logits, off by nan"):
        export(network, "torch-export", tmp_path / "file")
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    "exported",
    [
        lambda logits, width: logits + (width - 80),
        lambda logits, width: logits + torch.sym_max(width - 80, 0),
        lambda logits, width: logits * (width - 70) / (width - 70),  # NaN at 70 alone
    ],
    ids=["every other length", "longer ones", "NaN at one length"],
)
def test_a_file_that_is_wrong_at_other_lengths_is_held_to_one(exported, network, tmp_path):
    network.net = Astray(network.net, exported)
    done = export(network, "torch-export", tmp_path / "file")
    assert not done.any_length and not done.longer and done.difference < 1e-3


@pytest.mark.parametrize("padding", ["left-n", "left-pad"])
def test_a_file_says_how_letters_are_cut_and_padded(padding, put, tmp_path):
    network, *_ = tiny_network(
        tmp_path, put, "convnova-386k", "multiclass", options=BRANCHES, max_length=40,
        padding=padding,
    )  # fmt: skip
    done = export(network, "torch-export", tmp_path / "file")
    assert (done.tokens, done.any_length) == (40, True) and done.difference < 1e-4
    cut, filled = reading(network)
    assert cut == "of more than 40 tokens give it the first 40, as in training"
    what = {"left-n": "N (id 4)", "left-pad": "padding (id 5)"}[padding]
    assert f"on the left with {what} to 40 bp, and give a mask of ones" in filled
    more = {"dnabench.json": ""}
    program = torch.export.load(tmp_path / "file", extra_files=more).module()
    assert json.loads(more["dnabench.json"])["reading"] == f"{cut}; {filled}"
    rng = np.random.default_rng(0)
    for n in (60, 40, 30):
        text = "".join(rng.choice(list("ACGT"), n))
        ids = ["ACGT".index(x) for x in text[:40]]
        ids = [4 if padding == "left-n" else 5] * (40 - len(ids)) + ids
        found = program(torch.tensor([ids]), torch.ones(1, 40)).detach()
        np.testing.assert_allclose(found, network.logits([text]), atol=1e-5)


def test_a_file_of_words_is_made_for_as_many_as_are_read(put, tmp_path):
    network, *_ = tiny_network(
        tmp_path, put, "dnabert-3", "multiclass", options=WORDS, max_length=20
    )
    assert export(network, "torch-export", tmp_path / "file").tokens == 20
    assert reading(network) == [
        "of more than 20 tokens give it the first 19 and the last, as in training"
    ]


@pytest.mark.parametrize(("longest", "longer"), [(1000, True), (80, False)])
def test_longer_ones_are_tried_where_the_network_takes_them(longest, longer, network, tmp_path):
    network.net = Astray(network.net, lambda logits, width: logits, longest)
    done = export(network, "torch-export", tmp_path / "file")
    assert done.any_length and done.longer == longer


def _no_svd(logits, width):
    return logits + torch.linalg.svdvals(logits).sum()


def _asks_for_a_value(logits, width):
    return logits * 2 if float(logits.sum()) > 0 else logits


def _two_reasons(logits, width):
    raise RuntimeError("every length" if isinstance(width, torch.SymInt) else "one length\nmore")


@pytest.mark.parametrize(
    ("form", "exported", "says"),
    [("onnx", _no_svd, r"DispatchError: No ONNX function found for .*linalg_svd.*"),
     ("onnx", _asks_for_a_value, r"data-dependent .* \(test_exports.py, line \d+\)"),
     ("torch-export", _asks_for_a_value, r"data-dependent .* \(test_exports.py, line \d+\)"),
     ("torch-export", _two_reasons, "RuntimeError: one length")],
)  # fmt: skip
def test_a_format_that_fails_names_the_first_cause_in_a_line(
    form, exported, says, network, tmp_path
):
    network.net = Astray(network.net, exported)
    says = f"cnn cannot be exported to {form}, another .*{says}$"
    with pytest.raises(ValueError, match=says) as e:
        export(network, form, tmp_path / "file")
    assert "\n" not in str(e.value) and "Next steps" not in str(e.value)
    assert not (tmp_path / "file").exists()
