"""`run --keep` and `--regime checkpoint:DIR`, as real commands."""

import contextlib
import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import test_hyenadna
from conftest import dnabench, planted_split
from kept_cases import job_of, kept, task_of_kind
from safetensors.torch import load_file
from test_weights import ALL, as_bytes, hub, pretrained  # noqa: F401

from dnabench import MODELS
from dnabench.models.outside.references import model_named
from dnabench.networks.network import load_network
from dnabench.results.store import Store
from dnabench.sweep.keeping import best_seeds, drop_worse, validation
from dnabench.sweep.stored import written_grid
from dnabench.sweep.sweep import Summary
from dnabench.sweep.sweep import run as run_jobs
from dnabench.sweep.trial import task_of
from dnabench.sweep.worker import Worker
from dnabench.types import Job, Resources
from dnabench.weights import FREE, load_regime, resolve

CODE = """
import torch


class Net(torch.nn.Module):
    def __init__(self, task, width=8):
        super().__init__()
        self.words = torch.nn.Embedding(6, width)
        self.head = torch.nn.Linear(width, task.n_outputs)

    def forward(self, ids, mask):
        x = self.words(ids.long())
        return self.head(x.mean(1) if mask is None else (x * mask[..., None]).mean(1))
"""
FLAGS = ("--epochs", "2", "--seeds", "3", "--executor", "inline")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished sweep without networks; copy it before writing to it."""
    folder = tmp_path_factory.mktemp("swept")
    rows = ["sequence,label,split"]
    for seed, (split, n) in enumerate((("train", 64), ("dev", 24), ("test", 32))):
        part = planted_split(n, seed)
        rows += [f"{part.seqs[i]},{part.y[i]},{split}" for i in range(n)]
    (folder / "motif.csv").write_text("\n".join(rows) + "\n")
    done = run(folder, folder / "runs")
    assert done.returncode == 0, done.stderr
    assert "no trained network is kept; the same command with --keep best" in done.stdout
    assert not (folder / "runs" / "networks").exists()
    return folder


@pytest.fixture
def runs(swept, tmp_path):
    """A copy of the sweep's folder."""
    return shutil.copytree(swept / "runs", tmp_path / "runs")


def run(folder, out, *words, models="kmer,cnn"):
    return dnabench("run", "-m", models, "--data", folder / "motif.csv", "--out", out,
                    *FLAGS, *words)  # fmt: skip


def networks(out):
    return {p.parent.name for p in out.glob("networks/*/network.json")}


def check_logits(out):
    """Every network gives the stored logits of its trial."""
    store = Store(out)
    for trial_id in networks(out):
        network, stored = load_network(store.network_path(trial_id)), store.predictions(trial_id)
        record = network.card.record
        task = task_of(Job(record.trial, record.where["path"]))
        logits = network.logits(task.load("test").seqs)
        np.testing.assert_allclose(logits, stored["logits"], atol=1e-5, rtol=1e-5)


def test_finished_trials_run_again_for_their_networks_alone(swept, runs):
    before = {p.name: p.read_bytes() for p in (runs / "records").iterdir()}
    done = run(swept, runs, "--keep", "best")
    assert done.returncode == 0, done.stderr
    assert "2 finished trials run again to keep their networks" in done.stderr
    assert "0 ran, 6 already done" in done.stdout and "2 networks kept in" in done.stdout
    assert networks(runs) == best_seeds(Store(runs)) and len(networks(runs)) == 2
    assert before == {p.name: p.read_bytes() for p in (runs / "records").iterdir()}
    check_logits(runs)
    again = run(swept, runs, "--keep", "best")
    assert "run again" not in again.stderr and "2 networks kept in" in again.stdout
    assert "6 networks kept in" in run(swept, runs, "--keep", "all").stdout
    assert len(networks(runs)) == 6
    assert {load_network(p).card.keep for p in (runs / "networks").iterdir()} == {"all"}
    check_logits(runs)


def test_the_best_seed_alone_is_kept_from_the_start(swept, tmp_path):
    done = run(swept, tmp_path, "--keep", "best")
    assert done.returncode == 0 and "6 ran" in done.stdout, done.stderr
    records = list(Store(tmp_path))
    assert networks(tmp_path) == best_seeds(records) and "run again" not in done.stderr
    for trial_id in networks(tmp_path):
        best = next(r for r in records if r.trial.id == trial_id)
        rivals = [r for r in records if r.trial.model == best.trial.model]
        top = max(r.scores["val"]["mcc"] for r in rivals)
        assert best.scores["val"]["mcc"] == validation(best) == top
    ids = {r.trial.id for r in records}
    assert ids == {r.trial.id for r in Store(swept / "runs")}  # --keep is no part of them


