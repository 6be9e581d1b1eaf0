"""What a training step of each family does on a device, read from its operations.

The meta device stands for a GPU: it has every operation and no numbers. A step that makes a tensor
on the host, or asks the device for a number, makes the host wait each time, and is no CUDA graph.
"""

import numpy as np
import pytest
import torch
from conftest import planted_task
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dnabench import MODELS
from dnabench.models.kernels.context import Kernels
from dnabench.train.adapt import adapted, with_head
from dnabench.train.batches import Batch, places
from dnabench.train.losses import balanced
from dnabench.train.objectives import Supervised
from dnabench.types import Recipe

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "aten.item", "aten.equal")
# without a deterministic form on CUDA, as the documentation of
# torch.use_deterministic_algorithms lists them; cumsum of numbers that are not whole
RANDOM_ORDER = (
    "adaptive_avg_pool2d_backward", "adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward",
    "avg_pool3d_backward", "bincount", "ctc_loss_backward", "fractional_max_pool", "grid_sampler",
    "histc", "kthvalue", "max_unpool", "median", "nll_loss2d", "aten.put", "reflection_pad",
    "upsample_linear", "upsample_bilinear", "upsample_bicubic", "upsample_trilinear",
)  # fmt: skip
KINDS = {"binary": 2, "multilabel": 3, "regression": 2, "per_base": 3}
LENGTH, ROWS = 128, 4


class Watch(TorchDispatchMode):
    """What is wrong with the operations inside."""

    def __init__(self):
        super().__init__()
        self.wrong, self.seen = set(), 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name, out = str(function), function(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        self.seen += 1
        waits = any(word in name for word in WAITS)
        summed = "cumsum" in name and any(x.is_floating_point() for x in tensors)
        if waits or summed or any(word in name for word in RANDOM_ORDER):
            self.wrong.add(name)
        if any(x.device.type != "meta" for x in tensors):
            self.wrong.add(f"{name} on the host")
        return out


def families():
    found = {}
    for name in MODELS:
        if not MODELS[name].custom_trainer:
            found.setdefault(MODELS[name].family, name)
    return sorted(found.values())


def step(name, kind="binary", masked=False, **recipe):
    """Forward and backward, as `NetLearner` does them; what was seen."""
    model, task = MODELS[name], planted_task(classes=KINDS[kind], length=LENGTH, kind=kind)
    options = {**model.options, **model.reduced}
    recipe = Recipe(**recipe)
    net = adapted(model.build(task, options), model, recipe)
    net = with_head(net, model, task, options, recipe).to("meta").train()
    words = model.tokenizer_name(options) != "char"
    tokens = 24 if words else LENGTH
    mask = torch.ones(ROWS, tokens, device="meta") if masked else None
    widths = torch.ones(ROWS, tokens, dtype=torch.int32, device="meta") if words else None
    shape = {"binary": (ROWS,), "per_base": (ROWS, LENGTH)}.get(kind, (ROWS, KINDS[kind]))
    y = np.arange(np.prod(shape)).reshape(shape) % 2
    target = torch.zeros(shape, dtype=torch.float32 if kind == "regression" else torch.int64)
    weights = None if kind == "regression" else balanced(kind, y, task.n_outputs)
    objective = Supervised(task, weights, of_bases=recipe.head == "conv")
    objective._weights_on(torch.device("meta"))
    ids = torch.zeros(ROWS, tokens, dtype=torch.uint8, device="meta")
    batch = Batch(ids, mask, widths, target.to("meta"))
    around = (places(widths, LENGTH),) if words and recipe.head == "conv" else ()
    with Watch() as watch, Kernels("direct"):
        loss = objective.loss(net(ids, mask, *around).float(), batch)
        (loss / torch.ones((), device="meta")).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    assert watch.seen > 20
    return watch.wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", families())
def test_a_step_asks_the_device_for_nothing_and_has_a_deterministic_form(name):
    model = MODELS[name]
    assert step(name) == step(name, masked=True) == set()
    for kind in ("multilabel", "regression"):
        assert step(name, kind) == set()
    if "per_base" in model.kinds:
        assert step(name, "per_base", masked=True) == set()
        assert step(name, "per_base", masked=True, head="conv") == set()
    if model.lora_targets:
        assert step(name, finetune="lora") == set()


def test_what_would_be_wrong_is_seen():
    found = []
    for spoil in (
        lambda x: x * float(torch.ones(())), lambda x: x[torch.zeros(ROWS, dtype=torch.int64)],
        lambda x: x.cumsum(0), lambda x: torch.nn.functional.pad(x[None], (1, 1), mode="reflect"),
        lambda x: x + torch.tensor([1.0, 2.0]).to("meta"),
    ):  # fmt: skip
        with Watch() as watch:
            spoil(torch.zeros(ROWS, 2, device="meta"))
        found.append(" ".join(sorted(watch.wrong)))
    words = ("_local_scalar_dense", "on the host", "cumsum", "reflection_pad", "on the host")
    assert all(word in said for word, said in zip(words, found, strict=True)), found
