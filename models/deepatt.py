"""DeepATT: one convolution, a bidirectional LSTM, and a query of attention for each label.

B batch, L sequence length (bp), P positions after pooling, K task outputs (labels).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dnabench.models import _suite_recipes
from dnabench.registry import MODELS
from dnabench.types import KINDS, PAD, Model, Recipe, Task

if TYPE_CHECKING:
    from torch import Tensor

FILTERS, KERNEL, POOL = 1024, 30, 15
UNITS = 512  # of the LSTM in each direction
ATTENTION, HEADS, HIDDEN = 400, 4, 100
MIN_LENGTH = KERNEL - 1 + POOL  # bp, for one position after pooling
TRUNK = (4 * KERNEL + 1) * FILTERS + 2 * 4 * UNITS * (FILTERS + UNITS + 1)
OPTIONS: dict[str, Any] = {"dropout": 0.2}


def count(outputs: int) -> int:
    """Exact number of parameters with a head of `outputs` outputs.

    Source:
        docs/models.md#deepatt: 7,808,057 at K = 919, as in the authors' README, at any length.
    """
    queries = (outputs + 1) * ATTENTION
    attention = 2 * (2 * UNITS + 1) * ATTENTION + (ATTENTION + 1) * ATTENTION
    return TRUNK + queries + attention + (ATTENTION + 1) * HIDDEN + HIDDEN + 1


def build(task: Task, options: Mapping[str, Any]) -> Any:
    """Convolution, ReLU, pooling -> bidirectional LSTM -> attention of K labels -> K logits.

    Args:
        task: gives K and L; every sequence is padded on the right to L with zeros, which is also
            how N reads, so a score does not depend on the batch.
        options: dropout, after pooling and after attention.

    Returns:
        A torch module: `forward(ids (B, <= L), mask) -> logits float32 (B, K)`. Submodules
        `backbone` (convolution and LSTM), which gives float32 (B, P, 1024) with P = (L - 29) // 15,
        and `head` (the rest), in which only `head.wq`, the queries of the K labels, depends on K.
        `features(ids, mask)`, for a linear probe, is the backbone's mean over P, (B, 1024). The
        logits are the argument of the original's sigmoid. Weights are drawn from the global
        generator of torch with Keras's initialisation.

    Raises:
        ValueError: when L is below 44 bp.

    Accuracy:
        There is no golden record, since the original is TensorFlow: tested against its equations,
        written out with loops in float64.

    Source:
        docs/models.md#deepatt; ljw-struggle/Bioinfor-DeepATT@651b0dc: model/model.py, which has
        L = 1000 and K = 919. Ours: one bias per LSTM gate, as in Keras (`nn.LSTM` has two, which
        are only ever added: 4,096 more parameters); any L and K; logits, and so the loss of the
        task. In a softmax the bias of the last layer, equal for all labels, has no effect.
    """
    from torch import nn
    from torch.nn import functional as F

    if task.length < MIN_LENGTH:
        raise ValueError(
            f"deepatt needs {MIN_LENGTH} bp; the longest of {task.name} has {task.length}"
        )
    trunk, labels = backbone(options), head(task.n_outputs, options)

    class DeepAtt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = trunk, labels

        def features(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            return self.positions(ids).mean(1)

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            return self.head(self.positions(ids))  # type: ignore[no-any-return]

        def positions(self, ids: Tensor) -> Tensor:
            """Float (B, P, 1024) of the padded sequences."""
            ids = F.pad(ids, (0, task.length - ids.shape[1]), value=PAD)
            return self.backbone(ids)  # type: ignore[no-any-return]

    return DeepAtt()


def backbone(options: Mapping[str, Any]) -> Any:
    """`ids (B, L) -> float32 (B, P, 1024)`; padding and N are zeros. See `build`."""
    import torch.nn.functional as F
    from torch import nn

    from dnabench.models._layers import exact, one_hot_table

    o = {**OPTIONS, **options}

    class Trunk(nn.Module):
        letters: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.conv_1 = nn.Conv1d(4, FILTERS, KERNEL)
            self.bidirectional_rnn = nn.LSTM(FILTERS, UNITS, batch_first=True, bidirectional=True)
            letters = one_hot_table([0, 1, 2, 3, 4])[:, :4]  # N is zeros
            self.register_buffer("letters", letters.contiguous(), persistent=False)

        def forward(self, ids: Tensor) -> Tensor:
            x = F.embedding(ids.long(), self.letters).transpose(1, 2)
            x = F.max_pool1d(F.relu(self.conv_1(x)), POOL).transpose(1, 2)
            x = F.dropout(x, o["dropout"], self.training)
            with exact(x):
                x = x.to(self.letters.dtype)
                return self.bidirectional_rnn(x)[0]  # type: ignore[no-any-return]

    net = Trunk()
    nn.init.xavier_uniform_(net.conv_1.weight)
    nn.init.zeros_(net.conv_1.bias)  # type: ignore[arg-type]
    _as_keras(net.bidirectional_rnn)
    return net


def _as_keras(lstm: Any) -> None:
    """Keras's initialisation; the second bias becomes a zero that is not trained."""
    import torch
    from torch import nn

    for name in ("l0", "l0_reverse"):
        nn.init.xavier_uniform_(getattr(lstm, f"weight_ih_{name}"))
        nn.init.orthogonal_(getattr(lstm, f"weight_hh_{name}"))
        bias = nn.init.zeros_(getattr(lstm, f"bias_ih_{name}"))
        nn.init.ones_(bias[UNITS : 2 * UNITS])  # a forget gate that starts open
        delattr(lstm, f"bias_hh_{name}")
        lstm.register_buffer(f"bias_hh_{name}", torch.zeros(4 * UNITS), persistent=False)
        setattr(lstm, f"bias_hh_{name}", getattr(lstm, f"bias_hh_{name}"))  # it keeps a list, too


