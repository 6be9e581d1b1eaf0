"""models/outside: models of transformers, from folders and from a hub on loopback."""

import json
import os
import subprocess
from functools import partial

import numpy as np
import pytest
import tiny_transformers as tiny
import torch
from conftest import command, completed, planted_split, planted_task
from hub import REVISION, Hub
from safetensors.torch import load_file, save_file

from dnabench import MODELS, Sequences
from dnabench.models.outside.references import model_named
from dnabench.splits import streams
from dnabench.sweep.grid import Request, grid
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised
from dnabench.weights import load_regime, resolve

TASK = planted_task(classes=3, length=60)
SEQS = planted_split(6, 1, classes=3)
UNEVEN = SEQS._replace(seqs=Sequences.parse(SEQS.seqs[i][: 35 + 5 * i] for i in range(6)))
TINY = {"llama-6mer", "bert-bpe", "bert-bases"}  # enough for what does not depend on the family


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """name -> (folder, transformers' own model), made when first asked for."""
    made, place = {}, tmp_path_factory.mktemp("tiny")

    def get(name):
        if name not in made:
            made[name] = place / name, tiny.make(place / name, name)
        return made[name]

    return get


def pretrained(path, seed=1, task=TASK, **options):
    """The model of a folder, and its network with the official weights."""
    model = model_named(f"hf:{path}")
    torch.manual_seed(seed)
    net = model.build(task, {**model.options, **options}).eval()
    regime, checkpoint = resolve(model, "pretrained")
    return model, net, load_regime(net, model, regime, checkpoint)


def learner(model, net, split, task=TASK, **recipe):
    import dataclasses

    recipe = dataclasses.replace(model.recipes["default"], epochs=1, **recipe)
    examples = Examples(model, task, split, model.own_tokenizer())
    return NetLearner(net, examples, Supervised(task), recipe, streams(0, task.name))


@pytest.mark.parametrize("name", list(tiny.FAMILIES))
def test_hidden_states_are_those_of_transformers_padded_or_not(name, folder):
    path, theirs = folder(name)
    model, net, loaded = pretrained(path)
    for split in (SEQS, UNEVEN):
        tokenizer = model.own_tokenizer()
        found, wanted = tiny.hidden(net, theirs, tokenizer, split.seqs)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
        encoded = tokenizer(split.seqs, 60, "mask")
        assert encoded.widths.sum(1).tolist() == split.seqs.lengths.tolist()
    ours, own = net.backbone.model, theirs.base_model
    assert set(dict(ours.named_parameters())) <= set(loaded.copied)
    for mine, other in ((ours.named_parameters, own.named_parameters),
                        (ours.named_buffers, own.named_buffers)):  # fmt: skip
        for key, value in mine():
            assert torch.equal(value, dict(other())[key]), key
    file = load_file(path / "model.safetensors")
    assert set(loaded.unused) < set(file) and not any("layers" in k for k in loaded.unused)


