"""The golden records of tests/golden_records.json on the device, in each arithmetic."""

import golden
import torch

from dnabench.train.precision import Arithmetic

RELATIVE = 0.05  # of the record's largest value: what tf32 and bf16 may differ by


def section(s):
    import parity  # which needs pytest: no other section, and no report, must fail without it

    made = parity.parities()
    names = sorted(made)[:: 6 if s.tiny else 1]
    torch.set_default_device(s.device)
    # some tests make their inputs when they are imported, on the CPU
    torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: tuple(
            x.to(s.device) if isinstance(x, torch.Tensor) else x for x in inputs
        )
    )
    for precision in ("fp32", "tf32", "bf16") if s.cuda else ("fp32", "bf16"):
        for name in names:
            s.row(
                lambda name=name, precision=precision: compared(s, name, made[name], precision),
                needs=1, precision=precision, record=name,
            )  # fmt: skip
    torch.set_default_device("cpu")


def compared(s, name, make, precision):
    how, record = Arithmetic(precision, s.device), golden.RECORDS[name]
    with how.products(), how.forward():
        out, _ = make()
    worst, largest = max(golden.differences(record, out.float()).values()), record["abs_max"]
    tolerance = golden.tolerance(name)
    return {
        "worst": worst, "relative": worst / max(1e-9, largest), "tolerance": tolerance,
        "ok": worst < (tolerance if precision == "fp32" else RELATIVE * largest),
    }  # fmt: skip


def summary(rows):
    """Lines of the report."""
    lines = [f"- {r['what']}: {r['error']}" for r in rows if "precision" not in r]
    rows = [r for r in rows if "precision" in r]
    for precision in dict.fromkeys(r["precision"] for r in rows):
        mine = [r for r in rows if r["precision"] == precision]
        bad = [r for r in mine if not r.get("ok")]
        worst = max((r.get("relative", 0) for r in mine), default=0)
        lines.append(
            f"- {precision}: {len(mine) - len(bad)} of {len(mine)} within tolerance; "
            f"largest relative difference {worst:.2g}"
        )
        lines += [f"  - {r['record']}: {r.get('error') or format(r['worst'], '.4g')}" for r in bad]
    return lines
