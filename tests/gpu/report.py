"""Joins what the sections wrote: check.json, and check.md to read."""

import json

from gpu import records


def report(out, seconds):
    """Write both files from the sections' own and remove those; the text of check.md."""
    parts = sorted(
        (json.loads(p.read_text()) for p in out.glob("part-*.json")),
        key=lambda part: ORDER.index(part["section"]),
    )
    tests = out / "pytest.txt"
    said = tests.read_text() if tests.exists() else ""
    document = {"seconds": seconds, "pytest": said[-3000:], "parts": parts}
    (out / "check.json").write_text(json.dumps(document, indent=1))
    lines = ["# CUDA check", "", f"{seconds:.0f} s.", ""]
    if said:
        lines += ["## pytest -m gpu", "", "```", *said.strip().splitlines()[-12:], "```", ""]
    for part in parts:
        lines += [f"## {part['section']} ({part['seconds']} s)", "", *table(part), ""]
        if part["left_out"]:
            lines += ["Left out for time: " + ", ".join(part["left_out"]), ""]
    text = "\n".join(lines)
    (out / "check.md").write_text(text)
    for path in out.glob("part-*.json"):
        path.unlink()
    return text


ORDER = (
    "environment", "memory", "records", "repeats", "steps", "lengths", "runs", "precisions",
    "ranks",
)  # fmt: skip


def table(part):
    """Lines of a section: a table, or a list where rows have too many or different fields."""
    rows = part["rows"]
    if part["section"] == "records":
        return records.summary(rows)
    keys = list(dict.fromkeys(k for r in rows for k in r if k not in ("where", "slowest")))
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