@pytest.mark.parametrize("name", list(tiny.FAMILIES))
def test_every_family_learns_and_scores_alike_alone_and_in_a_batch(name, folder):
    model, net, _ = pretrained(folder(name)[0])
    one = learner(model, net, UNEVEN, lr=1e-3)
    assert np.isfinite(one.train_epoch())
    together = one.predictor(UNEVEN)()
    alone = np.concatenate([one.predictor(UNEVEN.take(np.array([i])))() for i in range(6)])
    np.testing.assert_allclose(alone, together, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", list(tiny.FAMILIES))
def test_every_family_gives_one_prediction_a_base(name, folder):
    task = planted_task(classes=3, length=60, kind="per_base")
    model, net, _ = pretrained(folder(name)[0], task=task)
    y = np.full((6, 60), -100, np.int8)
    for i, n in enumerate(UNEVEN.seqs.lengths):
        y[i, :n] = i % 3
    split = UNEVEN._replace(y=y)
    one = learner(model, net, split, task)
    assert np.isfinite(one.train_epoch())
    logits = one.predictor(split)()
    assert logits.shape == (6, 60, 3)
    assert [int((row != 0).any(1).sum()) for row in logits] == UNEVEN.seqs.lengths.tolist()


@pytest.mark.parametrize("name", list(tiny.FAMILIES))
def test_lora_changes_the_attention_of_every_family(name, folder):
    pytest.importorskip("peft")
    model, net, _ = pretrained(folder(name)[0])
    one = learner(model, net, SEQS, finetune="lora", lr=0.01)
    before = {k: v.clone() for k, v in one.net.state_dict().items()}
    one.train_epoch()
    one.train_epoch()
    moved = {k for k, v in one.net.state_dict().items() if not torch.equal(v, before[k])}
    assert any(".lora_" in k for k in moved)
    assert all(".lora_" in k or k.startswith("head.") for k in moved)


@pytest.mark.parametrize(
    ("text", "ids"),
    [("ACGTAC" "TTTTTT" "GG", ["ACGTAC", "TTTTTT", "<oov>"]),
     ("ACGTAC" "TTNTTT" "GGGGGG", ["ACGTAC", "<oov>", "GGGGGG"])],
)  # fmt: skip
def test_llamas_k_mers_are_read_in_windows_with_the_tokens_that_its_files_name(text, ids, folder):
    model = model_named(f"hf:{folder('llama-6mer')[0]}")
    encoded = model.own_tokenizer()(Sequences.parse([text]), 60, "mask")
    assert [tiny.LLAMA[i] for i in encoded.ids[0]] == ["<s>", *ids]
    assert encoded.widths[0].tolist() == [0, 6, 6, len(text) - 12]
    bare = model_named(f"hf:{folder('qwen3-6mer')[0]}").own_tokenizer()
    assert [tiny.LLAMA[i] for i in bare(Sequences.parse([text]), 60, "mask").ids[0]] == ids
    assert "no special tokens added" in bare.name


def test_esms_k_mers_are_those_of_the_nucleotide_transformer(folder):
    from dnabench.tokens.tokenizers import TOKENIZERS

    theirs = model_named(f"hf:{folder('esm-6mer')[0]}").own_tokenizer()
    seqs = Sequences.parse(["ACGTACGTNACGTTTACGA", "NNACGTA", "ACGTAC" * 5, "A"])
    ours = TOKENIZERS["6mer-v1"](seqs, 60, "mask")
    found = theirs(seqs, 60, "mask")
    np.testing.assert_array_equal(found.ids, ours.ids)
    np.testing.assert_array_equal(found.lengths, ours.lengths)
    np.testing.assert_array_equal(found.widths, ours.widths)


def test_pooling_is_the_last_token_for_causal_models_and_can_be_chosen(folder):
    pooling = {n: model_named(f"hf:{folder(n)[0]}").options["pooling"] for n in sorted(TINY)}
    assert pooling == {"bert-bases": "mean", "bert-bpe": "mean", "llama-6mer": "last"}
    (job,) = grid(Request(models=[f"hf:{folder('bert-bpe')[0]}"], tasks=["demo/splice_junctions"],
                          seeds="1", settings=["pooling=cls"]))  # fmt: skip
    assert job.trial.options["pooling"] == "cls"


def test_bytes_of_every_file_of_a_folder_are_in_the_id(tmp_path):
    path = tmp_path / "m"
    tiny.make(path, "bert-bases")

    def ids():
        request = {"models": [f"hf:{path}"], "tasks": ["demo/splice_junctions"], "seeds": "1"}
        (job,) = grid(Request(**request))
        return job.trial.id, job.trial.options["revision"], job.trial.regime

    first = ids()
    assert first == ids() and len(first[1]) == 40
    assert first[2] == f"pretrained:./m@{first[1]}"
    weights = load_file(path / "model.safetensors")
    save_file({k: v + 1 for k, v in weights.items()}, path / "model.safetensors", {"format": "pt"})
    second = ids()
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-6}))
    assert len({first[0], second[0], ids()[0]}) == 3


def broken(folder, change):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("bert.encoder.layer.1.output.dense.weight"),
         r"encoder.layer.1.output.dense.weight is not in the file"),
        (lambda t: t.update({"bert.encoder.layer.7.output.dense.weight": torch.ones(2)}),
         r"layer.7.output.dense.weight is no tensor of the model, and no head"),
        (lambda t: t["bert.encoder.layer.1.output.dense.weight"].fill_(torch.nan),
         r"encoder.layer.1.output.dense.weight has values that are not finite"),
    ],
)  # fmt: skip
def test_no_tensor_is_left_out_silently(change, says, tmp_path):
    tiny.make(tmp_path / "m", "bert-bases")
    broken(tmp_path / "m", change)
    with pytest.raises(ValueError, match=says):
        pretrained(tmp_path / "m")


def test_rotary_frequencies_that_are_not_those_of_the_configuration_are_named(
    tmp_path, monkeypatch
):
    from dnabench.models.outside import transformer

    tiny.make(tmp_path / "m", "llama-6mer")
    real = transformer.AUTO.from_pretrained

    def zeroed(*args, **words):  # what a port under transformers 5 was seen to do
        net, info = real(*args, **words)
        net.rotary_emb.inv_freq.zero_()
        return net, info

    monkeypatch.setattr(transformer.AUTO, "from_pretrained", zeroed)
    with pytest.raises(ValueError, match="inv_freq is not what the configuration gives"):
        pretrained(tmp_path / "m")


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("hf:no/such/model", ValueError, "write hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:./folder"),
        ("hf:./no_such_folder", ValueError, "has no config.json"),
        ("RaphaelMourad/ModernBERT-DNA", KeyError, "it is -m hf:RaphaelMourad/ModernBERT-DNA"),
    ],
)
def test_what_is_no_model_says_what_to_write(text, error, says):
    with pytest.raises(error, match=says):
        model_named(text)