def test_a_network_that_would_give_other_logits_is_not_kept(swept, runs):
    trial_id = next(r.trial.id for r in Store(runs) if r.trial.model == "cnn")
    path = Store(runs).predictions_path(trial_id)
    arrays = Store(runs).predictions(trial_id)
    np.savez(path, **{**arrays, "logits": arrays["logits"] + 0.5})
    done = run(swept, runs, "--keep", "all", models="cnn")
    assert done.returncode == 1 and "2 networks kept in" in done.stdout
    assert "differ from the stored ones by up to 0.5" in done.stderr
    assert trial_id not in networks(runs) and len(networks(runs)) == 2
    path.unlink()
    done = run(swept, runs, "--keep", "all", models="cnn")
    assert done.returncode == 1 and "running it again failed: FileNotFoundError" in done.stderr


def test_a_network_whose_writing_was_cut_off_is_written_again(swept, runs):
    run(swept, runs, "--keep", "all", models="cnn")
    one, two, _ = sorted(networks(runs))
    (runs / "networks" / one / "network.json").unlink()  # it comes last
    os.truncate(runs / "networks" / two / "model.safetensors", 100)
    done = run(swept, runs, "--keep", "all", models="cnn")
    assert "1 finished trials run again" in done.stderr and one in networks(runs)
    with pytest.raises(ValueError, match="its SHA-256 is another; remove the folder"):
        load_network(runs / "networks" / two)


def test_other_words_and_protocols_without_validation_are_refused(swept, tmp_path):
    done = run(swept, tmp_path, "--keep", "some")
    assert done.returncode == 2 and "--keep 'some': write no, best or all" in done.stderr
    rows = (swept / "motif.csv").read_text().replace(",dev\n", ",train\n")
    (tmp_path / "motif.csv").write_text(rows)
    done = run(tmp_path, tmp_path, "--keep", "best", "--protocol", "test-selected/1")
    assert done.returncode == 2 and "has no validation scores of data/motif" in done.stderr


def test_removing_a_network_leaves_nothing(tmp_path):
    store = Store(tmp_path)
    store.save_network("x", {"network.json": b"{}", "model.safetensors": b"1"})
    assert store.has_network("x")
    store.remove_network("x")
    store.remove_network("x")
    assert not store.has_network("x") and not store.network_path("x").exists()
    store.save_network("x", {"network.json": b"{}", "model.safetensors": b"1"})
    (store.network_path("x") / "model.onnx").write_text("an export")
    store.remove_network("x")
    assert [p.name for p in store.network_path("x").iterdir()] == ["model.onnx"]


def test_a_card_that_cannot_be_read_ends_no_sweep(put, tmp_path):
    job = job_of(MODELS["cnn"], put(task_of_kind("multiclass")))
    other = job._replace(trial=dataclasses.replace(job.trial, seed=1))
    records = [kept(one, tmp_path, "best", load=False)[1] for one in (job, other)]
    store = Store(tmp_path)
    (worse,) = {r.trial.id for r in records} - best_seeds(records)
    card = store.network_path(worse) / "network.json"
    card.write_text("{}")
    drop_worse(records, records[0], store)
    assert len(networks(tmp_path)) == 2
    card.unlink()
    drop_worse(records, records[0], store)


def test_a_worker_never_drops_the_only_network(put, tmp_path):
    """The best seed has none, as a sweep without --keep ran it."""
    one = job_of(MODELS["cnn"], put(task_of_kind("multiclass")))._replace(keep="best")
    jobs = [one, one._replace(trial=dataclasses.replace(one.trial, seed=1))]
    records = [kept(job, tmp_path / "a", "best", load=False)[1] for job in jobs]
    best = best_seeds(records)
    store = Store(tmp_path / "b")
    store.check_writable()
    store.append(*(r for r in records if r.trial.id in best))
    store.save_config(written_grid(jobs, store.rows()))
    summary = Summary()
    Worker(store, Resources(executor="inline")).take(
        lambda jobs: contextlib.nullcontext(lambda *seen: None), summary
    )
    assert {r.trial.id for r in summary.finished} == {r.trial.id for r in records} - best
    assert networks(tmp_path / "b") == {r.trial.id for r in summary.finished}


