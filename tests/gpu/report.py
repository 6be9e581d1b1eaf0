"""Joins what the sections wrote, of this occasion and earlier ones: check.json, and check.md."""

import json
import time

import torch

from dnabench.results.provenance import here
from gpu import records

ORDER = (
    "environment", "memory", "records", "repeats", "steps", "lengths", "runs", "precisions",
    "ranks",
)  # fmt: skip
APART = ("where", "slowest", "of")  # of a row, not for the table


def machine(device):
    """What the rows of several occasions must have in common to stand in one table."""
    known = here()
    cuda = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if cuda else known["cpu"]
    return {"device": name, "torch": known["torch"], "commit": known["commit"]}


def occasions(path):
    """Those of an earlier check.json, oldest first."""
    return json.loads(path.read_text())["occasions"] if path and path.exists() else []


def earlier_parts(path, device):
    """Section -> what it wrote on this device, with this PyTorch, at this commit."""
    this = machine(device)
    found = [o for o in occasions(path) if o["machine"] == this]
    return {part["section"]: part for o in found for part in o["parts"]}


def joined(new, old):
    """A section of two occasions: what was measured again replaces its earlier row."""
    measured = [row["of"] for row in new["rows"]]
    kept = [row for row in old["rows"] if row["of"] not in measured]
    return {**new, "rows": kept + new["rows"]}


def report(out, seconds, device="cpu", earlier=None):
    """Write both files from the sections' own and remove those; the text of check.md."""
    old, this = earlier_parts(earlier, device), machine(device)
    parts = {part["section"]: part for p in out.glob("part-*.json")
             if (part := json.loads(p.read_text()))}  # fmt: skip
    parts = {k: joined(parts[k], old[k]) if k in parts and k in old else parts.get(k) or old.get(k)
             for k in ORDER if k in parts or k in old}  # fmt: skip
    tests = out / "pytest.txt"
    said = tests.read_text() if tests.exists() else ""
    every = [o for o in occasions(earlier) if o["machine"] != this]
    every.append({
        "machine": this, "date": time.strftime("%Y-%m-%d"), "seconds": seconds,
        "pytest": said[-3000:], "parts": list(parts.values()),
    })  # fmt: skip
    (out / "check.json").write_text(json.dumps({"occasions": every}, indent=1))
    lines = ["# CUDA check", ""]
    for occasion in reversed(every):
        lines += told(occasion)
    text = "\n".join(lines)
    (out / "check.md").write_text(text)
    for path in out.glob("part-*.json"):
        path.unlink()
    return text


def told(occasion):
    """Lines of an occasion: its machine, what is missing, and its sections."""
    this, parts = occasion["machine"], occasion["parts"]
    found = [part["section"] for part in parts]
    missing = [name for name in ORDER if name not in found]
    missing += [f"{part['section']}: {what}" for part in parts for what in part["left_out"]]
    lines = [
        f"## {this['device']}, {occasion['date']}", "",
        f"PyTorch {this['torch']}, commit {this['commit']}, {occasion['seconds']:.0f} s.", "",
        f"Not measured: {', '.join(missing) or 'nothing'}.", "",
    ]  # fmt: skip
    if said := occasion["pytest"].strip():
        lines += ["### pytest -m gpu", "", "```", *said.splitlines()[-12:], "```", ""]
    for part in parts:
        lines += [f"### {part['section']} ({part['seconds']} s)", "", *table(part), ""]
    return lines


def table(part):
    """Lines of a section: a table, or a list where rows have too many or different fields."""
    rows = [{k: v for k, v in row.items() if k not in APART} for row in part["rows"]]
    if part["section"] == "records":
        return records.summary(rows)
    keys = list(dict.fromkeys(k for r in rows for k in r))
    if len(keys) > 16 or part["section"] in ("environment", "memory"):
        return ["- " + ", ".join(f"{k}={cell(v)}" for k, v in r.items()) for r in rows]
    return [
        "| " + " | ".join(keys) + " |", "|" + "---|" * len(keys),
        *("| " + " | ".join(cell(r.get(k, "")) for k in keys) + " |" for r in rows),
    ]  # fmt: skip


def cell(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict | list):
        return json.dumps(value, default=str).replace("|", "/")[:400]
    return str(value).replace("|", "/")
