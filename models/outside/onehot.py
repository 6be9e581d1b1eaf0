"""For networks that read one-hot letters. Import it only inside `build`, because it needs torch.

B batch, T bp of the longest sequence of a batch, L bp of the longest of the task.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnabench.types import SEP, Task


class ReadsOneHot(nn.Module):
    """A user's network behind one-hot letters: ids (B, T) become float32 (B, 4, L), A C G T.

    N and padding are four zeros. Every sequence is padded to L, so that a score depends on no
    batch; longer ones, per base, to T. `backbone` is the user's network.
    """

    letters: Tensor

    def __init__(self, net: nn.Module, task: Task) -> None:
        super().__init__()
        self.backbone, self._task = net, task
        rows = torch.zeros(SEP + 1, 4)
        rows[:4] = torch.eye(4)
        self.register_buffer("letters", rows, persistent=False)

    def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """What the user's network answers; per base, as far as the ids go."""
        onehot = F.embedding(ids.long(), self.letters).transpose(1, 2)
        missing = max(0, self._task.length - ids.shape[1])
        logits: Tensor = self.backbone(F.pad(onehot, (0, missing)))
        return logits[:, : ids.shape[1]] if self._task.kind == "per_base" else logits
