"""The sentences at the top of the HTML report: who leads, what is missing, what disagrees."""

from dataclasses import replace

from test_html import TASKS, analyzed, grid

from dnabench.reports.evidence import Interval
from dnabench.reports.text.summary import summary, summary_sentences


def test_summary_names_the_winner_and_the_missing_intervals():
    (evidence,) = analyzed(grid())
    ((suite, said), (general, more)) = summary(evidence)
    assert (suite, general) == ("s", "")
    assert said[0].startswith("deep is better than net by 0.09")
    assert said[0].endswith(
        " over 6 tasks (6 seeds, Holm over 6 pairs of models); over tasks like these no interval "
        "holds 0 either."
    )
    assert said[1:3] == [
        "deep is better than every other model on 6 of 6 tasks.",
        "On single tasks (Holm over 36 tests): 18 wins, 0 losses, 0 undecided; mean rank 1.00 of "
        "4.",
    ]
    assert more == [
        "The intervals and p-values cover variation between seeds only, not the sampling of the "
        "test examples (the predictions were not read); the test examples alone give a standard "
        "error of up to 0.040 (s/h3)."
    ]


def test_summary_without_a_winner():
    (evidence,) = analyzed(grid({"net": 0.71, "wide": 0.705, "kmer": 0.706}))
    text = " ".join(summary_sentences(evidence))
    assert "No model is shown to beat the k-mer baseline on 6 of 6 tasks." in text
    assert text.startswith("No model is clearly the best over 6 tasks (6 seeds, Holm over 3 pairs")


def test_summary_has_no_general_part_when_nothing_is_missing():
    (evidence,) = analyzed(grid({"net": 0.6, "deep": 0.7}))
    sure = Interval(-0.1, -0.2, -0.05)
    comparisons = tuple(replace(d, nested=sure, why_not="") for d in evidence.comparisons)
    said = summary(replace(evidence, comparisons=comparisons))
    assert [suite for suite, _ in said] == ["s"]
    assert said[0][1][1] == "deep is better than every other model on 6 of 6 tasks."


def test_a_tie_of_ranks_is_no_lead():
    records = grid({"b": 0.6}, TASKS) + grid({"a": 0.62}, {"histone": TASKS["histone"]})
    records += grid({"a": 0.58}, {"promoter": TASKS["promoter"], "splice": TASKS["splice"]})
    (evidence,) = analyzed(records)
    text = " ".join(summary_sentences(evidence))
    assert text.startswith("No model is clearly the best over 6 tasks (6 seeds): b leads a (0.0")
    mixed = [r for r in records if r.trial.task != "s/x"]
    for r in mixed:
        if r.task["family"] == "promoter":
            x = r.scores["test"]["mcc"]
            vars(r).update(scores={"test": {"r2": x}}, task=r.task | {"metric": "r2"})
    mixed = [r for r in mixed if r.trial.task != "s/h10"]
    text = " ".join(summary_sentences(analyzed(mixed)[0]))
    assert "no mean difference: b and a share the best mean rank (1.50 of 2)." in text


def test_few_seeds_claim_nothing():
    (evidence,) = analyzed(grid(seeds=3))
    said = summary_sentences(evidence)
    assert said[0].startswith(
        "Nothing is claimed over 6 tasks, since a model has 3 seeds and a claim needs 5: deep "
    )
    (evidence,) = analyzed(grid(families={"": ("s/x",)}, seeds=3))
    assert summary_sentences(evidence)[0].startswith(
        "Nothing is claimed: every comparison has fewer than 5 seeds of a model"
    )
    assert not any("better than every other" in text for text in said)


def test_failed_runs_and_missing_cells_are_in_the_summary():
    records = grid()[:-6]  # deep lacks s/x
    records[0] = replace(records[0], scores={}, error="Traceback\nboom")
    (evidence,) = analyzed(records)
    assert summary_sentences(evidence)[-1] == (
        "Runs: 1 failed (excluded) and 1 of 24 cells not run."
    )


def test_families_that_disagree_are_named():
    # ahead on four histone tasks, behind by more on the two other families
    tasks = {**TASKS, "histone": (*TASKS["histone"], "s/h2")}
    records = grid({"b": 0.6}, tasks) + grid({"a": 0.62}, {"histone": tasks["histone"]})
    records += grid({"a": 0.585}, {"promoter": tasks["promoter"], "splice": tasks["splice"]})
    (evidence,) = analyzed(records)
    (pair,) = evidence.suites[0].pairs
    assert pair.lead.value * pair.lead_of_families.value < 0
    assert any(
        "changes sign when every family of tasks counts alike" in x
        for x in summary_sentences(evidence)
    )
