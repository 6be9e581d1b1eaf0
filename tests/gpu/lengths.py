"""`dnabench profile` in this process: seconds and peak memory of one sequence by its length."""

from dnabench import MODELS
from dnabench.forecast.profile import MODES, Run, measure


def section(s):
    seconds = {}
    for length in (60, 120) if s.tiny else (1_000, 10_000, 100_000, 1_000_000):
        for name in ("convnova", "hyenadna-large-1m", "caduceus_ph"):
            for mode in MODES:
                # ten times the length in five runs: time grows at least in proportion
                guess = seconds.get((name, mode), 0) * 10 * 5
                if guess > 40:
                    s.left_out.append(f"{name} {length} {mode}: about {guess:.0f} s")
                    continue
                row = s.row(
                    lambda run=(name, length, mode): cost(s, *run),
                    needs=3 + guess, model=name, bp=length, mode=mode,
                )  # fmt: skip
                if row and "ms" in row:
                    seconds[name, mode] = row["ms"] / 1e3


def cost(s, name, length, mode):
    options = {**MODELS[name].options, **(MODELS[name].reduced if s.tiny else {})}
    found = measure(Run(name, options, length, mode, s.device), lambda done, total: None)
    if found.error:
        return {"error": found.error}
    return {"ms": 1e3 * found.seconds, "GB": found.bytes / 1e9}
