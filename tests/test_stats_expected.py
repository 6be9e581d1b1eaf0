"""reports/stats against reference/stats_expected.csv: every row that is in scope, within tolerance.

tests/reference holds gzipped copies of shared/reference: numbers of arXiv:2502.18538 in per cent,
and what other programs (scipy, statsmodels, scikit-posthocs, baycomp, rliable, autorank) made of
them. Each test is computed once, then its rows are looked up.
"""

import csv
import functools
import gzip
import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dnabench.reports import stats

HERE = Path(__file__).parent / "reference"
SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "reference"
BASELINES = ("ntv2", "hyenadna", "dnabert2", "caduceus_ph")
DILATION_1 = ("nt/h3k4me2", "nt/h3k4me3", "nt/h3k14ac", "nt/h4ac")  # what the paper chose per task
DEMSAR = [3.143, 2.000, 2.893, 1.964]  # average ranks of Demsar 2006, Table 6: 4 models, 14 tasks

NOT_SHIPPED = {  # (test, statistic) -> why no function of ours makes it
    ("Mann-Whitney", "mwu_p"): "scipy's asymptotic or exact; `permutation` is the robust twin, and "
    "unlike mannwhitneyu(method='exact') exact with ties. U itself is in scope: a12 x n x n",
    ("paired t", "paired_t"): "a seed number does not pair two models",
    ("paired t", "paired_p"): "as paired_t",
    ("paired permutation", "signflip_p"): "as paired_t",
    (
        "almost stochastic order",
        "eps_min",
    ): "optional, stochastic, minutes for 72 pairs",
    (
        "corrected resampled t (Nadeau-Bengio 2003) - illustrative, splits are fixed here",
        "t",
    ): "for resampled splits; ours are fixed (it would inflate the variance)",
    ("idem", "p"): "p of the corrected resampled t",
    ("two independent proportions from 99% CI half-widths", "z"): "a thesis' two intervals; a "
    "one-off of the paper notes, no part of the protocol",
    ("aggregate", "median of task means"): "numpy's median; not in the protocol",
}
MINP_20 = "minp_mwu_20"  # 1.4e11 splits: `permutation` gives NaN, see test_a_permutation_too_large
EXPECTED_SCOPE = (1836, 378)  # rows checked, rows of the tables above


def rows_of(name):
    with gzip.open(HERE / f"{name}.csv.gz", "rt", newline="") as file:
        return list(csv.DictReader(file))


EXPECTED = rows_of("stats_expected")


def in_scope(row):
    return (row["test"], row["statistic"]) not in NOT_SHIPPED and row["id"] != MINP_20


@functools.cache
def seeds():
    """(task, model or convnova's dilation) -> ten scores; and the tasks, in the order of rows."""
    scores = {}
    for r in rows_of("published_seeds"):
        model = r["model"] if r["variant"] == "default" else r["variant"].replace("dilation=", "d")
        scores.setdefault((r["task"], model), []).append(float(r["value"]))
    tasks = list(dict.fromkeys(r["task"] for r in EXPECTED if "|" in r["id"]))
    return scores, tasks


def runs(task, model, policy="d4"):
    chosen = "d1" if policy == "published" and task in DILATION_1 else "d4"
    return seeds()[0][task, chosen if model == "convnova" else model]


@functools.cache
def suite(policy):
    """Models and scores (tasks, models) of a set of tasks and models."""
    _, tasks = seeds()
    if policy in ("nt18_k5_d4", "nt18_k5_published"):
        models, kind = [*BASELINES, "convnova"], policy.removeprefix("nt18_k5_")
        return models, np.array([[np.mean(runs(t, m, kind)) for m in models] for t in tasks])
    table = {"nt18_k5_printed_table1": "1", "nt18_k8_d4": "13", "gb8_k4": "2", "gb8_k6": "14"}[
        policy
    ]
    printed = {}
    for r in rows_of("published_means"):
        if (r["source"], r["table"]) == ("arxiv:2502.18538", table):
            scratch = r["regime"] == "scratch" and r["model"] == "convnova"
            model = "convnova_scratch" if scratch else r["model"]
            printed[r["task"], model] = float(r["mean"])
    models = list(
        dict.fromkeys(r["model_a"] for r in EXPECTED if r["id"].startswith(f"avgrank_{policy}_"))
    )
    if policy == "nt18_k8_d4":  # the models with seeds by their seeds
        printed |= {(t, m): np.mean(runs(t, m)) for t in tasks for m in (*BASELINES, "convnova")}
    else:
        tasks = list(dict.fromkeys(t for t, _ in printed))
    return models, np.array([[printed[t, m] for m in models] for t in tasks])


@functools.cache
def by_model(policy="d4"):
    models, (_, tasks) = [*BASELINES, "convnova"], seeds()
    return models, [[runs(t, m, policy) for t in tasks] for m in models]


