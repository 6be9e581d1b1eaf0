"""Several cores: the same bits on any number of them, in bounded memory."""

import tracemalloc

import numpy as np

from dnabench.reports.stats import cores, examples, iqm
from dnabench.reports.stats.examples import draws, nested_pairs, resampled


def split(rows, units, outputs=3, runs=4):
    """Labels, logits and the unit of each row."""
    rng = np.random.default_rng(rows)
    y = rng.integers(0, outputs, rows)
    logits = [np.eye(outputs)[y] + rng.normal(size=(rows, outputs)) for _ in range(runs)]
    return y, logits, np.arange(rows) * units // rows


def figures():
    """What reports compute on several cores."""
    found = []
    for metric, rows, units, n in (
        ("mcc", 300, 300, 2500), ("auroc", 300, 100, 2500), ("brier", 6000, 3000, 3000),
    ):  # fmt: skip
        y, logits, unit = split(rows, units)
        runs = resampled(y, logits, metric, unit, n)
        found.append(runs)
        pairs = nested_pairs({k: runs[k : k + 2] for k in range(3)}, [(0, 1), (0, 2), (1, 2)])
        found += [np.array(pair) for pair in pairs.values()]
    scores = np.random.default_rng(1).normal(size=(4, 5, 6))
    return [*found, *(np.array(size) for size in iqm(list(map(list, scores)), replicates=500))]


def test_any_number_of_cores_gives_the_same_bits(monkeypatch):
    assert isinstance(draws(300, 2500, 0), list) and not isinstance(draws(3000, 3000, 0), list)
    bits = []
    for threads in (1, 3):
        monkeypatch.setattr(cores, "_threads", lambda threads=threads: threads)
        bits.append([x.tobytes() for x in figures()])
    assert bits[0] == bits[1] and len(bits[0]) == 16


def test_few_items_of_a_generator_are_taken_ahead(monkeypatch):
    monkeypatch.setattr(cores, "_threads", lambda: 3)
    done, ahead = [], []

    def items():
        for i in range(40):
            ahead.append(i - len(done))
            yield i

    assert cores.each(lambda i: done.append(i) or i, items()) == list(range(40))
    assert len(ahead) == 40 and max(ahead) <= 4


def test_threads_share_a_limit_of_memory(monkeypatch):
    """Many rows in few groups are many replicates at once, each with a weight for each row."""
    y, logits, unit = split(2400, 200, outputs=2, runs=1)
    monkeypatch.setattr(examples, "_MEMORY", 2**26)
    peaks = []
    for threads in (1, 8):
        monkeypatch.setattr(cores, "_threads", lambda threads=threads: threads)
        tracemalloc.start()
        resampled(y, logits, "auroc", unit, 3000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
