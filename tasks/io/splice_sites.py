"""Whether labelled splice sites lie on the bases that introns begin and end with, GT and AG.

Classes are BEND's: 1 donor, 3 acceptor, 5 and 7 the same of genes of the other strand, whose
sites read AC and CT on this one.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from dnabench.types import A, Array, C, G, Split, T

ROWS = 256  # sequences at a time
LEAST, FEW = 0.8, 10  # share of sites with their bases; sites below which nothing is said


class Site(NamedTuple):
    """The two bases, and whether the label is on the first or on the second of them."""

    name: str
    first: int
    second: int
    on_second: bool


SITES = {
    1: Site("donor", G, T, False),
    3: Site("acceptor", A, G, True),
    5: Site("donor of the other strand", A, C, True),
    7: Site("acceptor of the other strand", C, T, False),
}


class Count(NamedTuple):
    """Sites of a class that have their two bases, and all of them."""

    right: int
    sites: int


def has_sites(classes: tuple[str, ...]) -> bool:
    """Whether a task has these classes."""
    return len(classes) > max(SITES) and all(
        classes[k].startswith(site.name.partition(" ")[0]) for k, site in SITES.items()
    )


def counted(parts: Iterable[Split]) -> dict[int, Count]:
    """Count the sites of every class; of labels on several bases, the one next to the exon counts.

    Source: GT-AG rule, Breathnach and Chambon 1981, Annu. Rev. Biochem. 50:349.
    """
    out = dict.fromkeys(SITES, Count(0, 0))
    for whole in parts:
        for start in range(0, len(whole.y), ROWS):
            part = whole.take(np.arange(start, min(start + ROWS, len(whole.y))))
            labels = part.y[np.arange(part.y.shape[1]) < part.seqs.lengths[:, None]]
            owner = np.repeat(np.arange(len(part.y)), part.seqs.lengths)
            together = owner[1:] == owner[:-1]
            for k, site in SITES.items():
                right, sites = _of_class(labels == k, part.seqs.codes, together, site)
                out[k] = Count(out[k].right + right, out[k].sites + sites)
    return out


def _of_class(here: Array, codes: Array, together: Array, site: Site) -> tuple[int, int]:
    """Args: for each base, whether it has the class; whether the next is of the same sequence."""
    if len(codes) < 2:
        return 0, 0
    within = here[1:] & here[:-1] & together
    if site.on_second:  # the last base of a label, and the one before it
        at = np.flatnonzero(here[1:] & together & ~np.append(within[1:], False)) + 1
    else:
        at = np.flatnonzero(here[:-1] & together & ~np.insert(within[:-1], 0, False))
    first, second = codes[at - site.on_second], codes[at + (not site.on_second)]
    return int(((first == site.first) & (second == site.second)).sum()), len(at)


def shares(found: Mapping[int, Count], classes: tuple[str, ...]) -> dict[str, float]:
    """Name of the class -> share of its sites that have their bases."""
    return {classes[k]: round(c.right / c.sites, 4) for k, c in found.items() if c.sites}


def problems(found: Mapping[int, Count], classes: tuple[str, ...]) -> list[str]:
    """What is wrong with the sites, in words; empty when nothing is."""
    return [
        f"{classes[k]}: {c.right:,} of {c.sites:,} labelled sites ({c.right / c.sites:.0%}) have "
        f"the bases {'ACGT'[SITES[k].first]}{'ACGT'[SITES[k].second]} of a {SITES[k].name}; "
        "donor and acceptor may be swapped, labels shifted, or the genome is another one"
        for k, c in found.items() if c.sites >= FEW and c.right < LEAST * c.sites
    ]  # fmt: skip