@functools.cache
def pairs_on_tasks():
    _, tasks = seeds()
    comparisons = {
        f"{t}|convnova|{m}|d4": (runs(t, "convnova"), runs(t, m)) for m in BASELINES for t in tasks
    }
    tests = {name: stats.welch(*comparison) for name, comparison in comparisons.items()}
    p = [t.p for t in tests.values()]
    adjusted = dict(zip(tests, zip(stats.holm(p), stats.bh(p), strict=True), strict=True))
    out = {}
    for name, (a, b) in comparisons.items():
        w, paired = tests[name], stats.wilcoxon(a, b)
        values = {
            "diff": w.difference, "welch_t": w.t, "welch_df": w.df, "welch_p": w.p,
            "ci_lo": w.low, "ci_hi": w.high, "welch_p_holm72": adjusted[name][0],
            "welch_p_bh72": adjusted[name][1], "perm_p": stats.permutation(a, b),
            "cohen_d": stats.d_cohen(a, b), "hedges_g": stats.hedges_g(a, b),
            "a12": stats.a12(a, b), "cliffs_delta": stats.delta(a, b),
            "mwu_U": stats.a12(a, b) * len(a) * len(b),
            "wilcoxon_W": paired.w, "wilcoxon_p": paired.p,  # the function, on any paired numbers
        }  # fmt: skip
        out.update({(name, statistic): value for statistic, value in values.items()})
    return out


@functools.cache
def best_on_tasks():
    out, (_, tasks) = {}, seeds()
    for policy in ("d4", "published"):
        models, scores = by_model(policy)
        p = [
            stats.best_p([s[t] for s in scores], models.index("convnova"))
            for t in range(len(tasks))
        ]
        named = zip(tasks, stats.holm(p), strict=True)
        out.update({(f"iut_{policy}_{t}", "p_holm"): value for t, value in named})
    return out


@functools.cache
def over_tasks(policy):
    models, scores = suite(policy)
    (n, k), test, out = scores.shape, stats.friedman(scores), {}
    for model, rank in zip(models, stats.average_ranks(scores), strict=True):
        out[f"avgrank_{policy}_{model}", "avg_rank"] = rank
    omnibus = {
        "chi2": test.chi2, "p": test.p, "iman_davenport_F": test.f, "iman_davenport_p": test.p_f,
        "kendall_W": test.kendall_w, "nemenyi_q05": stats.nemenyi_q(k),
        "nemenyi_CD05": stats.critical_difference(k, n),
    }  # fmt: skip
    out.update({(f"friedman_{policy}_{s}", s): value for s, value in omnibus.items()})
    pairs, nemenyi = list(itertools.combinations(range(k), 2)), stats.nemenyi(scores)
    tests = [stats.wilcoxon(scores[:, i], scores[:, j]) for i, j in pairs]
    holm = stats.holm([t.p for t in tests])
    for (i, j), test, p in zip(pairs, tests, holm, strict=True):
        values = {
            "W": test.w, "wil_p": test.p, "wil_holm": p, "wins_a": test.wins, "sign_p": test.p_sign,
            "nemenyi_p": nemenyi[i, j],
        }  # fmt: skip
        name = f"pair_{policy}_{models[i]}_{models[j]}"
        out.update({(f"{name}_{s}", s): value for s, value in values.items()})
    return out


@functools.cache
def sizes():
    models, scores = by_model()
    hyena = np.array([np.mean(task) for task in scores[models.index("hyenadna")]])
    left = [[(np.array(s) - h) / (100 - h) for s, h in zip(m, hyena, strict=True)] for m in scores]
    out = {}
    for name, scaled in (("minmax", stats.min_max(scores)), ("errred", left)):
        for model, size in zip(models, stats.iqm(scaled), strict=True):
            out[f"iqm_{name}_{model}", "IQM"] = size.value
            out[f"iqm_{name}_{model}_lo", "IQM 95% CI low"] = size.low
            out[f"iqm_{name}_{model}_hi", "IQM 95% CI high"] = size.high
    for model, size, mine in zip(models, stats.iqm(scores, replicates=2), scores, strict=True):
        out[f"agg_iqm_{model}", "IQM"] = size.value
        out[f"agg_mean_{model}", "mean"] = stats.summary([x for task in mine for x in task]).mean
    for model in BASELINES:
        size = stats.probability_of_improvement(scores[-1], scores[models.index(model)])
        out[f"poi_{model}", "mean over tasks of A12"] = size.value
        out[f"poi_{model}_lo", "95% CI low"] = size.low
        out[f"poi_{model}_hi", "95% CI high"] = size.high
    return out