def head(outputs: int, options: Mapping[str, Any]) -> Any:
    """`(B, P, 1024) -> logits (B, K)`; see `build`."""
    import torch.nn.functional as F
    from torch import nn

    o = {**OPTIONS, **options}

    class Labels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wq = nn.Linear(outputs, ATTENTION)
            self.wk, self.wv = nn.Linear(2 * UNITS, ATTENTION), nn.Linear(2 * UNITS, ATTENTION)
            self.dense = nn.Linear(ATTENTION, ATTENTION)
            self.point_wise_dense_1 = nn.Linear(ATTENTION, HIDDEN)
            self.point_wise_dense_2 = nn.Linear(HIDDEN, 1)

        def forward(self, x: Tensor) -> Tensor:
            # The query of label k is row k of the identity, so wq gives its column k and the bias
            q = self.split((self.wq.weight.T + self.wq.bias).contiguous())
            k, v = self.split(self.wk(x)), self.split(self.wv(x))
            weight = (q @ k.transpose(-1, -2) / math.sqrt(ATTENTION / HEADS)).softmax(-1)
            x = self.dense((weight.to(v.dtype) @ v).transpose(1, 2).flatten(2))
            x = F.relu(self.point_wise_dense_1(F.dropout(x, o["dropout"], self.training)))
            return self.point_wise_dense_2(x).squeeze(-1)  # type: ignore[no-any-return]

        def split(self, x: Tensor) -> Tensor:
            """From (..., rows, 400) to (..., heads, rows, 100)."""
            return x.view(*x.shape[:-1], HEADS, -1).transpose(-3, -2)

    net = Labels()
    for layer in net.children():
        nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return net


CONFIG = "ljw-struggle/Bioinfor-DeepATT@651b0dc config/config_0.json"
PLAIN = "theirs is Adam with amsgrad, ours plain Adam"
MODELS.add(
    Model(
        name="deepatt",
        family="deepatt",
        build=build,
        options=OPTIONS,
        n_params=TRUNK,
        min_length=1,
        least=MIN_LENGTH,
        context=100_000,
        kinds=KINDS[:-1],
        source="Bioinfor-DeepATT (github.com/ljw-struggle/Bioinfor-DeepATT)",
        license="Apache-2.0 (our implementation; the authors' code has no licence)",
        recipes={
            "default": Recipe(
                optimizer="adam", lr=1e-3, weight_decay=0.0, batch=64, epochs=20,
                schedule="constant", warmup=0.0, clip=0.0,
                source=CONFIG,
                differs=f"{PLAIN}; 20 epochs and no early stop are the house's: see official",
            ),
            "official": Recipe(
                optimizer="adam", lr=1e-3, weight_decay=0.0, batch=64, epochs=100, patience=5,
                schedule="constant", warmup=0.0, clip=0.0,
                source=CONFIG, differs=PLAIN,
            ),
            **_suite_recipes.DEEPATT,
        },
    )
)  # fmt: skip
