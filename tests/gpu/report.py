"""Joins what the sections wrote, of this occasion and earlier ones: check.json, and check.md."""

import hashlib
import json
import time
from pathlib import Path

import torch

from dnabench.results.provenance import here
from gpu import records

ORDER = (  # the most important first
    "environment", "records", "repeats", "steps", "lengths", "memory", "runs", "precisions",
    "probes", "ranks",
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]
CODE = (
    "harness",
    "models",
    "probes",
    "tasks",
    "results",
    "tests/gpu",
)  # what is measured, and with what
APART = ("where", "slowest", "of")  # of a row, not for the table


def machine(device, tiny=False):
    """What the rows of several occasions must have in common to stand in one table.

    The code, not the commit: that changes when the results of an occasion are committed.
    """
    known = here()
    cuda = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if cuda else known["cpu"]
    return {"device": name, "torch": known["torch"], "tiny": tiny, "code": code_digest()}


def code_digest(root=ROOT):
    """Of the source that is measured."""
    digest = hashlib.sha256()
    for path in sorted(p for part in CODE for p in (root / part).rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def occasions(path):
    """Those of an earlier check.json, oldest first."""
    return json.loads(path.read_text())["occasions"] if path and path.exists() else []


def earlier_parts(path, this):
    """Section -> what it wrote on this machine: device, PyTorch, code and size."""
    found = [o for o in occasions(path) if o["machine"] == this]
    return {part["section"]: part for o in found for part in o["parts"]}


def joined(new, old):
    """A section of two occasions: what was measured again replaces its earlier row."""
    measured = [row["of"] for row in new["rows"]]
    kept = [row for row in old["rows"] if row["of"] not in measured]
    return {**new, "rows": kept + new["rows"]}


def report(out, seconds, device="cpu", earlier=None, tiny=False, commit=""):
    """Write both files from the sections' own and remove those; the text of check.md.

    Where a section said which machine it was, no device is asked: it may have failed for good.

    commit: of the checkout, for where git cannot be asked.
    """
    parts = {part["section"]: part for p in out.glob("part-*.json")
             if (part := json.loads(p.read_text()))}  # fmt: skip
    said = (part["machine"] for part in parts.values() if part["machine"])
    this = next(said, None) or machine(device, tiny)
    old = earlier_parts(earlier, this)
    parts = {k: joined(parts[k], old[k]) if k in parts and k in old else parts.get(k) or old.get(k)
             for k in ORDER if k in parts or k in old}  # fmt: skip
    tests = out / "pytest.txt"
    said = tests.read_text() if tests.exists() else ""
    every, same = [], []
    for one in occasions(earlier):
        (same if one["machine"] == this else every).append(one)
    before = same[-1] if same else {"seconds": 0, "pytest": ""}
    every.append({
        "machine": this, "commit": commit or here()["commit"], "date": time.strftime("%Y-%m-%d"),
        "seconds": before["seconds"] + seconds, "pytest": said[-3000:] or before["pytest"],
        "parts": list(parts.values()),
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
        f"## {this['device']}, {occasion['date']}{', small shapes' * this['tiny']}", "",
        f"PyTorch {this['torch']}, commit {occasion['commit']}, code {this['code']}, "
        f"{occasion['seconds']:.0f} s.", "",
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
