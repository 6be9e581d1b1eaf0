"""What networks have seen of test sequences: seen.py NETWORK [NETWORK ...] -- TASK [TASK ...]."""

import json
import sys
from pathlib import Path

import numpy as np

from dnabench import TASKS
from dnabench.pretraining.mapping import looked_up, places, seen
from dnabench.tasks.io.packed import stored


def counts(network, task):
    """Test sequences, and those that are found on a network's genomes and that it has seen."""
    card, seqs = json.loads((network / "network.json").read_text()), TASKS[task].load("test").seqs
    found, shown = np.zeros(len(seqs), bool), np.zeros(len(seqs), bool)
    for one in card["genomes"]:
        genome = stored(one["sha256"])
        found[places(seqs, genome).sequence] = True
        shown |= seen(seqs, genome, np.array(one["free"], np.int64), card["length"])
    return len(seqs), found.sum(), shown.sum(), len(looked_up(seqs))


def main():
    at = sys.argv.index("--")
    networks, tasks = [Path(name) for name in sys.argv[1:at]], sys.argv[at + 1 :]
    for network in networks:
        genomes = json.loads((network / "network.json").read_text())["genomes"]
        print(f"{network.name}: {sum(g['places'] for g in genomes):,} places of windows")
        for task in tasks:
            n, found, shown, known = counts(network, task)
            share = f"{shown / known:.1%} of the {known:,} that were looked up"
            print(f"  {task}: {n:,} test sequences, {found:,} on its genomes, seen {share}")


if __name__ == "__main__":
    main()