def test_a_worse_seed_goes_only_when_the_best_has_its_network(put, tmp_path):
    job = job_of(MODELS["cnn"], put(task_of_kind("multiclass")))
    other = job._replace(trial=dataclasses.replace(job.trial, seed=1))
    records = [kept(one, tmp_path, "best", load=False)[1] for one in (job, other)]
    (best,), store = best_seeds(records), Store(tmp_path)
    (worse,) = {r.trial.id for r in records} - {best}
    store.network_path(best).rename(tmp_path / "elsewhere")
    drop_worse(records, records[0], store)
    assert networks(tmp_path) == {worse}
    (tmp_path / "elsewhere").rename(store.network_path(best))
    drop_worse(records, records[0], store)
    assert networks(tmp_path) == {best}


def test_the_network_of_an_unreadable_record_is_moved_with_it(put, tmp_path):
    job = job_of(MODELS["cnn"], put(task_of_kind("multiclass")))
    kept(job, tmp_path, load=False)
    store, folder = Store(tmp_path), Store(tmp_path).network_path(job.trial.id)
    held = (folder / "model.safetensors").read_bytes()
    store.record_path(job.trial.id).write_text("{}")
    assert store.read_before_writing(job.trial.id) is None and not store.has_network(job.trial.id)
    moved = folder.with_name(f"{folder.name}.unreadable-1")
    assert (moved / "model.safetensors").read_bytes() == held
    with pytest.raises(FileNotFoundError, match="`dnabench run --keep best` makes some"):
        load_network(tmp_path)


def test_a_kept_network_is_where_another_training_begins(swept, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    run(swept, first, "--keep", "all", models="cnn")
    start = sorted(networks(first))[0]
    folder = first / "networks" / start
    words = ("--regime", f"checkpoint:{folder}", "--seeds", "1", "--set", "lr=1e-9")
    done = run(swept, second, "--keep", "all", *words, models="cnn")
    assert done.returncode == 0, done.stderr
    (record,) = Store(second)
    assert record.trial.regime.startswith(f"checkpoint:{start}@")
    assert "head.0.weight" in record.flags["weights"]["unused"]
    old, new = load_network(folder), load_network(second / "networks" / record.trial.id)
    assert new.card.licenses["weights"] == "not stated"
    for name, value in old.net.state_dict().items():
        same = np.allclose(value, new.net.state_dict()[name], atol=1e-6)
        # running statistics of batch norm follow the data even when nothing is learned
        assert "running" in name or "tracked" in name or same != name.startswith("head."), name


@pytest.mark.parametrize("name", ["ntv2-50m", "convnova-386k", "hyenadna-tiny-1k", "unet", "cnn"])
def test_the_same_weights_for_a_task_of_another_kind(name, put, tmp_path):
    model = MODELS[name]
    network, record, _ = kept(job_of(model, put(task_of_kind("multiclass"))), tmp_path)
    regime, path = resolve(model, f"checkpoint:{tmp_path / 'networks' / record.trial.id}")
    other = task_of_kind("regression")
    net = model.build(other, record.trial.options)
    loaded = load_regime(net, model, regime, path)
    own = network.net.state_dict()
    assert set(loaded.copied) == {k for k in own if not k.startswith("head.")}
    assert all(bool((own[k] == v).all()) for k, v in net.state_dict().items() if k[:5] != "head.")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("hyenadna-tiny-1k", {"resid_dropout": 0.3, "embed_dropout": 0.4}),
        ("convnova-386k", {"dropout": 0.3}), ("caduceus_ph-470k", {"exempt": False}),
    ],
)  # fmt: skip
def test_what_matters_in_training_alone_may_differ_from_the_kept_network(
    name, changes, put, tmp_path
):
    """As where a recipe has other dropouts."""
    model, task = MODELS[name], task_of_kind("multiclass")
    network, record, _ = kept(job_of(model, put(task)), tmp_path)
    regime, path = resolve(model, f"checkpoint:{tmp_path / 'networks' / record.trial.id}")
    options = {**record.trial.options, **changes}
    assert options != record.trial.options
    net = model.build(task, options)
    load_regime(net, model, regime, path, options)
    own = network.net.state_dict()
    assert all(bool((own[k] == v).all()) for k, v in net.state_dict().items() if k[:5] != "head.")


def test_every_dropout_may_differ_and_no_shape_or_filter():
    free = {k for m in map(MODELS.__getitem__, MODELS) for k in m.options if "dropout" in k}
    assert free <= {*FREE} and not {"shift", "dilation", "width", "tokenizer"} & {*FREE}


