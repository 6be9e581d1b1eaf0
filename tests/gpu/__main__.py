"""One section, or the report: see check.py, which calls this."""

import argparse
import importlib
import json
from pathlib import Path

from gpu.report import ORDER, earlier_parts, machine, report


def main():
    p = argparse.ArgumentParser(prog="python -m gpu", description=__doc__)
    p.add_argument("section", choices=[*ORDER, "report"])
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--device", default="cuda")
    p.add_argument("--tiny", action="store_true", help="small shapes, to test this without a GPU")
    p.add_argument("--budget", type=float, default=60, help="seconds")
    p.add_argument("--seconds", type=float, default=0, help="of the whole check, for the report")
    p.add_argument("--earlier", type=Path, help="check.json of earlier occasions")
    p.add_argument("--again", action="store_true", help="go on behind the row that ended it")
    p.add_argument("--commit", default="", help="of the checkout, for the report")
    a = p.parse_args()
    if a.section == "report":
        print(report(a.out, a.seconds, a.device, a.earlier, a.tiny, a.commit)[-9000:])
        return
    import torch

    from gpu.section import Section

    torch.set_num_threads(1)
    this = machine(a.device, a.tiny)
    had = earlier_parts(a.earlier, this).get(a.section, {"rows": []})
    part = a.out / f"part-{a.section}.json"
    begun = json.loads(part.read_text())["rows"] if a.again and part.exists() else []
    s = Section(
        a.section, a.out, a.device, a.tiny, a.budget, earlier=had["rows"], begun=begun,
        machine=this,
    )  # fmt: skip
    try:
        importlib.import_module(f"gpu.{a.section}").section(s)
    except ImportError as e:  # another process would lack it too
        s.lacks(e)
    finally:
        s.save()


if __name__ == "__main__":
    main()
