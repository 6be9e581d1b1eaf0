"""harness/tensors.py and loading.load: checkpoints as frameworks write them."""

import json
from pathlib import Path

import pytest
import torch
from conftest import dnabench, planted_task
from safetensors.torch import save_file

from dnabench import MODELS
from dnabench.loading import load
from dnabench.models.outside.references import model_named
from dnabench.tensors import content_hash, note, read_set
from dnabench.weights import load_regime, resolve

TASK = planted_task(classes=3)
MODEL = MODELS["convnova-386k"]


def build(seed=0, **options):
    torch.manual_seed(seed)
    return MODEL.build(TASK, {**MODEL.options, "blocks": 2, **options})


def state():
    return {k: v.clone() for k, v in build(1).backbone.state_dict().items()}


def shards(folder, tensors, lacking=(), unnamed=()):
    """Two shards and their index, as transformers writes them."""
    keys = list(tensors)
    parts = (keys[: len(keys) // 2], keys[len(keys) // 2 :])
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for name, part in zip(names, parts, strict=True):
        if name not in lacking:
            save_file({k: tensors[k] for k in part if k not in unnamed}, folder / name)
    where = {k: name for name, part in zip(names, parts, strict=True) for k in part}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return index


FIRST = next(k for k, v in state().items() if v.ndim > 1)


def prefixed(prefix):
    return {prefix + k: v for k, v in state().items()}


WRITTEN = {
    "Lightning and torch.compile": {"state_dict": prefixed("model._orig_mod."), "epoch": 1},
    "DDP and torch.compile": prefixed("module._orig_mod."),
    "compiled twice": prefixed("_orig_mod.module._orig_mod."),
    "Lightning, a wrapped module": {"state_dict": prefixed("model.model.net.")},
    "a plain loop": {"model_state_dict": state(), "optimizer_state_dict": {
        "state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}, "loss": 0.3},
    "deeper": {"run": {"epoch": 3, "model": state()}, "seed": 1},
    "with an average beside it": {"model": state(), "ema": prefixed("shadow.")},
    "a generator's state beside it": {"model": state(), "rng": torch.get_rng_state()},
    "numbers beside the tensors": {**state(), "epoch": 3},
    "half precision": {k: v.half() if v.is_floating_point() else v for k, v in state().items()},
}  # fmt: skip


@pytest.mark.parametrize("name", list(WRITTEN))
def test_what_frameworks_write_loads(name, tmp_path):
    torch.save(WRITTEN[name], tmp_path / "w.ckpt")
    regime, path = resolve(MODEL, f"checkpoint:{tmp_path / 'w.ckpt'}")
    net = build()
    loaded = load_regime(net, MODEL, regime, path)
    assert len(loaded.copied) == len(state())
    tolerance = {"rtol": 1e-3, "atol": 1e-3} if "half" in name else {"rtol": 0, "atol": 0}
    for key, value in net.backbone.state_dict().items():
        torch.testing.assert_close(value, state()[key], **tolerance)


BESIDE = {
    "a moving average": ({"model": state(), "ema": prefixed("shadow.")}, "model", "ema was"),
    "as timm writes it": ({"state_dict": state(), "state_dict_ema": state()}, "state_dict",
                          "state_dict_ema was"),
    "one in a list": ({"model": state(), "ema": {"shadow_params": [*state().values()]}}, "model",
                      "ema.shadow_params (a list without names) was"),
    "both": ({"net": state(), "ema": [*state().values()], "teacher": state()}, "net",
             "teacher and ema (a list without names) were"),
    "beside the outermost": ({**state(), "ema": state()}, "the outermost", "ema was"),
    "of another network": ({"model": state(), "teacher": torch.nn.GRU(4, 5).state_dict(),
                            "critic": torch.nn.Linear(7, 2).state_dict()}, "model",
                           "teacher and critic were"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BESIDE))
def test_other_weights_in_a_file_are_named(name, tmp_path):
    written, read_, others = BESIDE[name]
    torch.save(written, tmp_path / "w.pt")
    beside = read_set(tmp_path / "w.pt").beside
    assert f"w.pt holds several sets of weights: {read_} was read, {others} not" in beside


def test_the_way_to_other_weights_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    average = {k: v + 1 for k, v in state().items()}
    torch.save({"model": state(), "ema": average}, "w.pt")
    exec(read_set(Path("w.pt")).beside.rpartition("alone: ")[2], {"torch": torch})
    found, beside = read_set(Path("other.pt"))
    assert not beside and all(torch.equal(found[k], v) for k, v in average.items())


@pytest.mark.parametrize(
    "more",
    [{}, {"optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "ema": state()}},
     {"hyper_parameters": {"class_weights": torch.ones(3)}}, {"rng": [torch.get_rng_state()]},
     {"adam": {"exp_avg": [*state().values()]}}, {"adam": {"exp_avg_sq": state()}},
     {"generators": [torch.zeros(16, dtype=torch.uint8)] * 100},
     {"longs": {k: v.long() for k, v in state().items()}},
     {"features": {f"{i}": torch.ones(7, i) for i in range(100)}},
     {"criterion": {"weight": torch.ones(3)}, "clusters": {"centres": torch.ones(5, 7)}}],
)  # fmt: skip
def test_nothing_is_said_of_what_is_no_other_weights(more, tmp_path):
    torch.save({"model": state(), **more}, tmp_path / "w.pt")
    assert read_set(tmp_path / "w.pt").beside == ""


def test_statistics_of_data_beside_a_small_network_are_no_weights(tmp_path):
    tensors = {"w": torch.ones(3, 4), "b": torch.ones(3), "scale": torch.ones(3)}
    stats = {"mean": torch.zeros(3), "std": torch.ones(3)}
    torch.save({"model": tensors, "stats": stats, "seen": [torch.ones(())] * 3}, tmp_path / "w.pt")
    assert read_set(tmp_path / "w.pt").beside == ""


def test_an_average_of_the_parameters_alone_is_named(tmp_path):
    net = torch.nn.Sequential(torch.nn.Conv1d(4, 8, 3, bias=False), torch.nn.BatchNorm1d(8))
    average = {k: p.half() for k, p in net.named_parameters()}
    torch.save({"model": net.state_dict(), "ema": average}, tmp_path / "w.pt")
    assert "model was read, ema was not" in read_set(tmp_path / "w.pt").beside


def test_of_several_processes_the_first_one_says_it(monkeypatch, capsys):
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        note("w.pt holds several")
    assert capsys.readouterr().err == "note: w.pt holds several\n"


def test_a_run_and_embed_say_which_weights_were_read(csv, tmp_path):
    torch.save({"model": state(), "ema": state()}, tmp_path / "w.pt")
    given = ("--set", "blocks=2", "--regime", f"checkpoint:{tmp_path / 'w.pt'}")
    ran = dnabench("run", "-m", "convnova-386k", "--data", csv, "--seeds", "1", "--epochs", "1",
                   *given, "-o", tmp_path / "out")  # fmt: skip
    assert "w.pt holds several sets of weights: model was read, ema was not" in ran.stderr
    report = dnabench("report", "--out", tmp_path / "out")
    assert "w.pt holds several sets of weights" in report.stdout
    done = dnabench("embed", "convnova-386k", csv, "--to", tmp_path / "e.npy", *given)
    assert done.returncode == 0 and "note: w.pt holds several sets" in done.stderr


def test_two_sets_of_tensors_without_a_usual_name_are_named(tmp_path):
    torch.save({"teacher": state(), "student": state()}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="several sets of tensors, student, teacher"):
        read_set(tmp_path / "w.pt")


def test_shards_are_read_by_their_index_and_named_by_their_bytes(tmp_path):
    index = shards(tmp_path, state())
    found = read_set(index).tensors
    assert found.keys() == state().keys()
    assert all(torch.equal(found[k], v) for k, v in state().items())
    before = content_hash(index)
    (tmp_path / "b").mkdir()
    assert content_hash(shards(tmp_path / "b", state())) == before
    assert content_hash(shards(tmp_path, {k: v + 1 for k, v in state().items()})) != before


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda f: shards(f, state(), lacking=["model-00002-of-00002.safetensors"]),
         r"lists model-00002-of-00002.safetensors, which is not beside it \(1 of 2"),
        (lambda f: shards(f, state(), unnamed=[FIRST]), "which is not in model-0000"),
        (lambda f: index_file(f, "{}"), "is not an index of shards"),
        (lambda f: index_file(f, "[1]"), "is not an index of shards"),
        (lambda f: index_file(f, '{"weight_map": {"a": "../../etc/x"}}'), "is no file beside it"),
    ],
)  # fmt: skip
def test_an_index_that_cannot_be_followed_says_why(make, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        read_set(make(tmp_path))


def index_file(folder, text):
    path = folder / "model.safetensors.index.json"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (state()[FIRST].to(torch.int8), "has values of type int8.*save it in float32"),
        (state()[FIRST].bool(), "has values of type bool"),
        (state()[FIRST].to(torch.float8_e4m3fn), "has values of type float8_e4m3fn"),
        (state()[FIRST].clone().fill_(float("nan")), "values that are not finite"),
        (state()[FIRST].index_fill(0, torch.tensor(0), float("inf")), "that are not finite"),
    ],
)  # fmt: skip
def test_values_that_are_no_weights_are_refused_by_name(value, says):
    with pytest.raises(ValueError, match=says) as e:
        load(build(), MODEL, {**state(), FIRST: value}, "w.safetensors")
    assert FIRST in str(e.value)


def test_a_wrong_checkpoint_takes_ten_lines_and_its_last_stands_alone():
    wrong = {f"layer.{i}.weight": torch.ones(3) for i in range(200)}
    with pytest.raises(ValueError) as e:
        load(build(), MODEL, wrong, "w.safetensors")
    lines = str(e.value).splitlines()
    n = 200 + len(state())
    assert len(lines) == 10 and max(map(len, lines)) < 120
    assert lines[-2] == f"and {n - 8} more"
    assert lines[-1] == f"w.safetensors does not fit convnova-386k in {n} tensors, see above"


@pytest.mark.parametrize(
    ("case", "file", "code", "says"),
    [("give-32-ckpt-int8", "int8.safetensors", 1, "integer|int8"),
     ("give-34-ckpt-lightning-compiled", "compiled.ckpt", 0, "1 ran"),
     ("give-34-ckpt-lightning-compiled", "ddp.pt", 0, "1 ran"),
     ("give-36-ckpt-sharded", "model.safetensors.index.json", 0, "1 ran")],
)  # fmt: skip
def test_the_reported_cases(case, file, code, says, csv, tmp_path):
    """What the cases' make.py write, on the planted task: the same names, types and layout."""
    tensors = state()
    if "int8" in case:
        save_file({k: (v * 100).to(torch.int8) for k, v in tensors.items()}, tmp_path / file)
    elif "sharded" in case:
        shards(tmp_path, tensors)
    elif file == "ddp.pt":
        torch.save(prefixed("module._orig_mod."), tmp_path / file)
    else:
        torch.save({"state_dict": prefixed("model._orig_mod."), "epoch": 1}, tmp_path / file)
    done = dnabench(
        "run", "-m", "convnova-386k", "--data", csv, "--seeds", "1", "--epochs", "1", "--set",
        "blocks=2", "--regime", f"checkpoint:{tmp_path / file}", "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    if code:
        assert "does not fit convnova-386k in" in done.stderr
        record = next((tmp_path / "out/records").glob("*.json")).read_text()
        assert "has values of type int8" in record
        assert max(map(len, done.stderr.splitlines())) < 250
    else:
        assert says in done.stdout


NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, task):
        super().__init__()
        self.body = nn.Conv1d(4, 8, 3, padding=1)
        self.head = nn.Linear(8, task.n_outputs)

    def forward(self, {}):
        x = {}
        return self.head(torch.relu(self.body(x)).mean(2))
"""


@pytest.mark.parametrize(
    ("given", "letters"),
    [("onehot", "onehot"),
     ("ids, mask", "nn.functional.one_hot(ids.long(), 8)[..., :4].float().transpose(1, 2)")],
)  # fmt: skip
@pytest.mark.parametrize("classes", [3, 7])
def test_a_users_network_loads_as_a_whole_and_its_head_where_it_fits(
    given, letters, classes, tmp_path
):
    (tmp_path / "net.py").write_text(NET.format(given, letters))
    model = model_named(f"{tmp_path / 'net.py'}:Net")
    torch.manual_seed(1)
    other = model.build(planted_task(classes=classes), model.options)
    tensors = dict(getattr(other, "backbone", other).state_dict())
    net = model.build(TASK, model.options)
    loaded = load(net, model, tensors, "w.pt")
    kept = {"head.weight", "head.bias"} if classes == 7 else set()
    assert set(loaded.unused) == kept and set(loaded.copied) == tensors.keys() - kept
    own = getattr(net, "backbone", net).state_dict()
    assert all(torch.equal(own[k], tensors[k]) for k in loaded.copied)
    with pytest.raises(ValueError, match=r"body\.bias .* is not in the file"):
        load(net, model, {k: v for k, v in tensors.items() if k != "body.bias"}, "w.pt")
