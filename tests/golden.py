"""The rules of ../shared/golden: deterministic weights and inputs (MODELS.md 0.3)."""

import zlib

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
