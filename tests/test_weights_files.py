"""Weights from files: every tensor accounted for, no code ever run."""

import pickle

import pytest
import torch
from conftest import planted_task
from safetensors.torch import save_file

from dnabench import MODELS
from dnabench.loading import load
from dnabench.tensors import read_set
from dnabench.weights import load_regime, resolve

TASK = planted_task(classes=3)
WIDTH = {"width": 32, "layers": 2, "l_max": 66}


def hyena_file(**changes):
    net = MODELS["hyenadna"].build(TASK, {**MODELS["hyenadna"].options, **WIDTH, **changes})
    return {f"hyena.backbone.{k}": v.clone() for k, v in net.backbone.state_dict().items()}


def hyena():
    model = MODELS["hyenadna"]
    return model, model.build(TASK, {**model.options, **WIDTH})


def test_a_lightning_checkpoint_of_the_training_code_loads(tmp_path):
    model, net = hyena()
    state = {
        k.replace("hyena.", "model.")
        .replace("mixer.", "mixer.layer.")
        .replace("mlp.", "mlp.layer."): v
        for k, v in hyena_file().items()
    }
    state["decoder.0.output_transform.weight"] = torch.ones(2, 32)
    torch.save({"state_dict": state, "epoch": 3, "hyper": {"lr": 0.1}}, tmp_path / "w.ckpt")
    regime, path = resolve(model, f"checkpoint:{tmp_path / 'w.ckpt'}")
    loaded = load_regime(net, model, regime, path)
    assert loaded.unused == ["decoder.0.output_transform.weight"]
    ours = net.backbone.state_dict()
    assert all(torch.equal(ours[k.removeprefix("hyena.backbone.")], v)
               for k, v in hyena_file_of(state).items())  # fmt: skip


def hyena_file_of(state):
    return {
        "hyena.backbone." + k.removeprefix("model.backbone.").replace(".layer.", ".").replace(
            "layers", "layers"): v
        for k, v in state.items() if k.startswith("model.")
    }  # fmt: skip


def test_a_tied_tensor_may_have_either_name_or_both_if_equal():
    model, net = hyena()
    state = hyena_file()
    name = "hyena.backbone.layers.0.mixer.filter_fn.implicit_filter.{}.freq"
    for i in (1, 3):
        state.pop(name.format(i))
    load(net, model, state, "x")
    assert net.backbone.layers[0].mixer.filter_fn.implicit_filter[1].freq is (
        net.backbone.layers[0].mixer.filter_fn.implicit_filter[5].freq
    )
    state[name.format(1)] = state[name.format(5)] + 1
    with pytest.raises(ValueError, match=r"must be equal: they are tied in"):
        load(net, model, state, "x")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("hyena.backbone.ln_f.bias"), r"ln_f.bias \(32,\) is not in the file"),
        (lambda s: s.update({"hyena.extra": torch.ones(2)}),
         r"hyena.extra \(2,\) is not a tensor of"),
        (lambda s: s.update({"hyena.backbone.ln_f.bias": torch.ones(7)}),
         r"hyena.backbone.ln_f.bias is \(7,\), hyenadna has \(32,\)"),
    ],
)  # fmt: skip
def test_nothing_is_left_out_silently(change, says):
    model, net = hyena()
    state, before = hyena_file(), net.backbone.ln_f.weight.clone()
    change(state)
    with pytest.raises(ValueError, match=says):
        load(net, model, state, "w.safetensors")
    assert torch.equal(net.backbone.ln_f.weight, before)  # nothing was copied


def test_two_tensors_for_one_place_are_named_unless_equal(tmp_path):
    model, net = hyena()
    state = hyena_file()
    state["backbone.ln_f.bias"] = state["hyena.backbone.ln_f.bias"].clone()
    load(net, model, state, "x")
    state["backbone.ln_f.bias"] += 1
    with pytest.raises(ValueError, match=r"both map to ln_f.bias and differ"):
        load(net, model, state, "x")
    torch.save({"state_dict": {"model.w": torch.ones(1), "w": torch.ones(1)}}, tmp_path / "w.ckpt")
    with pytest.raises(ValueError, match=r"model.w and w are the same name"):
        read_set(tmp_path / "w.ckpt")


def test_filters_of_another_length_are_refused():
    model, net = hyena()
    state = hyena_file()
    state["hyena.backbone.layers.0.mixer.filter_fn.pos_emb.z"] = torch.ones(1, 1026, 5)
    with pytest.raises(ValueError, match="is for l_max=1026, the model has l_max=66"):
        load(net, model, state, "x")


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("inside", [False, True])
def test_a_pickle_with_code_is_refused_and_nothing_runs(tmp_path, inside):
    path, trace = tmp_path / "w.bin", tmp_path / "ran"
    if inside:
        torch.save({"a": torch.ones(2), "b": Evil(trace)}, path)
    else:
        path.write_bytes(pickle.dumps(Evil(trace), protocol=2))
    with pytest.raises(ValueError, match="refused: this pickle holds more than tensors"):
        read_set(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [("w.safetensors", b"<html>", "cannot be read as weights"),
     ("w.pt", b"PK\x03\x04broken", "cannot be read as weights")],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path, name, data, says):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=says) as e:
        read_set(tmp_path / name)
    assert str(tmp_path / name) in str(e.value)


def test_a_file_without_tensors_is_named(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="holds no named tensors"):
        read_set(tmp_path / "w.pt")


def test_a_checkpoint_that_changed_since_the_plan_is_refused(tmp_path):
    model, net = hyena()
    path = tmp_path / "w.safetensors"
    save_file(hyena_file(), path)
    regime, where = resolve(model, f"checkpoint:{path}")
    save_file({k: v + 1 for k, v in hyena_file().items()}, path)
    with pytest.raises(ValueError, match="changed since the run was planned"):
        load_regime(net, model, regime, where)
