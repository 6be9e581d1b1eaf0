"""`dnabench embed` and `export`: what other programs get is what the network has."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import dnabench, planted_split
from kept_cases import task_of_kind, tiny_network

import dnabench as db
from dnabench import MODELS, Sequences
from dnabench.networks.embed_file import embed_file, source_of
from dnabench.networks.embedding import Embedder, blocks_of, of_model, of_network
from dnabench.networks.export import export
from dnabench.tokens.tokenizers import char

SEQS = Sequences.parse([planted_split(6, 3, 80, 3).seqs[i][: 80 - 7 * i] for i in range(6)])
TOKENS = {"hyenadna-tiny-1k": True, "unet": False}


@pytest.fixture
def network(put, tmp_path):
    return tiny_network(tmp_path, put, "hyenadna-tiny-1k", "multiclass")[0]


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "a.fa"
    path.write_text("".join(f">s{i}\n{SEQS[i]}\n" for i in range(6)))
    return path


def hidden(network, i, layer=0, turned=False):
    """What the backbone, or a block of it, gives for a sequence alone: (tokens, D)."""
    seqs = SEQS.take(np.array([i]))
    seqs = seqs.reverse_complement() if turned else seqs
    ids = torch.from_numpy(network.tokenizer(seqs, 80, "mask").ids)
    found = []
    block = blocks_of(network.net.backbone)[layer - 1]
    hook = block.register_forward_hook(lambda m, x, out: found.append(out))
    with torch.no_grad():
        whole = network.net.backbone(ids, None)
    hook.remove()
    return (found[0] if layer else whole)[0].numpy(), network.net.features(ids, None).detach()[0]


def test_poolings_layers_and_strands(network):
    source = of_network(network)
    for pool, layer in (("mean", 0), ("max", 0), ("cls", 0), ("mean", 1), ("own", 0)):
        for strands in ("one", "mean"):
            found = Embedder(source, layer, pool, strands)(SEQS)
            for i in range(6):
                each = []
                for turned in (False, True)[: 1 + (strands == "mean")]:
                    rows, own = hidden(network, i, layer, turned)
                    pick = {"mean": rows.mean(0), "max": rows.max(0), "cls": rows[0]}
                    each.append(pick.get(pool, own.numpy()))
                np.testing.assert_allclose(found[i], np.mean(each, axis=0), atol=1e-5)


def test_a_row_for_each_base_of_both_strands(network):
    found = Embedder(of_network(network), 0, "none", "mean")(SEQS)
    assert len(found) == len(SEQS.codes)
    for i in range(6):
        n = int(SEQS.lengths[i])
        one, other = (hidden(network, i, 0, turned)[0][:n] for turned in (False, True))
        own = found[SEQS.offsets[i] : SEQS.offsets[i + 1]]
        np.testing.assert_allclose(own, (one + other[::-1]) / 2, atol=1e-5)


def test_files_hold_what_python_gives(network, fasta, tmp_path):
    folder = tmp_path / "networks" / network.card.record.trial.id
    expected = db.embed(folder, SEQS)
    done = dnabench("embed", folder, fasta, "--to", tmp_path / "a.npy")
    assert done.returncode == 0 and "6 rows of" in done.stdout, done.stderr
    found = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert isinstance(found, np.memmap) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (tmp_path / "a.ids.txt").read_text().split() == [f"s{i}" for i in range(6)]
    np.testing.assert_allclose(db.embed(folder, fasta, to=tmp_path / "b.npy"), expected, atol=1e-6)
    done = dnabench("embed", folder, fasta, "--pool", "none", "--to", tmp_path / "a.parquet")
    assert done.returncode == 0 and [p.name for p in tmp_path.glob("a.*")].count("a.ids.txt") == 1
    table = pq.read_table(tmp_path / "a.parquet")
    each = db.embed(folder, [SEQS[i] for i in range(6)], pool="none")
    assert table["id"].to_pylist() == [f"s{i}" for i in range(6) for _ in SEQS[i]]
    assert table["position"].to_pylist() == [k for i in range(6) for k in range(len(SEQS[i]))]
    np.testing.assert_allclose(table["e0"], each[:, 0], atol=1e-6)


def test_a_network_as_loaded_is_embedded_as_its_folder_is(network, tmp_path):
    expected = db.embed(tmp_path / "networks" / network.card.record.trial.id, SEQS, pool="mean")
    np.testing.assert_array_equal(db.embed(network, SEQS, pool="mean"), expected)
    for more in ({"set": "width=8"}, {"regime": "scratch"}, {"model": "cnn"}, {"device": "cuda"}):
        with pytest.raises(ValueError, match="leave out model=, regime=, set= and device="):
            db.embed(network, SEQS, **more)


def test_features_of_kept_weights_come_from_the_cache(network, tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path))
    first = Embedder(of_network(network), 0, "mean")
    values = first(SEQS)
    assert len(list((tmp_path / "frozen").iterdir())) == 1
    calls = []
    network.net.backbone.layers[0].register_forward_hook(lambda *_: calls.append(1))
    hook = next(iter(network.net.backbone.layers[0]._forward_hooks))
    del network.net.backbone.layers[0]._forward_hooks[hook]  # a hook is other code: not cached
    again = Embedder(of_network(network), 0, "mean")
    again._net.features = None  # would fail if it were called
    del again._net.features
    np.testing.assert_array_equal(again(SEQS), values)
    assert len(list((tmp_path / "frozen").iterdir())) == 1 and not calls
    Embedder(of_network(network), 1, "mean")(SEQS)
    assert len(list((tmp_path / "frozen").iterdir())) == 2


def test_a_model_without_a_network(fasta, tmp_path):
    source = source_of("convnova-386k", fasta, "scratch")
    assert source.length == 80 and source.key == ""
    rows, width = embed_file(Embedder(source), fasta, tmp_path / "a.npy")
    assert (rows, width) == np.load(tmp_path / "a.npy").shape == (6, 64)
    done = dnabench("embed", "convnova", fasta, "--to", tmp_path / "b.npy")
    assert done.returncode == 2 and "no official weights of convnova" in done.stderr


@pytest.mark.parametrize(("model", "most"), [("convnova-386k", 40), ("ntv2-50m", 8)])
def test_sequences_are_cut_as_in_training(model, most, put, tmp_path):
    network, _, stored = tiny_network(tmp_path, put, model, "multiclass", max_length=most)
    seqs = task_of_kind("multiclass").load("test").seqs
    np.testing.assert_allclose(network.logits(seqs), stored["logits"], atol=1e-4)
    features = Embedder(of_network(network))(seqs)
    answers = network.net.head(torch.from_numpy(features)).detach()
    np.testing.assert_allclose(answers, stored["logits"], atol=1e-4)
    with pytest.raises(ValueError, match=f"--pool none: {model} was trained with max_length"):
        Embedder(of_network(network), 0, "none")(seqs)


def as_in_training(network, text):
    """Of one sequence: its hidden rows, and how many stand for bases of it."""
    padding = network.recipe.padding if len(text) <= 80 else "mask"
    ids = char(Sequences.parse([text]), max(80, len(text)), padding).ids
    with torch.no_grad():
        return network.net.backbone(torch.from_numpy(ids), None)[0].numpy(), len(text)


@pytest.mark.parametrize("padding", ["left-n", "left-pad"])
@pytest.mark.parametrize("lengths", [(80, 50, 31), (80, 50, 131, 100), (131, 100)])
def test_a_network_for_bases_is_embedded_padded_as_in_training(padding, lengths, put, tmp_path):
    options = {"width": 8, "blocks": 2, "kernel_size": 3}
    network, *_ = tiny_network(
        tmp_path, put, "convnova-386k", "per_base", options=options, padding=padding
    )
    text = planted_split(1, 3, 140, 3).seqs[0]
    texts = [text[i : i + n] for i, n in enumerate(lengths)]
    seqs, source = Sequences.parse(texts), of_network(network)
    alone = [as_in_training(network, one) for one in texts]
    found = Embedder(source, 0, "mean")(seqs)
    np.testing.assert_allclose(found, [rows.mean(0) for rows, _ in alone], atol=1e-5)
    found = Embedder(source, 0, "none")(seqs)
    each = np.concatenate([rows[-n:] for rows, n in alone])
    np.testing.assert_allclose(found, each, atol=1e-5)
    both = Embedder(source, 0, "none", "mean")(seqs)
    turned = [as_in_training(network, seqs.reverse_complement()[i]) for i in range(len(texts))]
    other = np.concatenate([rows[-n:][::-1] for rows, n in turned])
    np.testing.assert_allclose(both, (each + other) / 2, atol=1e-5)


def test_what_cannot_be_embedded_is_refused(network, put, tmp_path, fasta):
    source = of_network(network)
    for call, says in (
        (lambda: Embedder(source, 0, "sum"), "--pool 'sum': write own, mean"),
        (lambda: Embedder(source, 0, "own", "both"), "--strands 'both': write one, mean"),
        (lambda: Embedder(source, 99, "mean"), "--layer 99: hyenadna-tiny-1k has layers 1 to"),
        (lambda: of_model("kmer", "scratch", 80), "kmer has no features"),
        (
            lambda: Embedder(of_model("cnn", "scratch", 80), 0, "mean"),
            "cnn has no layers with a row",
        ),
        (lambda: Embedder(of_model("convnova-386k", "scratch", 80), 1), "has no layers by number"),
        (lambda: Embedder(source)(Sequences.parse(["A" * 81])), "a sequence has 81 bp, 80 at most"),
        (lambda: embed_file(Embedder(source), fasta, tmp_path / "a.csv"), "ends in .parquet or"),
    ):
        with pytest.raises(ValueError, match=says):
            call()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torch-export", "onnx"])
@pytest.mark.parametrize("model", ["cnn", "unet"])
def test_an_exported_network_has_the_same_logits(model, form, put, tmp_path):
    small = {"levels": 2} if model == "unet" else None
    network, record, _ = tiny_network(tmp_path, put, model, "multiclass", options=small)
    folder = tmp_path / "networks" / record.trial.id
    done = export(network, form, folder / "file")
    assert done.difference < 1e-4
    ids = torch.from_numpy(network.tokenizer(SEQS.take(np.array([0])), 80, "mask").ids).long()
    mask = torch.ones(ids.shape)
    expected = network.logits([SEQS[0]])
    if form == "onnx":
        import onnx
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / "file")
        given = {"ids": ids.numpy(), "mask": mask.numpy()}
        known = {i.name: given[i.name] for i in session.get_inputs()}
        (logits,) = session.run(None, known)
        about = {p.key: p.value for p in onnx.load(folder / "file").metadata_props}
    else:
        more = {"dnabench.json": ""}
        program = torch.export.load(folder / "file", extra_files=more)
        logits = program.module()(ids, mask).detach().numpy()
        about = json.loads(more["dnabench.json"])
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert json.loads(about["classes"]) == ["0", "1", "2"] and about["tokenizer"] == "char"


def test_an_exported_scan_is_the_scan_at_any_length():
    from dnabench.models.kernels.exported_scan import exported_scan
    from dnabench.models.kernels.scan import selective_scan

    class Scan(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(a)

        def forward(self, x, b):
            return selective_scan(x, torch.nn.functional.softplus(x), self.a, b, b.flip(1))

    torch.manual_seed(0)
    a, x, b = -torch.rand(2, 6, 4), torch.randn(3, 20, 2, 6), torch.randn(3, 20, 2, 4)
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with torch.no_grad():
        steps = torch.nn.functional.softplus(x)
        expected = selective_scan(x, steps, a, b, b.flip(1))
        np.testing.assert_allclose(exported_scan(x, steps, a, b, b.flip(1)), expected, atol=1e-5)
        program = torch.export.export(Scan(), (x, b), dynamic_shapes=(dynamic, dynamic)).module()
        for n, length in ((3, 20), (5, 33)):
            x, b = torch.randn(n, length, 2, 6), torch.randn(n, length, 2, 4)
            np.testing.assert_allclose(program(x, b), Scan()(x, b), atol=1e-5)


def test_what_cannot_be_exported_is_refused(put, tmp_path):
    from kept_cases import job_of, kept

    network, *_ = kept(job_of(MODELS["kmer"], put(task_of_kind("multiclass"))), tmp_path)
    with pytest.raises(ValueError, match="kmer cannot be exported: it is no network of PyTorch"):
        export(network, "onnx", tmp_path / "a.onnx")
    with pytest.raises(ValueError, match="--format 'pdf': write onnx, torch-export, hf"):
        export(network, "pdf", tmp_path / "a.pdf")


def test_a_model_is_embedded_with_the_options_that_are_given(tmp_path, fasta):
    torch.manual_seed(0)
    words = ["--regime", "scratch", "--pool", "mean"]
    for name, more, width in (("a", ["width=16", "layers=1"], 16), ("b", ["width=32"], 32)):
        sets = [x for one in more for x in ("--set", one)]
        done = dnabench("embed", "hyenadna-tiny-1k", fasta, "--to", tmp_path / f"{name}.npy",
                        *words, *sets)  # fmt: skip
        assert done.returncode == 0 and f"6 rows of {width} features" in done.stdout, done.stderr
    found = db.embed(model="hyenadna-tiny-1k", seqs=SEQS, regime="scratch", pool="mean",
                     set=["width=16", "layers=1"])  # fmt: skip
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), found, atol=1e-6)
    network = tmp_path / "networks/x"
    network.mkdir(parents=True)
    for call, says in (
        (lambda: db.embed("cnn", SEQS, set="lr=0.1"), "lr=0.1: of training, and nothing is"),
        (lambda: db.embed("hyenadna", SEQS, set="widht=8"), "named 'widht'; did you mean width"),
        (lambda: db.embed(network, SEQS, set="width=8"), "is a kept network, which has the opt"),
        (lambda: db.embed(seqs=SEQS), "give a kept network, or model=NAME"),
        (lambda: db.embed("convnova-386k", SEQS, regime="scratch", set="tokenizer=bpe:/no/t.json"),
         "no tokenizer file /no/t.json"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            call()


def test_a_model_reads_words_of_a_tokenizer_file(tmp_path):
    from dnabench.tokens.bpe import bpe_from_file, save, train_bpe

    save(train_bpe(planted_split(200, 1).seqs, 64), tmp_path / "tokenizer.json")
    options = {"tokenizer": f"bpe:{tmp_path / 'tokenizer.json'}", "vocabulary": 64, "width": 16}
    source = of_model("convnova-386k", "scratch", 80, options=options)
    ids = bpe_from_file(tmp_path / "tokenizer.json")(SEQS, 80, "mask").ids
    np.testing.assert_array_equal(source.tokenizer(SEQS, 80, "mask").ids, ids)
    assert Embedder(source)(SEQS).shape == (6, 16)


@pytest.mark.parametrize("name", ["hyenadna-tiny-1k", "unet"])
@pytest.mark.parametrize("strands", ["one", "mean"])
def test_a_network_of_bases_has_a_row_for_each_base(name, strands, put, tmp_path):
    network, *_ = tiny_network(tmp_path, put, name, "per_base")
    own, rows = (Embedder(of_network(network), pool=p, strands=strands) for p in ("own", "none"))
    seqs = Sequences.parse(["ACGTTGCA" * 9, "GATTACAA" * 8, "TTGACCAG" * 10])
    assert own.each_base and own(seqs).shape[0] == len(seqs.codes)
    np.testing.assert_array_equal(own(seqs), rows(seqs))
    if strands == "one":  # the head on these rows gives the answers
        alone = network.logits(seqs.take(np.array([2])))[0]
        last = torch.from_numpy(own(seqs)[-80:])
        found = network.net.head(last[None])[0].detach()
        np.testing.assert_allclose(found, alone, atol=1e-5)
    (tmp_path / "a.fa").write_text("".join(f">s{i}\n{seqs[i]}\n" for i in range(3)))
    shape = embed_file(own, tmp_path / "a.fa", tmp_path / "a.npy")
    assert shape == np.load(tmp_path / "a.npy").shape
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), own(seqs), atol=1e-4)
