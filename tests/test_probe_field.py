"""Receptive fields, paths, and effective fields: probes/."""

import hashlib
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import dnabench
from kept_cases import put, tiny_network  # noqa: F401
from test_probe_variants import net, own_cache  # noqa: F401
from typer.testing import CliRunner

from dnabench import MODELS
from dnabench.cli import main
from dnabench.networks.embedding import of_model, of_network
from dnabench.probes.convolutions import stack_of
from dnabench.probes.effective import at_each, replaced, span
from dnabench.probes.embed import language_source
from dnabench.probes.field import field, random_sequences, rows
from dnabench.probes.paths import Convolution, count_paths, receptive_field


def dilated(kernel, base, layers):
    return [Convolution(kernel, base**i) for i in range(layers)]


@pytest.mark.parametrize(
    ("stack", "at", "total", "largest"),
    [
        (dilated(5, 2, 8), {0: 577, 1: 408, 2: 696, 8: 653, 100: 703}, 390_625, (832, 86)),
        (dilated(9, 2, 6), {0: 2081, 1: 1636, 2: 2000, 8: 2088, 100: 1686}, 531_441, (2108, 20)),
        (dilated(9, 3, 5), {0: 81, 244: 81, 245: 80, 247: 80, 248: 79, 484: 1, 485: 0}, 59_049,
         (81, 244)),
    ],
)  # fmt: skip
def test_paths_are_those_of_the_thesis_figures(stack, at, total, largest):
    paths = count_paths(stack)
    assert {offset: paths.at(offset) for offset in at} == at
    assert {offset: paths.at(-offset) for offset in at} == at
    assert paths.total == total
    most, where = paths.largest
    assert (most, where[-1]) == largest


def test_counts_beyond_64_bits_are_exact():
    paths = count_paths([Convolution(9, 2 ** (i % 6)) for i in range(25)])
    assert paths.field == 2025 and paths.total == 9**25
    assert paths.at(0) == 1_465_111_278_981_413_463_257


@pytest.mark.parametrize(("kernel", "base"), [(3, 2), (3, 3), (3, 4), (5, 5), (5, 6), (9, 10)])
def test_there_are_gaps_exactly_when_the_base_exceeds_the_kernel(kernel, base):
    paths = count_paths(dilated(kernel, base, 3))
    assert (paths.widest_gap > 0) == (base > kernel) == (paths.covered < paths.field)


def test_paths_with_strides_are_those_of_a_slow_count():
    stack = [Convolution(5, 1), Convolution(2, 1, 2), Convolution(3, 2), Convolution(2, 1, 2)]
    x = torch.zeros(1, 1, 200, dtype=torch.float64, requires_grad=True)
    y = x
    for layer in stack:
        weight = torch.ones(1, 1, layer.kernel, dtype=torch.float64)
        y = torch.nn.functional.conv1d(y, weight, stride=layer.stride, dilation=layer.dilation)
    y[0, 0, 20].backward()
    reached = x.grad[0, 0].nonzero()[:, 0].numpy()
    counts = x.grad[0, 0, reached[0] : reached[-1] + 1].numpy().astype(int)
    assert np.array_equal(count_paths(stack).counts, counts)
    assert receptive_field(stack) == len(counts)


def test_a_field_too_large_to_count_is_refused():
    with pytest.raises(ValueError, match="has 134,217,729 bp, paths are counted in 16,777,216"):
        count_paths([Convolution(3, 2**26)])


@pytest.mark.parametrize(
    ("name", "options", "bp"),
    [
        ("gpn-legacy", {"layers": 6}, 505), ("gpn-legacy", {}, 2025),
        ("gpn", {"layers": 8, "first_kernel": 5}, 1021), ("gpn", {"layers": 8}, 1025),
        ("gpn", {}, 3069), ("gpn-c2", {"layers": 5}, 969), ("gpn-c2", {}, 3873),
        ("gpn-cl", {"layers": 6}, 2913), ("gpn-cl", {}, 8737), ("gpn-smol", {}, 1529),
        ("convnova", {}, 697), ("convnova", {"dilation_schedule": "code"}, 193),
        ("convnova-386k", {}, 353), ("convnova-386k", {"dilation_schedule": "code"}, 101),
        ("convnova-7.4m", {}, 1385), ("convnova-7.4m", {"dilation_schedule": "paper"}, 699_065),
        ("convnova-7.4m", {"dilation_schedule": "code"}, 27_329), ("basenji", {}, 1334),
        ("unet", {}, 1),
    ],
)  # fmt: skip
def test_fields_are_read_from_the_layers(name, options, bp):
    narrow = {"width": 8, **({"inner": 8} if "inner" in MODELS[name].options else {})}
    narrow = narrow if "width" in MODELS[name].options else {}
    source = of_model(name, "scratch", 300, options={**narrow, **options})
    assert receptive_field(stack_of(source.net, torch.zeros(1, 300, dtype=torch.uint8))) == bp


