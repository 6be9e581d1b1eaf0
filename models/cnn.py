"""CNN baseline of Genomic Benchmarks: three small convolutions and two linear layers.

B batch, L sequence length (bp), K task outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dnabench.models.heads import n_words
from dnabench.registry import MODELS
from dnabench.types import KINDS, Model, Recipe, Task

if TYPE_CHECKING:
    from torch import Tensor

VOCABULARY, EMBEDDING, HIDDEN = 12, 100, 512
IDS = [7, 8, 9, 10, 11, 4]  # of A, C, G, T, N and padding in that vocabulary
OPTIONS: dict[str, Any] = {"tokenizer": "char", "vocabulary": 4096}
TRUNK = VOCABULARY * EMBEDDING + 14_164
MIN_LENGTH = 57  # bp; one position is left after three times a kernel of 8 and pooling by 2


def build(task: Task, options: Mapping[str, Any]) -> Any:
    """Embedding -> 3 x (convolution, batch norm, pooling), one ReLU -> two linear layers.

    Args:
        task: gives K and L; every sequence is padded on the right to L, with zero embeddings, so a
            score does not depend on the batch.
        options: tokenizer; with any other than "char" the embedding has `vocabulary` rows and every
            sequence is padded to L + 2 tokens.

    Returns:
        A torch module: `forward(ids (B, <= L), mask) -> logits float32 (B, K)`. Submodules
        `embeddings` and `cnn_model` are named as in the original; `head` is its `dense_model`.

    Raises:
        ValueError: when L is below 57 bp.

    Accuracy:
        With equal weights within 1e-4 of the original's logits (golden record gb_cnn_len200).

    Source:
        Gresova et al. 2023, BMC Genomic Data 24:25; ML-Bioinfo-CEITEC/genomic_benchmarks@605d853:
        src/genomic_benchmarks/models/torch.py. Ours: K logits and one cross-entropy (theirs
        applies a sigmoid before a loss that applies it again, which costs accuracy); no dry run
        through batch norm at construction.
    """
    import torch
    import torch.nn.functional as F
    from torch import nn

    if task.length < MIN_LENGTH:
        raise ValueError(f"cnn needs {MIN_LENGTH} bp; the longest of {task.name} has {task.length}")
    letters = str({**OPTIONS, **options}["tokenizer"]) == "char"
    rows = VOCABULARY if letters else n_words(options)
    longest = task.length + (0 if letters else 2)  # [CLS] and [SEP]
    positions = longest
    for _ in range(3):
        positions = (positions - 7) // 2

    class Cnn(nn.Module):
        vocabulary: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.embeddings = nn.Embedding(rows, EMBEDDING)
            self.cnn_model = nn.Sequential(
                nn.Conv1d(EMBEDDING, 16, 8), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2),
                nn.Conv1d(16, 8, 8), nn.BatchNorm1d(8), nn.MaxPool1d(2),
                nn.Conv1d(8, 4, 8), nn.BatchNorm1d(4), nn.MaxPool1d(2),
            )  # fmt: skip
            self.head = nn.Sequential(
                nn.Linear(4 * positions, HIDDEN), nn.Linear(HIDDEN, task.n_outputs)
            )
            self.register_buffer("vocabulary", torch.tensor(IDS), persistent=False)

        def features(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            """The input of the two linear layers: float (B, 4 positions)."""
            x = self.embeddings(self.vocabulary[ids.long()] if letters else ids.long())
            x = x if mask is None else x * mask[..., None]
            x = F.pad(x, (0, 0, 0, longest - x.shape[1]))
            return self.cnn_model(x.transpose(1, 2)).flatten(1)  # type: ignore[no-any-return]

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            return self.head(self.features(ids, mask))  # type: ignore[no-any-return]

    return Cnn()


MODELS.add(
    Model(
        name="cnn",
        family="cnn",
        build=build,
        n_params=TRUNK,
        min_length=1,
        least=MIN_LENGTH,
        context=100_000,
        options=OPTIONS,
        choices={"tokenizer": ("char", "6mer", "bpe")},
        kinds=KINDS[:-1],  # one prediction a sequence
        source="doi:10.1186/s12863-023-01123-8",
        license="Apache-2.0 (our implementation)",
        recipes={
            "default": Recipe(
                optimizer="adam", lr=1e-3, weight_decay=0.0, batch=64, epochs=10,
                schedule="constant", warmup=0.0, clip=0.0,
                source="genomic_benchmarks@605d853 src/genomic_benchmarks/models/torch.py",
                differs="theirs applies a sigmoid before a loss that applies it again (its loss "
                "ends near 0.59 where ours reaches 0.19); its padding is a learned embedding, ours "
                "zeros; its tokenizer adds <bos> and <eos>",
            )
        },
    )
)  # fmt: skip