@functools.cache
def posteriors():
    models, scores = suite("nt18_k5_d4")
    out = {}
    for model, (rope, said) in itertools.product(BASELINES, ((0.0, "0"), (1.0, "1.0"))):
        p = stats.posterior(scores[:, -1], scores[:, models.index(model)], rope)
        for statistic, value in zip(
            ("p_right", "p_rope", "p_left"), p, strict=True
        ):  # left: x better
            out[f"bsr_{model}_rope{said}_{statistic}", statistic] = value
    return out


@functools.cache
def fixtures():
    models, scores = suite("nt18_k5_d4")
    out = {(f"nemenyi_q05_k{k}", "q_0.05"): stats.nemenyi_q(k) for k in range(2, 11)}
    chi2 = stats.friedman_of_ranks(DEMSAR, 14)
    out["demsar2006_chi2", "chi2_F"] = chi2
    out["demsar2006_FF", "F_F"] = stats.iman_davenport(chi2, 14, 4)[0]
    out["demsar2006_q05", "q_0.05"] = stats.nemenyi_q(4)
    out["demsar2006_CD", "CD_0.05"] = stats.critical_difference(4, 14)
    out["autorank_pvalue", "p"] = stats.friedman(scores).p
    out["autorank_cd", "cd"] = stats.critical_difference(5, 18)
    for model, rank in zip(models, stats.average_ranks(scores), strict=True):
        out[f"autorank_meanrank_{model}", "meanrank"] = rank
    for n in (3, 5, 10, 20):
        x = np.arange(n) + 1.0
        out[f"minp_wil_{n}", "wilcoxon"] = stats.wilcoxon(x, -x).p
        if n < 20:
            out[f"minp_mwu_{n}", "mwu"] = stats.permutation(list(x + n), list(x))
    return out


def computed(row):
    name = row["id"]
    if "|" in name:
        return pairs_on_tasks()
    if name.startswith("iut_"):
        return best_on_tasks()
    if name.startswith(("avgrank_", "friedman_", "pair_")):
        return over_tasks(row["policy"])
    if name.startswith(("iqm_", "agg_", "poi_")):
        return sizes()
    return posteriors() if name.startswith("bsr_") else fixtures()


@pytest.mark.parametrize(
    "row", [r for r in EXPECTED if in_scope(r)], ids=lambda r: f"{r['id']}:{r['statistic']}"
)
def test_row(row):
    value, want = computed(row)[row["id"], row["statistic"]], float(row["value"])
    tolerance = float(row["tolerance"])
    if tolerance < 1e-3:  # nothing is drawn: tiny p are held to more than their tolerance
        tolerance = 1e-12
    assert math.isclose(value, want, rel_tol=1e-6, abs_tol=tolerance), (value, want)


def test_every_row_is_checked_or_has_a_reason():
    keys = Counter((r["id"], r["statistic"]) for r in EXPECTED)
    assert len(EXPECTED) == len(keys) == 2214
    assert set(NOT_SHIPPED) <= {(r["test"], r["statistic"]) for r in EXPECTED}
    checked = [r for r in EXPECTED if in_scope(r)]
    assert (len(checked), len(EXPECTED) - len(checked)) == EXPECTED_SCOPE


def test_a_permutation_too_large_is_not_guessed():
    assert math.isnan(stats.permutation(list(range(20)), list(range(20, 40))))


def test_the_copies_are_those_of_the_reference():
    if not SHARED.exists():
        pytest.skip(f"no {SHARED}: the originals are not beside this checkout")
    for path in HERE.glob("*.csv.gz"):
        original = SHARED / path.name.removesuffix(".gz")
        assert gzip.decompress(path.read_bytes()) == original.read_bytes(), path.name


# What the independent analysis says in words of the same numbers


def test_counts_of_section_1():
    tests = pairs_on_tasks()
    names = [key[0] for key in tests if key[1] == "diff"]
    significant = [n for n in names if tests[n, "welch_p_holm72"] < 0.05]
    wins = [n for n in significant if tests[n, "diff"] > 0]
    assert (len(names), len(wins), len(significant) - len(wins)) == (72, 58, 7)
    permuted = stats.holm([tests[n, "perm_p"] for n in names])
    signs = Counter(tests[n, "diff"] > 0 for n, p in zip(names, permuted, strict=True) if p < 0.05)
    assert (signs[True], signs[False]) == (59, 7)
    best = [p for (name, _), p in best_on_tasks().items() if name.startswith("iut_d4_")]
    assert sum(p < 0.05 for p in best) == 11


def test_task_intervals_of_section_2():
    models, scores = by_model()
    want = [(0.515, 0.879), (0.80, 1.0), (0.74, 1.0), (0.80, 0.95)]  # in the order of BASELINES
    for model, ends in zip(BASELINES, want, strict=True):
        size = stats.probability_of_improvement(scores[-1], scores[models.index(model)])
        assert (size.low_tasks, size.high_tasks) == pytest.approx(ends, abs=0.012)
