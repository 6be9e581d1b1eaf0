"""Audits of planted and of real data: every copy, contradiction and shortcut that is there."""

import json
import subprocess
import sys
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from audit_cases import document, random_rows, reverse, task_of, texts
from conftest import planted_task
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from dnabench import Split
from dnabench.reports.text.audit import html, markdown, overview
from dnabench.tasks.audit import copies as _copies
from dnabench.tasks.audit.audit import Audit, audit, leak_free_mask, scores_without_leaks
from dnabench.tasks.audit.conditions import facts, fail_on
from dnabench.tasks.io.files import task_from_path

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
NAMES = ("train", "dev", "test")


@pytest.mark.parametrize(
    ("name", "shared", "conflicts"), [("prom_core_tata", 16, 12), ("prom_300_tata", 6, 10)]
)
def test_published_files_have_the_copies_that_counting_strings_finds(name, shared, conflicts):
    folder = DATA / "gue" / "prom" / name
    if not folder.exists():
        pytest.skip(f"{folder} is missing")
    found = document(task_from_path(folder))
    assert found["across"]["train-test"]["duplicates"] == shared
    assert found["within"]["train"]["conflicts"] == conflicts
    assert fail_on(found, ["train-test-duplicates>0"]) == [
        f"data/{name}: train-test-duplicates>0: it is {shared}"
    ]
    assert found["across"]["train-test"]["near_duplicates"] > 0


def small_pool(rng, labels):
    """Splits with copies of every kind, of a dozen sequences and their complements."""
    pool = [rng.integers(0, 5, rng.integers(4, 12)).astype(np.uint8) for _ in range(12)]
    pool += [np.where(r < 4, 3 - r, 4)[::-1] for r in pool[:8]]
    sizes = {"train": 60, "dev": 6, "test": 9}
    return {
        name: ([pool[i] for i in rng.integers(0, len(pool), n)], labels(rng, n))
        for name, n in sizes.items()
    }


def rows_of(rng, n):
    return rng.integers(0, 2, (n, 3)).astype(np.uint8)