@pytest.mark.parametrize("text", ["hf:zhihan1996/DNABERT-2-117M", "zhihan1996/DNABERT-2-117M"])
def test_the_id_of_a_bundled_family_is_ours_and_says_so(text):
    said = []
    model = model_named(text, said.append)
    assert model.name == "dnabert2" and model.usual_regime == "pretrained"
    assert said == [
        f"{text} is dnabert2 here: dnabench's code with the weights of zhihan1996/DNABERT-2-117M"
    ]
    assert MODELS["dnabert2"].build is model.build


def with_code(path):
    """A model whose architecture is code in its folder."""
    tiny.make(path, "bert-bases")
    config = json.loads((path / "config.json").read_text())
    names = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    (path / "config.json").write_text(json.dumps(
        {**config, "model_type": "own-dna", "auto_map": names, "architectures": ["OwnModel"]}
    ))  # fmt: skip
    (path / "configuration_own.py").write_text(
        "from transformers import BertConfig\n\n\nclass OwnConfig(BertConfig):\n"
        "    model_type = 'own-dna'\n"
    )
    (path / "modeling_own.py").write_text(
        "from transformers import BertModel\nfrom .configuration_own import OwnConfig\n\n\n"
        "class OwnModel(BertModel):\n    config_class = OwnConfig\n"
    )
    return path


def test_code_of_its_own_is_refused_with_the_way_out_and_runs_when_trusted(tmp_path):
    path = with_code(tmp_path / "m")
    with pytest.raises(ValueError, match=r"modeling_own.OwnModel\): if you have read it and trust"):
        model_named(f"hf:{path}")
    config = json.loads((path / "config.json").read_text())
    pair = {**config["auto_map"], "AutoTokenizer": ["tokenizer_own.OwnTokenizer", None]}
    (path / "config.json").write_text(json.dumps({**config, "auto_map": pair}))
    with pytest.raises(ValueError, match=r"tokenizer_own.OwnTokenizer', None\], configuration_own"):
        model_named(f"hf:{path}")
    (path / "config.json").write_text(json.dumps(config))
    request = {"models": [f"hf:{path}"], "tasks": ["demo/splice_junctions"], "seeds": "1"}
    (job,) = grid(Request(**request, trust_remote_code=True))
    assert len(job.trial.options["code"]) == 16
    model = model_named(f"hf:{path}", trust=True)
    net = model.build(TASK, model.options)
    regime, _ = resolve(model, "pretrained")
    assert load_regime(net, model, regime, "").copied
    (path / "modeling_own.py").write_text((path / "modeling_own.py").read_text() + "# more\n")
    assert model_named(f"hf:{path}", trust=True).options["code"] != job.trial.options["code"]


@pytest.mark.parametrize("repo", ["org/other", "org/m"])
def test_code_of_another_place_than_was_hashed_is_refused(repo, tmp_path):
    config = json.loads((with_code(tmp_path / "m") / "config.json").read_text())
    config["auto_map"]["AutoModel"] = f"{repo}--modeling_own.OwnModel"
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"takes code from {repo} .* write modeling_own.OwnModel"):
        model_named(f"hf:{tmp_path / 'm'}", trust=True)
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    assert "code" not in model_named(f"hf:{tmp_path / 'm'}", trust=True).options  # none is run


def served(hub, repo, path):
    for file in path.iterdir():
        hub.put(repo, file.name, file.read_bytes())


def cli(url, home, cache, *words, offline=False):
    argv, env = command(*words, cache=cache)
    env |= {"HF_ENDPOINT": url, "HF_HOME": str(home)} | ({"HF_HUB_OFFLINE": "1"} if offline else {})
    return completed(argv, env, timeout=500)


