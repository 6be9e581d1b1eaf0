"""Every number of a record that predictions, curve or network give is compared with them."""

import json
from dataclasses import replace

import pytest
from conftest import dnabench
from kept_cases import job_of, kept, put, task_of_kind
from sklearn.metrics import roc_auc_score

from dnabench import MODELS
from dnabench.reports.cells import INVALID
from dnabench.reports.memo import Memo
from dnabench.reports.soundness import chosen_epoch, unsound
from dnabench.reports.validity import checked, reason
from dnabench.results.merging import faults
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
    arrays, scores = store.predictions(record.trial.id), record.scores["test"]
    theirs = roc_auc_score(arrays["labels"][:, 2], arrays["logits"][:, 2])
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


@pytest.mark.parametrize(
    "protocol", ["honest/1", "last-epoch/1", "test-selected/1", "dnabert2-gue/1"]
)
def test_epoch_validation_and_size_follow_from_curve_and_network(protocol, put, tmp_path):
    job = job_of(MODELS["cnn"], put(task_of_kind("binary")), epochs=4)
    job = job._replace(trial=replace(job.trial, protocol=protocol))
    _, record, _ = kept(job, tmp_path, load=False)
    store = Store(tmp_path)
    assert chosen_epoch(record) == record.best_epoch and unsound(record, store) == ""
    changed = edit(store, lambda found: found.update(best_epoch=record.best_epoch % 4 + 1))
    said = unsound(changed, store)
    assert said.startswith(f"its record says best_epoch {record.best_epoch % 4 + 1}, its curve ")
    edit(store, lambda found: found.update(best_epoch=record.best_epoch, n_params=7))
    done = dnabench("store", "check", "--out", tmp_path)
    assert done.returncode == 1
    says = f"its record says n_params 7, its kept network {record.n_params}: one was changed"
    assert says in done.stdout
    edit(store, lambda found: found.update(n_params=record.n_params))
    if "val" in record.scores:
        changed = edit(store, lambda found: found["scores"]["val"].update(mcc=0.99))
        assert unsound(changed, store).startswith("its record says val mcc 0.990000, its curve ")


def test_a_trial_of_tuning_is_checked_by_its_curve(put, tmp_path):
    job = job_of(MODELS["cnn"], put(task_of_kind("binary")), epochs=2)
    store = stored(job._replace(trial=replace(job.trial, scored="val")), tmp_path)
    assert not [fault.why for fault in faults(store, unsound=lambda one: unsound(one, store))]
    edit(store, lambda found: found["scores"]["val"].update(mcc=0.99))
    (fault,) = faults(store, unsound=lambda one: unsound(one, store))
    assert "its record says val mcc 0.990000" in fault.why
