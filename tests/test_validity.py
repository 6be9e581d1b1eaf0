"""reports/validity.py: every number of a record that its predictions give is compared with them."""

import json

import pytest
from kept_cases import job_of, put, task_of_kind
from sklearn.metrics import roc_auc_score

from dnabench import MODELS
from dnabench.reports.memo import Memo
from dnabench.reports.table import INVALID
from dnabench.reports.validity import checked, reason
from dnabench.results.store import Store
from dnabench.sweep.trial import run_trial

__all__ = ["put"]  # a fixture


def stored(job, folder):
    store = Store(folder)
    store.check_writable()
    store.append(*run_trial(job))
    return store


def edit(store, change):
    """The record of a store of one, after a change of its JSON."""
    (path,) = (store.folder / "records").glob("*.json")
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    (record,) = Store(store.folder)
    return record


@pytest.mark.parametrize("older", [False, True])
def test_scores_of_groups_of_outputs_follow_from_the_predictions(older, put, tmp_path):
    groups = {"first": slice(0, 2), "last": slice(2, None)}
    task = put(task_of_kind("multilabel", groups=groups))
    store = stored(job_of(MODELS["cnn"], task), tmp_path)
    record = edit(store, lambda found: older and found["task"].pop("groups"))
    assert older or record.task["groups"] == {"first": [0, 2, 1], "last": [2, 3, 1]}
    kept, scores = store.predictions(record.trial.id), record.scores["test"]
    theirs = roc_auc_score(kept["labels"][:, 2], kept["logits"][:, 2])
    assert scores["auroc_mean:last"] == pytest.approx(theirs)
    assert reason(record, store) == "" and len([name for name in scores if ":" in name]) >= 6
    (same,) = checked([record], store, Memo(None))
    assert INVALID not in same.flags
    for name, value in (("auroc_mean:last", 0.99), ("auroc_mean:groups", 0.99),
                        ("auprc_mean:first", 0.99), ("auroc_mean:other", 0.5)):  # fmt: skip
        before = scores.get(name)
        changed = edit(store, lambda found, n=name, v=value: found["scores"]["test"].update({n: v}))
        said = reason(changed, store)
        assert f"its record says {name} {value:.6f}, " in said and "one was changed" in said
        (marked,) = checked([changed], store, Memo(None))
        assert marked.flags[INVALID] == said

        def restore(found, name=name, before=before):
            found["scores"]["test"][name] = before
            if before is None:
                del found["scores"]["test"][name]

        edit(store, restore)