LABELS = {
    "binary": lambda rng, n: np.concatenate([[0, 1], rng.integers(0, 2, n - 2)]),
    "multilabel": rows_of,
    "regression": lambda rng, n: rows_of(rng, n).astype(np.float32),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_sets_of_strings(kind, seed):
    rng = np.random.default_rng(seed)
    task = task_of(small_pool(rng, LABELS[kind]), kind=kind)
    found = document(task)
    splits = {name: task.load(name) for name in NAMES}
    rows = {
        name: [(t, tuple(np.atleast_1d(y))) for t, y in zip(texts(s), s.y, strict=True)]
        for name, s in splits.items()
    }

    def clashing(pairs):
        return {t for t, _ in pairs if len({y for u, y in pairs if u == t}) > 1}

    for name, pairs in rows.items():
        distinct = {t for t, _ in pairs}
        either = [(min(t, reverse(t)), y) for t, y in pairs]
        known = {min(t, reverse(t)) for t in clashing(pairs)}
        assert found["within"][name] == {
            "duplicates": len(pairs) - len(distinct),
            "rc_duplicates": len(distinct) - len({t for t, _ in either}),
            "near_duplicates": 0,
            "conflicts": len(clashing(pairs)),
            "rc_conflicts": len(clashing(either) - known),
        }
    for a, b in combinations(NAMES, 2):
        first = {t for t, _ in rows[a]}
        same = [t in first for t, _ in rows[b]]
        back = [reverse(t) in first for t, _ in rows[b]]
        both = first & {t for t, _ in rows[b]}
        assert found["across"][f"{a}-{b}"] == {
            "duplicates": sum(same),
            "rc_duplicates": sum(r and not s for r, s in zip(back, same, strict=True)),
            "near_duplicates": 0,
            "conflicts": len(clashing([p for p in rows[a] + rows[b] if p[0] in both])),
        }
    seen = {t for name in ("train", "dev") for t, _ in rows[name]}
    expected = [t not in seen and reverse(t) not in seen for t, _ in rows["test"]]
    assert leak_free_mask(audit(task)).tolist() == expected


def test_labels_of_bases_are_compared_as_whole_rows_and_not_across_strands():
    rng = np.random.default_rng(0)
    a, b, c = random_rows(rng, 3, 30)
    train = [a, a, b, b[:20], 3 - a[::-1]]
    y = np.zeros((5, 30), np.int8)
    y[1, 4], y[3, 20:], y[4, 0] = 1, -100, 1
    test_y = np.zeros((2, 35), np.int8)  # padded to another longest sequence
    test_y[:, 30:] = -100
    longer = np.concatenate([c, c[:5]])
    test_y[1] = 1
    task = task_of({"train": (train, y), "test": ([b, longer], test_y)}, kind="per_base")
    found = document(task)
    assert (
        found["within"]["train"]["conflicts"] == 1 and found["within"]["train"]["duplicates"] == 1
    )
    assert "rc_conflicts" not in found["within"]["train"]
    assert found["across"]["train-test"] == {
        "duplicates": 1, "rc_duplicates": 0, "near_duplicates": 0, "conflicts": 0,
    }  # fmt: skip
    assert found["splits"]["train"]["labels"] == [138, 2] and not found["shortcuts"]
    assert "per_base" in found["skipped"]["shortcuts"]


def copied_task(dev=True):
    """60 of the 200 test sequences are in train, 20 more in dev."""
    rng = np.random.default_rng(12)
    rows = random_rows(rng, 600, 60)
    splits = {
        "train": (rows[:300], np.arange(300) % 2), "dev": (rows[300:400], np.arange(100) % 2),
        "test": (rows[240:320] + rows[480:], np.arange(200) % 2),
    }  # fmt: skip
    return task_of({name: part for name, part in splits.items() if dev or name != "dev"})


def test_scores_without_leaks_are_those_of_the_examples_that_are_left():
    found = audit(copied_task())
    rng = np.random.default_rng(13)
    y = np.arange(200) % 2
    logits = rng.normal(size=(200, 2))
    logits[np.arange(80), y[:80]] += 10  # what is known by heart
    scores = scores_without_leaks(found, y, logits, ["mcc", "f1_macro"])
    guess = logits.argmax(1)
    assert scores["all"]["examples"] == 200 and scores["without"]["examples"] == 120
    assert scores["all"]["mcc"] == pytest.approx(matthews_corrcoef(y, guess))
    assert scores["without"]["mcc"] == pytest.approx(matthews_corrcoef(y[80:], guess[80:]))
    assert scores["without"]["f1_macro"] == pytest.approx(
        f1_score(y[80:], guess[80:], average="macro")
    )
    assert scores["all"]["mcc"] > scores["without"]["mcc"] + 0.2
    some = rng.permutation(200)[:90]
    ids = np.array([f"test{i}" for i in some])
    part = scores_without_leaks(found, y[some], logits[some], ["accuracy"], ids)["without"]
    left = some[some >= 80]
    assert part == {"examples": len(left), "accuracy": accuracy_score(y[left], guess[left])}
    with pytest.raises(ValueError, match=r"90 predictions.*200 examples.*ids"):
        scores_without_leaks(found, y[some], logits[some], ["accuracy"])
    nothing = scores_without_leaks(found, y[:3], logits[:3], ["mcc"], np.array(["test0"] * 3))
    assert nothing["without"] == {"examples": 0}


def test_dev_counts_as_train_and_is_not_needed():
    with_dev, without = audit(copied_task()), audit(copied_task(dev=False))
    assert (~leak_free_mask(with_dev)).sum() == 80 and (~leak_free_mask(without)).sum() == 60
    assert list(without.across) == ["train-test"] and len(with_dev.across) == 3
    assert "train or dev" in markdown(json.loads(with_dev.to_json()))
    assert " dev" not in markdown(json.loads(without.to_json())).split("###")[0]


def test_a_task_without_a_test_split_is_refused():
    with pytest.raises(ValueError, match="no test split"):
        audit(task_of({"train": ([np.zeros(30, np.uint8)], [0])}))


def test_json_comes_back_and_is_the_same_bytes_again():
    first, again = audit(copied_task()), audit(copied_task())
    assert first.to_json() == again.to_json()
    assert Audit.from_json(first.to_json()).to_json() == first.to_json()
    assert json.loads(first.to_json())["schema"] == "dnabench.audit/1"
    np.testing.assert_array_equal(
        leak_free_mask(Audit.from_json(first.to_json())), leak_free_mask(first)
    )


@pytest.mark.parametrize("text", ["[]", '{"schema": "dnabench.audit/9"}', '{"schema": 1}'])
def test_another_json_is_refused(text):
    with pytest.raises(ValueError, match=r"not a dnabench\.audit/1"):
        Audit.from_json(text)
    with pytest.raises(ValueError, match="missing or unknown"):
        Audit.from_json('{"schema": "dnabench.audit/1", "classes": []}')


def test_conditions_hold_or_not():
    found = document(copied_task())
    conditions = ["train-test-duplicates>0", "train-test-duplicates>60", "leaked-share >= .4"]
    conditions += ["dev-test-duplicates == 20", "shortcut-majority!=0", "leaked<80", "leaked<=80"]
    held = fail_on(found, conditions)
    assert [line.split(": ")[1] for line in held] == [
        "train-test-duplicates>0", "leaked-share >= .4", "dev-test-duplicates == 20", "leaked<=80",
    ]  # fmt: skip
    assert held[0] == "made/up: train-test-duplicates>0: it is 60"
    assert facts(found)["class-shift"] == 0


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("train-test-duplicate>0", "did you mean train-test-duplicates.*leaked-share"),
        ("leaked", "write NAME>NUMBER"), ("leaked>many", "write NAME>NUMBER"),
        ("leaked=>1", "write NAME>NUMBER"),
        ("train-test-shared-windows>0", "not measured.*no genome was given"),
    ],
)  # fmt: skip
def test_conditions_that_mean_nothing_are_explained(condition, says):
    with pytest.raises(ValueError, match=says):
        fail_on(document(copied_task()), [condition])


