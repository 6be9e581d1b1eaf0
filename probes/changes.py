"""What a variant changes in a network: its embedding, or the answer it was fine-tuned for.

B windows of W bp, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dnabench.networks.embedding import Embedder, Source
from dnabench.networks.network import Network
from dnabench.pretraining.language_nets import beyond
from dnabench.pretraining.learner import as_sequences
from dnabench.probes.likelihood import Likelihood, Told, nobody
from dnabench.probes.mutagenesis import Answer, answers
from dnabench.types import Array

AT_ONCE = 1 << 18  # bp of windows that are handed over together


class Windows(NamedTuple):
    """Whose windows are read. length: W."""

    name: str
    length: int


COMPARED = (
    "`--score output` compares the answers of a kept network (runs/networks/TRIAL), which "
    "`dnabench run --keep best` makes"
)


@dataclass
class Change:
    """Something that is read from the windows of both alleles.

    Args:
        source: the network.
        how: what is compared, in words.
        what: the score, in words.
        unit: of the score.
        tag: its name in INFO.
        read: from codes uint8 (B, W) to float64 (B,), whose difference is the score, or (B, D),
            whose distance is.
        passes: windows that were read.
    """

    source: Windows
    how: str
    what: str
    unit: str
    tag: str
    read: Callable[[Array], Array]
    passes: int = 0
    by_site: bool = False
    indels: bool = True

    def windows(self, codes: Array, progress: Told = nobody) -> Array:
        """Float64 (B,) or (B, D), of uint8 (B, W); `progress` as of `Likelihood.windows`."""
        parts, step = list[Array](), max(1, AT_ONCE // codes.shape[1])
        for a in range(0, len(codes), step):
            parts.append(self.read(codes[a : a + step]))
            self.passes += len(parts[-1])
            progress(len(parts[-1]))
        return np.concatenate(parts).astype(np.float64)


Scorer = Likelihood | Change


def embedding_change(source: Source, name: str, device: str = "cpu") -> Change:
    """The Euclidean distance between the mean embeddings of both windows, a mean of both strands.

    Args:
        source: the network; its length is that of the windows.
        name: of it.
        device: where it runs.
    """
    embedder = Embedder(
        source._replace(key=""), 0, "mean", "one", device, COMPARED
    )  # nothing is stored
    how, longer = "the mean embedding of the window", beyond(source.length, source.trained)
    return Change(
        Windows(name, source.length), f"{how} ({longer})" if longer else how,
        "Euclidean distance of mean embeddings, mean of both strands", "Euclidean distance",
        "DNABENCH_DISTANCE", lambda codes: embedder(as_sequences(codes)),
    )  # fmt: skip


def output_change(network: Network, answer: Answer, name: str, length: int = 0) -> Change:
    """The answer to the alternative window minus that to the reference, a mean of both strands.

    Args:
        network: a kept one, with an answer for a sequence.
        answer: of `mutagenesis.answer_of`.
        name: of it.
        length: bp of the windows; 0 = the longest that it reads.

    Raises:
        ValueError: longer windows than it reads.
    """
    if length > network.longest:
        raise ValueError(f"--length {length}: {name} reads {network.longest:,} bp at most")
    return Change(
        Windows(name, length or network.longest), answer.name,
        f"change of {answer.name} (ALT - REF), mean of both strands", answer.unit,
        "DNABENCH_CHANGE", lambda codes: answers(network, as_sequences(codes), answer),
    )  # fmt: skip