class Sums(torch.nn.Module):
    """Convolutions with weights of 1: its derivatives are the path counts."""

    def __init__(self, kernel, base, layers):
        super().__init__()
        self.embed = torch.nn.Embedding(8, 1)
        torch.nn.init.constant_(self.embed.weight, 1.0)
        self.embed.weight.data[:4, 0] = torch.tensor([0.0, 1.0, 2.0, 3.0])
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv1d(1, 1, kernel, dilation=base**i, bias=False,
                            padding=(kernel - 1) // 2 * base**i)
            for i in range(layers)
        )  # fmt: skip
        for layer in self.layers:
            torch.nn.init.ones_(layer.weight)

    def forward(self, ids, mask):
        x = self.embed(ids.long()).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return x.transpose(1, 2)


def test_both_effective_fields_of_a_linear_network_are_the_squared_paths():
    sums = torch.nn.Module()
    sums.backbone = Sums(3, 2, 4)
    source = of_model("convnova", "scratch", 65, options={"width": 8})._replace(net=sums)
    sums.forward = sums.backbone.forward
    found = field("sums", source, random_sequences(3, 65), 65)
    assert found.alone and found.paths.field == 31
    expected = np.zeros(65)
    expected[32 - 15 : 32 + 16] = found.paths.counts.astype(float) ** 2
    assert found.effect.gradient == pytest.approx(expected / expected.sum(), abs=1e-6)
    changed = found.effect.substitution
    assert (changed[expected == 0] == 0).all()
    ratio = changed[expected > 0] / expected[expected > 0]
    assert ratio.max() / ratio.min() < 14 / 6 + 1e-6  # squares of the letters' distances: 14 or 6
    assert span(found.effect.offsets, found.effect.gradient, 1.0) == 31


