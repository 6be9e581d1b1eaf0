"""Weights: from a hub on loopback, from the command; every model's, with licence and revision."""

import dataclasses
import io
import json
import os
import subprocess
import sys

import golden
import pytest
import test_caduceus
import test_dnabert
import test_dnabert2
import test_gena_lm
import test_gpn
import test_hyenadna
import test_nt_h
import test_ntv2
import torch
from conftest import command, completed, dnabench, planted_split
from hub import REVISION, Hub
from safetensors.torch import save as safetensors_bytes
from safetensors.torch import save_file
from test_weights_files import TASK, WIDTH, hyena_file

from dnabench import MODELS
from dnabench.models import gpn
from dnabench.weights import fetch, load_regime, regimes, resolve

OTHER = "f" * 40


FAMILIES = (
    test_caduceus, test_dnabert, test_dnabert2, test_gena_lm, test_gpn, test_hyenadna, test_nt_h,
    test_ntv2,
)  # fmt: skip
ALL = {record: file for family in FAMILIES for record, file in family.OFFICIAL.items()}


def pretrained(name):
    """The regime that a user writes, and the revision that it resolves to."""
    pinned = MODELS[name].weights.revision
    return ("pretrained", pinned) if pinned else (f"pretrained@{REVISION}", REVISION)


