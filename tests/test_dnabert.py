"""models/dnabert.py against transformers' BertModel, and what docs/models.md says of it."""

import golden
import pytest
import torch
from conftest import planted_task
from test_dnabert2 import dropouts

from dnabench import MODELS
from dnabench.models import dnabert

SMALL = {"width": 48, "layers": 3, "heads": 4, "inner": 96}
NAMES = {3: "dnabert-3", 4: "dnabert-4", 5: "dnabert-5", 6: "dnabert"}
IDS = golden.ids(2, 20, 5, 64)
IDS[1, 14:] = 0
MASK = (torch.arange(20) < torch.tensor([20, 14])[:, None]).float()

PARITY = {}  # there is no golden record: transformers' BertModel stands for one


def official():
    """The authors' file is transformers' BertForMaskedLM; filled by the records' rule."""
    net = bert("BertForMaskedLM", k=6)
    golden.fill(net)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    state["bert.embeddings.position_ids"] = torch.arange(512)[None]
    return "dnabert", SMALL, state, "pytorch_model.bin"


OFFICIAL = {"dnabert": official}


def bert(kind, k=3, width=48, layers=3, heads=4, inner=96, attention="eager"):
    """A network of transformers with DNABERT's configuration."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=4**k + 5, hidden_size=width, num_hidden_layers=layers,
        num_attention_heads=heads, intermediate_size=inner, attn_implementation=attention,
        num_labels=2,
    )  # fmt: skip
    return getattr(transformers, kind)(config).eval()


def ours(net, **options):
    """Ours with the weights of theirs, under the names of theirs."""
    own = MODELS["dnabert-3"].build(planted_task(), {**SMALL, **options}).eval()
    state = net.state_dict()
    rename = MODELS["dnabert-3"].weights.rename
    own.backbone.load_state_dict({rename(k): v for k, v in state.items() if rename(k)})
    return own


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_is_transformers_bert(attention):
    net = bert("BertModel", attention=attention)
    golden.fill(net)
    net, own = net.double(), ours(net).double()
    with torch.no_grad():
        for mask in (MASK, None):  # padded rows are compared too
            theirs = net(IDS, attention_mask=mask).last_hidden_state
            out = own.backbone(IDS, None if mask is None else mask.double())
            torch.testing.assert_close(out, theirs, rtol=0, atol=1e-12)


def test_its_head_is_transformers_classifier():
    net = bert("BertForSequenceClassification")
    golden.fill(net)
    own, theirs = ours(net), net.state_dict()
    pooler = {f"pooler.dense.{k}": theirs[f"bert.pooler.dense.{k}"] for k in ("weight", "bias")}
    classifier = {f"classifier.{k}": theirs[f"classifier.{k}"] for k in ("weight", "bias")}
    own.head.load_state_dict(pooler | classifier)
    with torch.no_grad():
        torch.testing.assert_close(
            own(IDS, MASK), net(IDS, attention_mask=MASK).logits, rtol=0, atol=1e-5
        )


def test_the_comparison_would_notice_another_network():
    net = bert("BertModel")
    golden.fill(net)
    own = ours(net, heads=2)
    with torch.no_grad():
        difference = own.backbone(IDS, MASK) - net(IDS, attention_mask=MASK).last_hidden_state
    assert difference.abs().max() > 0.01


def test_every_tensor_of_a_checkpoint_has_its_place():
    net, rename = bert("BertForPreTraining"), MODELS["dnabert-3"].weights.rename
    names = [rename(k) for k in net.state_dict()]
    own = MODELS["dnabert-3"].build(planted_task(), SMALL).backbone.state_dict()
    assert sorted(filter(None, names)) == sorted(own) and "" in names
    assert rename("bert.embeddings.position_ids") == ""  # in files of older versions
    assert rename("bert.surprise.weight") == "surprise.weight"


@pytest.mark.parametrize(
    ("k", "n"), [(3, 86_094_336), (4, 86_241_792), (5, 86_831_616), (6, 89_190_912)]
)
def test_presets_have_the_published_sizes(k, n):
    model = MODELS[NAMES[k]]
    with torch.device("meta"):
        net = model.build(planted_task(), model.options)
        theirs = bert("BertModel", k, 768, 12, 12, 3072)
    found = sum(p.numel() for p in net.backbone.parameters())
    assert model.n_params == found == n - 590_592  # of the pooler, which is in our head
    assert sum(p.numel() for p in theirs.parameters()) == n


@pytest.mark.parametrize(("k", "name"), NAMES.items())
def test_a_preset_reads_its_own_k_mers(k, name):
    model = MODELS[name]
    assert (model.tokenizer, model.min_length) == (f"kmer{k}", k)
    assert (model.max_tokens, model.context) == (512, 510 + k - 1)
    assert model.weights.repo == f"zhihan1996/DNA_bert_{k}"
    net = model.build(planted_task(), SMALL)
    last = torch.full((1, 512), 4**k + 4)
    assert net(last, None).shape == (1, 2)
    with pytest.raises(IndexError):
        net(last + 1, None)


def test_too_many_tokens_are_refused():
    net = dnabert.backbone(SMALL, 3)
    with pytest.raises(
        ValueError, match="a sequence has 513 tokens, and the model reads at most 512"
    ):
        net(torch.zeros(1, 513, dtype=torch.int16), None)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "last"])
def test_padding_does_not_change_a_score(pooling):
    net = MODELS["dnabert-3"].build(planted_task(), {**SMALL, "pooling": pooling}).eval()
    golden.fill(net)
    torch.testing.assert_close(net(IDS, MASK)[1:], net(IDS[1:, :14], None), rtol=0, atol=1e-5)
    assert (net(IDS, None)[1:] - net(IDS[1:, :14], None)).abs().max() > 1e-3


def test_attention_weights_drop_out_too():
    torch.manual_seed(0)
    layer = dnabert.backbone({**SMALL, "dropout": 0.5}, 3).encoder.layer[0].attention.self
    h = torch.randn(2, 20, 48)
    assert not torch.equal(layer(h, None), layer(h, None))
    layer.eval()
    assert torch.equal(layer(h, None), layer(h, None))


def test_dropout_is_where_bert_has_it():
    net = MODELS["dnabert-3"].build(planted_task(), SMALL)
    ends = [
        f"backbone.encoder.layer.{i}.{k}" for i in range(3) for k in ("attention.output", "output")
    ]
    assert dropouts(net, IDS) == {
        f"{k}.dropout": 0.1 for k in ["backbone.embeddings", *ends, "head"]
    }


def test_lora_reaches_every_linear_layer():
    net = dnabert.backbone(SMALL, 3)
    linear = {
        k.rpartition(".")[2] for k, m in net.named_modules() if isinstance(m, torch.nn.Linear)
    }
    assert linear == set(MODELS["dnabert"].lora_targets)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"heads": 5}, "heads must divide width"), ({"inner": 0}, "inner is 0; DNABERT needs"),
        ({"dropout": -0.1}, "dropout is -0.1; it must be at least 0"),
        ({"pooling": "sum"}, "pooling is 'sum'"),
    ],
)  # fmt: skip
def test_impossible_options_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        MODELS["dnabert-3"].build(planted_task(), {**SMALL, **change})