def test_tasks_of_the_family_in_other_suites_are_named():
    assert "demo/cell_type" in audit(planted_task(family="accessibility")).related
    alone = planted_task(family="accessibility", name="demo/another")
    assert not [name for name in audit(alone).related if name.startswith("demo/")]
    assert audit(planted_task()).related == []


class Balanced(HTMLParser):
    """Fails at a tag that closes what is not open."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.rows = [], 0, []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def odd_document(tmp_path):
    """An audit with everything in it, under names that mean something to Markdown and HTML."""
    rng = np.random.default_rng(14)
    rows = random_rows(rng, 40, 80)
    (tmp_path / "a<b>.fa").write_text(
        ">c\n" + "".join(np.array(list("ACGT"))[np.concatenate(rows)])
    )
    task = task_of(
        {"train": (rows[:30], [0, 1] * 15), "test": (rows[25:], [0, 1, 0] * 5)},
        classes=("a|b", "<i>c_d"), family="splicing",
    )  # fmt: skip
    object.__setattr__(task, "name", "made/<b>|_up_&amp;")
    return document(task, tmp_path / "a<b>.fa")


def test_markdown_tables_have_equal_columns_and_odd_names_stay_text(tmp_path):
    found = odd_document(tmp_path)
    for text in (markdown(found), overview([found, found])):
        for block in text.split("\n\n"):
            lines = [line for line in block.splitlines() if line.startswith("|")]
            assert len({line.replace(r"\|", "").count("|") for line in lines}) <= 1
        assert r"made/\<b>\|\_up\_\&amp;" in text
    text = markdown(found)
    for words in ("Splits", "Copies", "Shared windows", "Shortcuts", "demo/splice", "5 of 15"):
        assert words.replace("_", r"\_") in text


def test_html_is_balanced_escaped_and_needs_nothing_else(tmp_path):
    found = odd_document(tmp_path)
    found["pairs"] = [
        {"split": "train", "id": "<b>", "other_split": "test", "other_id": "<b>", "strand": "+"}
    ] * 2
    text = html([found, document(copied_task())])
    page = Balanced()
    page.feed(text)
    page.close()
    assert not page.open and min(page.rows) > 1
    assert "made/&lt;b&gt;|_up_&amp;amp;" in text and "<b>" not in text and "<i>" not in text
    assert text.startswith("<section") and text.count("<section") == 1
    assert not any(word in text for word in ("http", "<script", "<link", "@import", "url("))


def test_every_kind_has_a_text():
    rng = np.random.default_rng(15)
    for kind, labels in LABELS.items():
        found = document(task_of(small_pool(rng, labels), kind=kind))
        assert "Splits" in markdown(found) and "Splits" in html([found])


def test_neither_the_audit_nor_its_text_needs_torch_or_pandas():
    code = (
        "import sys, dnabench.tasks.audit.audit, dnabench.reports.text.audit\n"
        "print([m for m in ('torch', 'pandas', 'sklearn', 'pyarrow', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_copies_are_numbered_as_they_appear():
    rng = np.random.default_rng(16)
    task = task_of(small_pool(rng, LABELS["binary"]))
    splits = {name: task.load(name) for name in NAMES}
    found = _copies.copies(splits)
    pool = [t for s in splits.values() for t in texts(s)]
    shown = texts(Split(_copies.representatives(splits, found), None, None))
    either = np.concatenate([found.either[name] for name in NAMES])
    assert shown == [pool[i] for i in found.first] and (np.diff(found.first) > 0).all()
    assert all(shown[e] in (t, reverse(t)) for e, t in zip(either, pool, strict=True))