def as_bytes(state, file):
    if file.endswith(".safetensors"):
        return safetensors_bytes({k: v.contiguous() for k, v in state.items()})
    buffer = io.BytesIO()
    torch.save({"state_dict": state} if file.endswith(".ckpt") else state, buffer)
    return buffer.getvalue()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on loopback that huggingface_hub takes for the real one, with an empty cache."""
    from huggingface_hub import constants

    one = Hub()
    with one.serving() as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield one


@pytest.mark.parametrize("record", list(ALL))
def test_official_weights_from_the_hub_give_the_golden_record(record, hub):
    name, options, state, file = ALL[record]()
    model, (regime, revision) = MODELS[name], pretrained(name)
    hub.put(model.weights.repo, file, as_bytes(state, file), revision)
    named, path = resolve(model, regime)
    assert named == f"pretrained:{model.weights.repo}@{revision}" and not path
    torch.manual_seed(0)
    net = model.build(TASK, {**model.options, **options}).eval()
    loaded = load_regime(net, model, named, path)
    assert sorted(loaded.copied + loaded.unused) == sorted(state)
    if record in golden.RECORDS:
        out = output(record, net.backbone, state)
        worst = golden.differences(golden.RECORDS[record], out)
        assert max(worst.values()) < golden.tolerance(record), worst
    ours = net.backbone.state_dict()
    kept = {k: model.weights.rename(k) for k in loaded.copied}
    assert all(torch.equal(ours[kept[k]], state[k]) for k in kept)


@torch.no_grad()
def output(record, backbone, state):
    """What the record's run printed; GPN's is behind the language-model head of its file."""
    if not record.startswith("gpn"):
        return backbone(*golden.inputs(record))
    encoder = "legacy" if "legacy" in record else "convnet"
    head = gpn.language_head(backbone, {**gpn.OPTIONS, "width": 32}, encoder)
    head.load_state_dict({k.removeprefix("cls."): v for k, v in state.items() if k[:4] == "cls."})
    return test_gpn.logits(backbone, head, golden.inputs(record)[0])


@pytest.mark.parametrize("name", [n for n in MODELS if MODELS[n].weights is not None])
def test_declared_weights_name_their_licence_and_a_revision_or_say_what_to_do(name):
    model = MODELS[name]
    if model.weights.repo and model.weights.revision:
        assert resolve(model, "pretrained")[0].endswith(model.weights.revision)
        return
    with pytest.raises(ValueError, match=f"--regime {name}=(pretrained@|checkpoint:)"):
        resolve(model, "pretrained")


@pytest.mark.parametrize(
    ("name", "regime", "says"),
    [
        ("kmer", "pretrained", "kmer has no weights to load; give it --regime scratch"),
        ("cnn", "pretrained", "no official weights of cnn were published"),
        ("convnova", "pretrained", "no official weights of convnova were published"),
        ("hyenadna", "pretrained@main", "'main' is not one. Take it from https://huggingface.co/Lo"),
        ("hyenadna", "checkpoint:/no/such.ckpt", "there is no /no/such.ckpt; name a file"),
        ("hyenadna", f"checkpoint:{__file__}", "test_weights.py is neither a file with"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_says_what_to_do(name, regime, says):
    with pytest.raises(ValueError, match=says):
        resolve(MODELS[name], regime)


def test_regimes_of_single_models():
    assert regimes("pretrained") == {"": ["pretrained"]}
    assert regimes("scratch,ntv2=pretrained, gpn=checkpoint:a/b.pt") == {
        "": ["scratch"], "ntv2": ["pretrained"], "gpn": ["checkpoint:a/b.pt"],
    }  # fmt: skip
    for bad in ("pretraind", "checkpoint:", "scratch:x", "ntv2="):
        with pytest.raises(ValueError, match="write scratch, pretrained"):
            regimes(bad)


def regime_at(revision=None):
    model = MODELS["hyenadna"]
    return model, resolve(model, f"pretrained@{revision}" if revision else "pretrained")[0]


def test_a_download_that_breaks_off_is_completed_and_then_cached(hub):
    model, regime = regime_at(OTHER)
    data = as_bytes(hyena_file(), "model.safetensors")
    hub.put(model.weights.repo, "model.safetensors", data, OTHER)
    hub.cut_after = len(data) // 2
    assert fetch(model, regime).read_bytes() == data
    downloads = [path for verb, path, _ in hub.asked if verb == "GET" and "/resolve/" in path]
    assert len(downloads) == 2
    n = len(hub.asked)
    assert fetch(model, regime).read_bytes() == data and len(hub.asked) == n


@pytest.mark.parametrize(
    ("put", "says"),
    [
        (lambda hub, repo: None, "404"),
        (lambda hub, repo: hub.put(repo, "model.safetensors", b"x", REVISION), "404"),
        (lambda hub, repo: hub.put(repo, "other.bin", b"x", OTHER), "no such file"),
    ],
)  # fmt: skip
def test_what_the_hub_lacks_is_named_with_the_way_out(hub, put, says):
    model, regime = regime_at(OTHER)
    put(hub, model.weights.repo)
    with pytest.raises(ValueError, match=says) as e:
        fetch(model, regime)
    assert f"https://huggingface.co/{model.weights.repo}/tree/{OTHER}" in str(e.value)
    assert "--regime hyenadna=checkpoint:PATH" in str(e.value)


def cli(url, home, *words, offline=False, token=""):
    argv, env = command(*words)
    env |= {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_TOKEN": token}
    if offline:
        env["HF_HUB_OFFLINE"] = "1"
    return completed(argv, env)


def small_settings():
    return [w for k, v in WIDTH.items() for w in ("--set", f"hyenadna.{k}={v}")]


@pytest.mark.slow
def test_the_command_runs_pretrained_weights_online_then_offline(csv, tmp_path):
    one, model = Hub(), MODELS["hyenadna"]
    one.put(model.weights.repo, "model.safetensors",
            as_bytes(hyena_file(), "model.safetensors"), model.weights.revision)  # fmt: skip
    words = ["run", "-m", "hyenadna,kmer", "--regime", "hyenadna=pretrained", "--data", csv,
             "--seeds", "1", "--epochs", "1", *small_settings(),
             "--executor", "inline"]  # fmt: skip
    with one.serving() as url:
        done = cli(url, tmp_path / "hf", *words, "--out", tmp_path / "runs", token="hf_secret")
        assert done.returncode == 0, done.stderr
    asked = zip(one.asked, one.tokens, strict=True)
    assert {token for (_, path, _), token in asked if "/resolve/" in path} == {"Bearer hf_secret"}
    records = [json.loads(p.read_text()) for p in (tmp_path / "runs/records").glob("*.json")]
    by_model = {r["trial"]["model"]: r for r in records}
    repo = f"{model.weights.repo}@{model.weights.revision}"
    assert by_model["hyenadna"]["trial"]["regime"] == f"pretrained:{repo}"
    assert by_model["kmer"]["trial"]["regime"] == "scratch"
    weights = by_model["hyenadna"]["flags"]["weights"]
    assert len(weights["copied"]) == len(hyena_file())
    again = cli(
        "http://127.0.0.1:9", tmp_path / "hf", *words, "--out", tmp_path / "two", offline=True
    )
    assert again.returncode == 0, again.stderr
    two = [json.loads(p.read_text()) for p in (tmp_path / "two/records").glob("*.json")]
    assert {r["id"]: r["scores"] for r in two} == {r["id"]: r["scores"] for r in records}
    table = dnabench("report", "--out", tmp_path / "runs", "--full").stdout
    head = next(line for line in table.splitlines() if line.startswith("| task"))
    assert ", pretrained)" in head and repo not in head  # short there, in full among the recipes
    assert f"weights=pretrained:{repo}" in table


def test_weights_that_cannot_be_had_fail_their_trials_only(csv, tmp_path):
    words = ["run", "-m", "hyenadna,kmer", "--regime", "hyenadna=pretrained", "--data", csv,
             "--seeds", "1", "--epochs", "1", "--executor", "inline"]  # fmt: skip
    done = cli(
        "http://127.0.0.1:9", tmp_path / "hf", *words, "--out", tmp_path / "runs", offline=True
    )
    assert done.returncode == 1
    assert "1 ran, 0 already done, 1 failed" in done.stdout
    assert "warning: cannot get model.safetensors of LongSafari" in done.stderr
    assert "HF_HUB_OFFLINE is set" in done.stderr


def test_a_users_checkpoint_is_named_by_its_bytes(csv, tmp_path):
    save_file(hyena_file(), tmp_path / "mine.safetensors")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.safetensors").write_bytes(
        (tmp_path / "mine.safetensors").read_bytes()
    )
    ids = set()
    for folder in (tmp_path, tmp_path / "there"):
        done = dnabench(
            "run", "-m", "hyenadna", "--regime", f"checkpoint:{folder / 'mine.safetensors'}",
            "--data", csv, "--seeds", "1", "--epochs", "1", *small_settings(), "--out",
            tmp_path / "runs", "--executor", "inline",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        ids.add(next(iter((tmp_path / "runs/records").glob("*.json"))).stem)
    assert len(ids) == 1 and "0 ran, 1 already done" in done.stdout


def test_looking_at_weights_imports_no_torch(tmp_path):
    code = (
        "import sys\nfrom dnabench import MODELS\nfrom dnabench.weights import resolve\n"
        "resolve(MODELS['hyenadna'], 'pretrained')\n"
        "print([m for m in ('torch', 'huggingface_hub') if m in sys.modules])"
    )
    env = {**os.environ, "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout == "[]\n", done.stderr


def test_declared_weights_are_plain_data():
    for name in MODELS:
        weights = MODELS[name].weights
        assert weights is None or dataclasses.replace(weights) == weights


@pytest.mark.slow
def test_a_bpe_model_takes_the_tokenizer_of_its_weights(csv, tmp_path):
    from dnabench.tokens.bpe import save, train_bpe

    name, options, state, file = ALL["dnabert2_h48_l3_a12"]()
    model, one = MODELS[name], Hub()
    save(train_bpe(planted_split(300, 1).seqs, 128), tmp_path / "tokenizer.json")
    revision = model.weights.revision
    one.put(model.weights.repo, file, as_bytes(state, file), revision)
    settings = [w for k, v in options.items() for w in ("--set", f"{k}={v}")]
    words = ["run", "-m", name, "--regime", "pretrained", "--data", csv, "--seeds", "1",
             "--epochs", "1", *settings, "--executor", "inline"]  # fmt: skip
    with one.serving() as url:
        lacking = cli(url, tmp_path / "hf", *words, "--out", tmp_path / "one")
        assert lacking.returncode == 1
        assert "cannot get tokenizer.json of zhihan1996/DNABERT-2-117M" in lacking.stderr
        data = (tmp_path / "tokenizer.json").read_bytes()
        one.put(model.weights.repo, "tokenizer.json", data, revision)
        done = cli(url, tmp_path / "hf", *words, "--out", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    # a checkpoint on disk needs its tokenizer beside it, or named
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "w.bin").write_bytes(as_bytes(state, file))
    words[words.index("pretrained")] = f"checkpoint:{tmp_path / 'mine' / 'w.bin'}"
    lacking = dnabench(*words, "--out", tmp_path / "two")
    assert lacking.returncode == 2 and "write --set tokenizer=bpe:PATH" in lacking.stderr
    (tmp_path / "mine" / "tokenizer.json").write_bytes(data)
    assert dnabench(*words, "--out", tmp_path / "two").returncode == 0
    scores = [
        json.loads(next((tmp_path / out / "records").glob("*.json")).read_text())["scores"]
        for out in ("one", "two")
    ]
    assert scores[0] == scores[1]