def test_folders_that_are_no_start_are_refused(put, tmp_path):
    model = MODELS["convnova-386k"]
    with pytest.raises(ValueError, match="no kept network in this folder"):
        resolve(model, f"checkpoint:{tmp_path}")
    _, record, _ = kept(job_of(model, put(task_of_kind("multiclass"))), tmp_path)
    folder = tmp_path / "networks" / record.trial.id
    with pytest.raises(ValueError, match="of convnova-386k, not of unet; write --regime"):
        resolve(MODELS["unet"], f"checkpoint:{folder}")
    regime, path = resolve(model, f"checkpoint:{folder}")
    trained = record.trial.options["dilation"]
    options = {**record.trial.options, "dilation": trained + 1, "dropout": 0.5}
    other = model.build(task_of_kind("multiclass"), options)
    with pytest.raises(ValueError, match=rf"write --set convnova-386k\.dilation={trained}\. "):
        load_regime(other, model, regime, path, options)
    wider = model.build(task_of_kind("multiclass"), {**model.options, "width": 12})
    with pytest.raises(ValueError, match=r"does not fit convnova-386k as it is set here: .*--set"):
        load_regime(wider, model, regime, path)
    card = json.loads((folder / "network.json").read_text())
    (folder / "network.json").write_text(
        json.dumps({**card, "backbone": "pretrained:a/b@" + "0" * 40})
    )
    with pytest.raises(ValueError, match="a head on frozen weights, which it does not hold"):
        resolve(model, f"checkpoint:{folder}")


def test_a_kept_probe_holds_its_head_and_names_the_official_weights(hub, put, tmp_path):  # noqa: F811
    name, options, state, file = ALL[next(iter(test_hyenadna.OFFICIAL))]()
    model, (regime, revision) = MODELS[name], pretrained(name)
    hub.put(model.weights.repo, file, as_bytes(state, file), revision)
    named, _ = resolve(model, regime)
    task = put(task_of_kind("multiclass", 60))
    one = job_of(model, task, options, regime=named, finetune="probe", precision="fp32")
    network, record, stored = kept(one, tmp_path / "runs")
    folder = tmp_path / "runs" / "networks" / record.trial.id
    assert network.card.backbone == named
    assert network.card.licenses["weights"] == model.weights.license
    assert set(load_file(folder / "model.safetensors")) == {"head.weight", "head.bias"}
    logits = network.logits(task.load("test").seqs)
    np.testing.assert_allclose(logits, stored["logits"], atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="a head on frozen weights, which it does not hold"):
        resolve(model, f"checkpoint:{folder}")


def test_a_network_of_a_users_file_loads_with_that_file_alone(put, tmp_path):
    path = tmp_path / "net.py"
    path.write_text(CODE)
    model = model_named(f"{path}:Net")
    _, record, stored = kept(job_of(model, put(task_of_kind("multiclass"))), tmp_path / "runs",
                             load=False)  # fmt: skip
    folder = tmp_path / "runs" / "networks" / record.trial.id
    network = load_network(folder, model=f"{path}:Net")
    logits = network.logits(task_of_kind("multiclass").load("test").seqs)
    np.testing.assert_allclose(logits, stored["logits"], atol=1e-5)
    path.write_text(CODE + "# another\n")
    with pytest.raises(ValueError, match=r"the code is .*, that of the network was"):
        load_network(folder, model=f"{path}:Net")
    with pytest.raises(ValueError, match=r"this network is one of net\.py:Net"):
        load_network(folder, model="cnn")
    MODELS._brought.clear()
    with pytest.raises(ValueError, match="is not part of dnabench; give it again"):
        load_network(folder)


@pytest.mark.parametrize("kept_in", ["self.drawn =", 'self.register_buffer("drawn",'])
def test_what_is_not_in_the_state_of_a_network_keeps_it_from_being_kept(kept_in, put, tmp_path):
    drawn = f"{kept_in} torch.randn(width)" + (", persistent=False)" if "(" in kept_in else "")
    path = tmp_path / "net.py"
    code = CODE.replace("self.head =", f"{drawn}\n        self.head =")
    path.write_text(code.replace("self.words(ids.long())", "self.words(ids.long()) * self.drawn"))
    job = job_of(model_named(f"{path}:Net"), put(task_of_kind("multiclass")))
    store = Store(tmp_path / "runs")
    found = run_jobs([job._replace(keep="all")], store, Resources(executor="inline"))
    assert [r.trial.id for r in store] == [job.trial.id] and not found.failed
    assert not store.has_network(job.trial.id)
    assert "it gives other logits" in found.networks[job.trial.id]
