"""The head most models share: mean over the positions of a sequence, then a linear layer.

B batch, L length in tokens, D width, K task outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def pooled_classifier(backbone: Any, width: int, n_outputs: int) -> Any:
    """Wrap a backbone.

    Args:
        backbone: torch module, `(ids (B, L), mask (B, L) or None) -> float (B, L, D)`.
        width: D.
        n_outputs: K.

    Returns:
        A torch module with submodules `backbone` and `head`: `forward(ids, mask)` averages over
        the positions where mask is 1 (all of them when it is None) and gives logits (B, K).
    """
    from torch import nn

    class PooledClassifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = backbone, nn.Linear(width, n_outputs)

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            hidden = self.backbone(ids, mask)
            if mask is None:
                return self.head(hidden.mean(1))  # type: ignore[no-any-return]
            weight = mask[..., None]
            return self.head((hidden * weight).sum(1) / weight.sum(1))  # type: ignore[no-any-return]

    return PooledClassifier()