def test_replaced_bases_are_the_middle_and_both_ends():
    for length, most in ((513, 33), (513, 5), (64, 9), (129, 33)):
        places = replaced(length, most)
        assert len(places) <= most and {0, length // 2, length - 1} <= set(places.tolist())
    assert {255, 256, 257} <= set(replaced(513, 33).tolist())
    assert replaced(7, 33).tolist() == list(range(7))
    with pytest.raises(ValueError, match="4 bases to replace are too few; take 5"):
        replaced(513, 4)


def test_spans_are_those_of_every_base():
    offsets = np.arange(-256, 257)
    flat = np.full(513, 1 / 513)
    assert [span(offsets, flat, s) for s in (0.5, 0.95, 1.0)] == [257, 489, 513]
    assert span(np.arange(-4, 4), np.ones(8) / 8, 1.0) == 8
    smooth = np.exp(-np.abs(offsets) / 40)
    smooth /= smooth.sum()
    places = replaced(513, 33) - 256
    drawn = at_each(offsets, places, smooth[places + 256])
    exact, found = (span(offsets, x / x.sum(), 0.95) for x in (smooth, drawn))
    assert abs(found / exact - 1) < 0.1


def test_of_branches_the_one_that_reaches_farthest_counts():
    class Branches(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = torch.nn.Conv1d(5, 4, 31, padding=15)
            self.first = torch.nn.Conv1d(5, 4, 3, padding=1)
            self.second = torch.nn.Conv1d(4, 4, 3, padding=1)

        def forward(self, ids, mask):
            x = torch.nn.functional.one_hot(ids.long(), 5).float().transpose(1, 2)
            return self.wide(x) + self.second(self.first(x))

    stack = stack_of(Branches(), torch.zeros(1, 64, dtype=torch.uint8))
    assert stack == [Convolution(31)]


def test_what_cannot_be_measured_is_not_claimed():
    source = of_model("cnn", "scratch", 96)
    found = field("cnn", source, random_sequences(1, 96), 5)
    assert found.beyond is None and found.alone is None and found.paths.field == 57
    assert "what comes after it is not seen" in dict(rows(found)).get("", "")


@pytest.mark.parametrize(
    "name", [name for name in MODELS if not MODELS[name].custom_trainer
             and MODELS[name].tokenizer_name(MODELS[name].options) != "bpe"],
)  # fmt: skip
def test_every_family_has_a_field(name):
    model = MODELS[name]
    source = of_model(name, "scratch", 96, options=dict(model.reduced))
    found = field(name, source, random_sequences(1, 96), 5)
    assert found.effect.gradient.sum() == pytest.approx(1)
    assert (found.effect.gradient >= 0).all() and (found.effect.substitution >= 0).all()
    assert len(found.effect.gradient) == 96
    words = dict(rows(found))
    assert "effective, by gradients" in words
    families = {"gpn": True, "convnova": True, "hyenadna": False, "caduceus": False, "nt": False}
    if model.family in families and "unet" not in name:
        assert bool(found.alone) is families[model.family]


@pytest.mark.parametrize(("name", "by_cudnn"), [("deepatt", False), ("cnn", True)])
def test_gradients_of_a_recurrence_are_not_asked_of_cudnn(name, by_cudnn):
    """It has none of a network that evaluates, and would end the probe on a GPU."""
    source, seen = of_model(name, "scratch", 96, options=dict(MODELS[name].reduced)), []

    def note(*_):
        if torch.is_grad_enabled():
            seen.append(torch.backends.cudnn.enabled)

    source.net.register_forward_pre_hook(note)
    field(name, source, random_sequences(1, 96), 5)
    assert seen == [by_cudnn] and torch.backends.cudnn.enabled


def test_the_command_writes_what_it_prints(tmp_path):
    folder = tmp_path / "found"
    done = dnabench("probe", "field", "gpn-smol", "--set", "width=16", "--set", "inner=16",
                    "--set", "layers=3", "--length", "65", "--to", folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3 layers, taps/dilation: 9/1 5/2 5/4" in done.stdout
    assert "receptive field             33 bp" in done.stdout
    written = json.loads((folder / "field.json").read_text())
    assert written["receptive_field"] == 33 and written["alone"] is True
    assert written["network"] == written["model"] == "gpn-smol" and written["weights"] == "scratch"
    assert written["options"]["width"] == 16
    table = pq.read_table(folder / "paths.parquet").to_pydict()
    assert table["offset"] == list(range(-16, 17)) and sum(map(int, table["paths"])) == 225
    effect = pq.read_table(folder / "effective.parquet").to_pydict()
    assert [sum(effect[k]) for k in ("gradient", "substitution")] == pytest.approx([1, 1])
    assert 5 <= sum(effect["substituted"]) <= 33
    assert (folder / "field.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_of_pretrain_is_measured_with_its_own_weights(net, tmp_path):  # noqa: F811
    words = ["probe", "field", str(net), "--length", "33", "--places", "5"]
    said = CliRunner().invoke(main, [*words, "--to", str(tmp_path / "a")])
    assert not said.exit_code, said.output
    assert said.output.split("\n")[1] == net.name  # no "scratch weights"
    alone = language_source(str(net), 33)[0]
    found = field(net.name, alone, random_sequences(2, 33), 5)
    written = pq.read_table(tmp_path / "a" / "effective.parquet").to_pydict()
    assert written["gradient"] == pytest.approx(found.effect.gradient)
    about = json.loads((tmp_path / "a" / "field.json").read_text())
    sha = hashlib.sha256((net / "model.safetensors").read_bytes()).hexdigest()
    assert about["weights"] == f"sha256:{sha}" and about["model"] == "convnova-386k"
    said = CliRunner().invoke(main, [*words, "--regime", "pretrained", "--to", str(tmp_path / "b")])
    assert said.exit_code and "has weights of its own" in said.output
    assert not (tmp_path / "b").exists()


def test_a_network_that_pads_on_the_left_is_not_run_on_padding(put, tmp_path):  # noqa: F811
    options = {"width": 8, "blocks": 2, "kernel_size": 3}
    network, *_ = tiny_network(
        tmp_path, put, "convnova-386k", "per_base", options=options, padding="left-n"
    )
    source, lengths = of_network(network), []
    network.net.register_forward_pre_hook(lambda m, given: lengths.append(given[0].shape[1]))
    found = field("net", source, random_sequences(1, 65), 5)
    assert found.stack and set(lengths) == {65}


def test_a_kept_network_is_run_on_as_many_bp_as_it_takes(put, tmp_path):  # noqa: F811
    _, record, _ = tiny_network(tmp_path, put, "cnn", "multiclass")  # of 80 bp
    words = ["probe", "field", str(tmp_path / "networks" / record.trial.id), "--places", "5"]
    said = CliRunner().invoke(main, [*words, "--to", str(tmp_path / "a")])
    assert not said.exit_code, said.output
    assert "2 x 80 random bp" in said.output
    said = CliRunner().invoke(main, [*words, "--length", "81", "--to", str(tmp_path / "b")])
    assert said.exit_code and "--length 81: " in said.output
    assert "was trained on 80 bp at most" in " ".join(said.output.split())


def test_stacks_are_drawn_together(tmp_path):
    done = dnabench("probe", "field", "k5.b2.l8", "k9.b3.l5", "--to", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert "receptive field  1,021 bp" in done.stdout and "832 at 42 and 86 bp" in done.stdout
    assert {f.name for f in (tmp_path / "two").iterdir()} == {
        "k5.b2.l8.parquet", "k9.b3.l5.parquet", "field.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [(["kmer"], "kmer has no features"), (["convnova", "k9.b2.l6"], "one network at a time"),
     (["k0.b2.l6"], "at least one layer"), (["k9.b0.l3"], "base 1"),
     (["k9.b1.l90"], "too many to write"), (["gnp"], "no model named 'gnp'"),
     (["dnabert2"], "--set tokenizer=bpe:PATH, or --regime pretrained"),
     (["dnabert", "--length", "600"], "has 597 tokens, and the model reads at most 512")],
)  # fmt: skip
def test_what_has_no_field_is_refused(words, says, tmp_path):
    done = dnabench("probe", "field", *words, "--to", tmp_path / "none")
    assert done.returncode != 0 and says in done.stderr and "Traceback" not in done.stderr
