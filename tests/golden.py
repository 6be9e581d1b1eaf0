"""The rules of ../shared/golden: weights and inputs by docs/models.md#golden-records."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch


def fill(module, prefix=""):
    """Give every parameter the value that the authors' code had when the record was made."""
    for key, p in module.named_parameters():
        key = prefix + key
        n = p.numel()
        a = (zlib.crc32(key.encode()) % 9973) / 9973
        v = np.sin(2 * np.pi * ((np.arange(1, n + 1) * 0.7548776662466927 + a) % 1.0))
        if key.endswith("A_log"):
            v = np.log(np.arange(n) % p.shape[-1] + 1) + 0.05 * v
        elif key.endswith(".D"):
            v = 1 + 0.1 * v
        elif key.endswith("dt_proj.bias"):
            v = -3 + 0.5 * v
        elif key.endswith("freq"):
            v = 10 * (1 + 0.02 * v)
        elif p.ndim >= 2:
            v = v / (n / p.shape[0]) ** 0.5
        else:
            v = 1 + 0.1 * v if key.endswith("weight") else 0.1 * v
        with torch.no_grad():
            p.copy_(torch.from_numpy(v.astype(np.float32)).view(p.shape))


def ids(b, length, lo, n):
    """Pseudo-random ids, int64 (b, length), lo .. lo + n - 1."""
    x, out = 7, []
    for _ in range(b * length):
        x = (1103515245 * x + 12345) % 2**31
        out.append(lo + (x >> 16) % n)
    return torch.tensor(out).view(b, length)


def differences(record, out):
    """Largest absolute difference to each number that a golden record keeps."""
    flat = out.detach().double().flatten()
    middle = flat.numel() // 2
    assert list(out.shape) == record["shape"]
    pairs = {
        "first8": flat[:8], "last8": flat[-8:], "mid8": flat[middle : middle + 8],
        "mean": flat.mean(), "std": flat.std(correction=0), "abs_max": flat.abs().max(),
    }  # fmt: skip
    return {k: float((v - torch.tensor(record[k]).double()).abs().max()) for k, v in pairs.items()}


RECORDS = json.loads((Path(__file__).parent / "golden_records.json").read_text())


def inputs(name):
    """ids and mask of a record's run, in the ids that our networks read."""
    length = RECORDS[name]["shape"][1]
    if name.startswith(("dnabert2", "gena")):
        x, mask = ids(2, 20, 5, 120), torch.ones(2, 20)
        x[1, 14:], mask[1, 14:] = 3, 0.0
        return x, mask
    if name.startswith(("ntv1", "ntv2")):
        x, mask = ids(2, 20, 6 if name.startswith("ntv2") else 4, 4100), torch.ones(2, 20)
        x[:, 0] = 3
        x[1, 15:], mask[1, 15:] = 1, 0.0
        return x, mask
    low, n = {"convnova": (0, 5), "hyenadna": (7, 4), "caduceus": (7, 5), "gpn": (3, 4)}[
        name.partition("_")[0]
    ]
    return ids(2, length, low, n) - low, None


def tolerance(name):
    """Of the largest difference: FFT convolutions round more (docs/models.md#golden-records)."""
    return 2e-4 if name.startswith("hyenadna") else 1e-4
