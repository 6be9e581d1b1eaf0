"""Write records of 25 models on 18 tasks, simulated, to look at a large report.

    python tests/bench/many_models.py runs/many
    dnabench report --out runs/many

Five seeds each, 300 test examples, four families of tasks; a model further down is better.
"""

import sys

import numpy as np

from dnabench.metrics import score
from dnabench.results.store import Store
from dnabench.types import Recipe, Record, Trial

MODELS = (
    "kmer", "cnn", "convnova-386k", "convnova-1.7m", "hyenadna-tiny-1k", "hyenadna-small-32k",
    "caduceus-ph-131k", "caduceus-ps-131k", "dnabert2", "dnabert-3", "dnabert-6", "ntv2-50m",
    "ntv2-100m", "ntv2-250m", "ntv2-500m-multi-species", "gena-lm-bert-base-t2t",
    "gena-lm-bigbird-base-sparse", "legnet", "deepsea", "deepstarr", "basset", "unet-small",
    "gpn-brassicales", "deepatt", "my-own-network-with-a-long-name",
)  # fmt: skip
FAMILIES = {
    "histone marks": ["H3", "H3K14ac", "H3K36me3", "H3K4me1", "H3K4me2", "H3K4me3", "H3K79me3",
                      "H3K9ac", "H4", "H4ac"],
    "enhancers": ["enhancers", "enhancers_types"],
    "promoters": ["promoter_all", "promoter_no_tata", "promoter_tata"],
    "splice sites": ["splice_sites_acceptors", "splice_sites_all", "splice_sites_donors"],
}  # fmt: skip
SEEDS, EXAMPLES = 5, 300


def main():
    """Write the folder that is named."""
    rng, store = np.random.default_rng(0), Store(sys.argv[1])
    store.check_writable()
    ids = np.array([f"s{i}" for i in range(EXAMPLES)])
    for family, task in [(family, task) for family, tasks in FAMILIES.items() for task in tasks]:
        y, hard = rng.integers(0, 2, EXAMPLES), rng.normal(0, 0.7, EXAMPLES)
        easy = rng.uniform(0.3, 1.5)
        for m, model in enumerate(MODELS):
            own = rng.normal(0, 0.4, EXAMPLES)
            for seed in range(SEEDS):
                x = (easy + 0.03 * m) * (2 * y - 1) + hard + own + rng.normal(0, 0.5, EXAMPLES)
                logits = np.stack([np.zeros(EXAMPLES), x], 1).astype(np.float32)
                found = score(y, logits, ["mcc", "accuracy", "auroc"])
                store.append(record(model, m, f"nt/{task}", family, seed, found),
                             {"logits": logits, "labels": y, "ids": ids})  # fmt: skip


def record(model, m, task, family, seed, found):
    """As a run leaves it, as far as a report looks."""
    trial = Trial(
        model=model, options={}, regime="scratch" if m < 3 else "pretrained", task=task,
        data="0" * 16, protocol="honest/1", recipe=Recipe(), seed=seed,
    )  # fmt: skip
    facts = {"kind": "binary", "metric": "mcc", "family": family, "n_test": EXAMPLES,
             "classes": ["0", "1"]}  # fmt: skip
    return Record(
        trial=trial, scores={"test": found, "val": found}, best_epoch=5,
        curve=[{"epoch": e, "loss": 1 / e, "val": found} for e in range(1, 6)],
        n_params=11_000 * (m + 1) ** 3, seconds=10.0 * (m + 1), task=facts,
        examples_per_second=1000.0 / (m + 1), peak_memory=2**28 * (m + 1), where={"device": "cpu"},
    )  # fmt: skip


if __name__ == "__main__":
    main()