@pytest.mark.slow
def test_the_command_runs_models_of_a_hub_online_then_offline(folder, csv, tmp_path):
    hub, names = Hub(), sorted(TINY)
    for name in names:
        served(hub, f"org/{name}", folder(name)[0])
    models = ",".join([*(f"hf:org/{n}" for n in names), f"hf:org/bert-bpe@{REVISION}", "kmer"])
    words = ["run", "-m", models, "--data", csv, "--seeds", "1", "--epochs", "1", "--executor",
             "inline", "--set", "hf:org/bert-bpe.finetune=probe"]  # fmt: skip
    with hub.serving() as url:
        done = cli(url, tmp_path / "hf", tmp_path / "c", *words, "-o", tmp_path / "runs")
        assert done.returncode == 0, done.stderr
    records = [json.loads(p.read_text()) for p in (tmp_path / "runs/records").glob("*.json")]
    by_model = {r["trial"]["model"]: r for r in records}
    assert set(by_model) == {*(f"hf:org/{n}" for n in names), "kmer"} and len(records) == 4
    for name in names:
        trial, flags = by_model[f"hf:org/{name}"]["trial"], by_model[f"hf:org/{name}"]["flags"]
        assert trial["regime"] == f"pretrained:org/{name}@{REVISION}"
        assert trial["options"]["revision"] == REVISION and len(trial["options"]["files"]) == 16
        assert flags["weights"]["copied"] and "unknown_tokens" in flags
    again = cli(
        "http://127.0.0.1:9", tmp_path / "hf", tmp_path / "c", *words, "-o", tmp_path / "two",
        offline=True,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    two = [json.loads(p.read_text()) for p in (tmp_path / "two/records").glob("*.json")]
    assert {r["id"]: r["scores"] for r in two} == {r["id"]: r["scores"] for r in records}


@pytest.mark.slow
def test_unknown_tokens_are_remarked_over_one_percent_and_refused_over_twenty(folder, tmp_path):
    part = planted_split(60, 0)
    path, _ = folder("qwen3-6mer")
    words = ["run", "-m", f"hf:{path}", "--seeds", "1", "--epochs", "1", "--executor", "inline"]

    def run(name, every, code):
        letters = [list(part.seqs[i]) for i in range(60)]
        for i, row in enumerate(letters):
            for start in range(i % every, 60, every * 6):
                row[start] = "N"
        rows = [f"{''.join(row)},{part.y[i]}" for i, row in enumerate(letters)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
        done = cli("http://127.0.0.1:9", tmp_path, tmp_path / "c", *words, "--data",
                   tmp_path / f"{name}.csv", "-o", tmp_path / name)  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stderr

    assert "of the tokens of data/some are unknown to hf:./qwen3-6mer" in run("some", 10, 0)
    assert "its vocabulary does not fit" in run("many", 1, 1)


def test_listing_imports_no_transformers(tmp_path):
    code = (
        "import sys\nfrom dnabench.cli.app import main\n"
        "try: main(['list', 'models'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'transformers', 'pandas') if m in sys.modules])"
    )
    env = {**os.environ}
    done = subprocess.run(
        [command()[0][0], "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_kept_network_of_a_folder_gives_its_logits_again_when_the_folder_is_given(
    folder, csv, tmp_path, monkeypatch
):
    from dnabench.networks.network import load_network

    path, _ = folder("llama-6mer")
    done = cli("http://127.0.0.1:9", tmp_path, tmp_path / "c", "run", "-m", f"hf:{path}", "--data",
               csv, "--seeds", "1", "--epochs", "1", "--keep", "all", "-o", tmp_path / "runs",
               "--executor", "inline")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (kept,) = (tmp_path / "runs/networks").iterdir()
    monkeypatch.setattr(MODELS, "_brought", {})
    with pytest.raises(ValueError, match="give it again"):
        load_network(kept)
    network = load_network(kept, model=f"hf:{path}")
    logits = np.load(tmp_path / f"runs/predictions/{kept.name}.npz")["logits"]
    rows = [line.split(",") for line in csv.read_text().splitlines()[1:]]
    seqs = Sequences.parse(sequence for sequence, _, split in rows if split == "test")
    np.testing.assert_allclose(network.logits(seqs), logits, atol=1e-5)


@pytest.mark.slow
def test_a_kept_network_with_code_of_a_hub_runs_that_code_with_the_flag_alone(csv, tmp_path):
    hub, runs = Hub(), tmp_path / "runs"
    served(hub, "org/own", with_code(tmp_path / "m"))
    with hub.serving() as url:
        do = partial(cli, url, tmp_path / "hf", tmp_path / "c")
        done = do("run", "-m", "hf:org/own", "--trust-remote-code", "--data", csv, "--seeds=1",
                  "--epochs=1", "--keep=all", "-o", runs, "--executor=inline")  # fmt: skip
        assert done.returncode == 0, done.stderr
        (kept,) = (runs / "networks").iterdir()
        for more in ((), ("--model", "hf:org/own")):
            done = do("predict", kept, csv, *more)
            assert done.returncode == 2 and "write --trust-remote-code" in done.stderr
            done = do("predict", kept, csv, "--trust-remote-code", *more)
            assert done.returncode == 0 and '"id","class"' in done.stdout, done.stderr
