"""The declared suites against what their authors and others published, and against real files.

Published numbers stand here as their source prints them; the modules have them in another form.
"""

import csv
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from dnabench import TASKS
from dnabench.metrics import METRICS
from dnabench.tasks import nt
from dnabench.tasks._declare import ORIGINS, SOURCES
from dnabench.tasks.io.verifying import counts_in_words, differences

SHARED = Path(__file__).parent.parent.parent / "shared"
SUITES = {"nt": 18, "nt_revised": 18, "gue": 28, "genomic_benchmarks": 9, "nt_reduced": 3}
MINE = [name for name in TASKS if name.partition("/")[0] in SUITES]

# the data card of nucleotide_transformer_downstream_tasks_revised: train, test, labels, bp
REVISED = """
promoter_all 30,000 1,584 2 300
promoter_tata 5,062 212 2 300
promoter_no_tata 30,000 1,372 2 300
enhancers 30,000 3,000 2 400
enhancers_types 30,000 3,000 3 400
splice_sites_all 30,000 3,000 3 600
splice_sites_acceptor 30,000 3,000 2 600
splice_sites_donor 30,000 3,000 2 600
H2AFZ 30,000 3,000 2 1,000
H3K27ac 30,000 1,616 2 1,000
H3K27me3 30,000 3,000 2 1,000
H3K36me3 30,000 3,000 2 1,000
H3K4me1 30,000 3,000 2 1,000
H3K4me2 30,000 2,138 2 1,000
H3K4me3 30,000 776 2 1,000
H3K9ac 23,274 1,004 2 1,000
H3K9me3 27,438 850 2 1,000
H4K20me1 30,000 2,270 2 1,000
"""

# configs/dataset/gue.yaml of a Caduceus fork (e396251), comments: name, bp, labels, all sequences
GUE = """
emp_H3 500 2 14965
emp_H3K14ac 500 2 33048
emp_H3K36me3 500 2 34880
emp_H3K4me1 500 2 31677
emp_H3K4me2 500 2 30683
emp_H3K4me3 500 2 36799
emp_H3K79me3 500 2 28837
emp_H3K9ac 500 2 27782
emp_H4 500 2 14601
emp_H4ac 500 2 34095
human_tf_0 101 2 34378
human_tf_1 101 2 32672
human_tf_2 101 2 21000
human_tf_3 101 2 29294
human_tf_4 101 2 21000
mouse_0 101 2 8098
mouse_1 101 2 67442
mouse_2 101 2 3276
mouse_3 101 2 2382
mouse_4 101 2 18830
prom_300_all 300 2 59196
prom_300_notata 300 2 53066
prom_300_tata 300 2 6130
prom_core_all 70 2 59196
prom_core_notata 70 2 53066
prom_core_tata 70 2 6130
splice_reconstructed 400 3 45620
virus_covid 999 9 91669
"""

# HyenaDNA configs/dataset/genomic_benchmark.yaml, "num_seqs": train + test; the ninth from the
# authors' notebook
GENOMIC_BENCHMARKS = {
    "dummy_mouse_enhancers_ensembl": 1210,
    "demo_coding_vs_intergenomic_seqs": 100_000,
    "demo_human_or_worm": 100_000,
    "human_enhancers_cohn": 27791,
    "human_enhancers_ensembl": 154842,
    "human_ensembl_regulatory": 289061,
    "human_nontata_promoters": 36131,
    "human_ocr_ensembl": 174756,
    "drosophila_enhancers_stark": 6914,
}

# spellings of HyenaDNA and ConvNova, of the hub's folders, and of GUE's folders and copies
OTHER_NAMES = {
    "nt/enhancer": "nt/enhancers",
    "nt/enhancer_types": "nt/enhancers_types",
    "nt/promoter_non_tata": "nt/promoter_no_tata",
    "nt/splice_sites_acceptor": "nt/splice_sites_acceptors",
    "nt/splice_sites_donor": "nt/splice_sites_donors",
    "nt/H3K4me3": "nt/h3k4me3",
    "nt_revised/splice_sites_donor": "nt_revised/splice_sites_donors",
    "nt_revised/H2AFZ": "nt_revised/h2afz",
    "gue/emp_H3": "gue/emp_h3",
    "gue/human_tf_4": "gue/tf_4",
    "gue/reconstructed": "gue/splice_reconstructed",
    "gue/covid": "gue/virus_covid",
    "nt_reduced/H3K14ac": "nt_reduced/h3k14ac",
}


def of_suite(suite):
    return {name.partition("/")[2]: TASKS[name] for name in MINE if TASKS[name].suite == suite}


def total(name):
    return sum(TASKS[name].official.values())


def rows(text):
    return [(name, *(int(n.replace(",", "")) for n in numbers)) for name, *numbers in
            map(str.split, text.strip().splitlines())]  # fmt: skip


def shared(relative):
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


@pytest.mark.parametrize(("suite", "n"), SUITES.items())
def test_each_suite_has_its_number_of_tasks(suite, n):
    assert suite not in TASKS.broken and len(of_suite(suite)) == n


@pytest.mark.parametrize("name", MINE)
def test_declarations_are_consistent(name):
    task = TASKS[name]
    dev = {"dev"} if task.suite == "gue" else set()
    assert set(task.official) == {"train", "test"} | dev and min(task.official.values()) > 0
    assert task.kind == ("binary" if task.n_outputs == 2 else "multiclass")
    assert len(set(task.classes)) == task.n_outputs and all(task.classes)
    assert task.kind in METRICS[task.metric].kinds and task.metric in (
        "mcc",
        "f1_macro",
        "accuracy",
    )
    assert 70 <= task.length <= 5000 and task.source and task.license and task.family
    assert re.fullmatch(r"[a-z0-9_]+/[a-z0-9_]+", name)


def test_names_and_aliases_are_unique_and_lead_to_the_task():
    seen = list(TASKS)
    for name in MINE:
        for alias in TASKS[name].aliases:
            assert TASKS[alias] is TASKS[name] and alias.partition("/")[0] == TASKS[name].suite
            seen.append(alias)
    assert len(seen) == len(set(seen))
    assert {alias: TASKS[alias].name for alias in OTHER_NAMES} == OTHER_NAMES


def test_nt_has_as_many_sequences_as_the_hub_says():
    assert round(sum(total(f"nt/{t}") for t in of_suite("nt")) / 1000) == 511  # "511k" rows


def test_nt_promoters_add_up():
    """promoter_all is the union of the other two, by either source."""
    whole = TASKS["nt/promoter_all"].official
    for source in (nt.CARD, nt.OTHER):
        parts = [SOURCES[f"nt/promoter_{name}"][source] for name in ("no_tata", "tata")]
        assert all(whole[split] == sum(p[split] for p in parts) for split in whole)


def test_nt_h4_has_all_sequences_of_emp():
    assert total("nt/h4") == 14_601


@pytest.mark.parametrize(
    ("counts", "source"),
    [({"train": 13_140, "test": 1_461}, nt.CARD), ({"train": 13_140, "test": 1_460}, nt.OTHER)],
)
def test_verify_says_which_source_counts_follow(counts, source):
    task = TASKS["nt/h4"]
    assert differences(task, counts, {}) == []
    other = nt.OTHER if source == nt.CARD else nt.CARD
    n = "13,140/1,460" if other == nt.OTHER else "13,140/1,461"
    assert counts_in_words(task, counts) == f"counts of {source}; {other}: {n}"


def test_verify_names_both_sources_where_neither_is_followed():
    task, counts = TASKS["nt/h4"], {"train": 13_140, "test": 1_459}
    assert differences(task, counts, {}) == ["test has 1,459 examples, 1,461 were published"]
    assert counts_in_words(task, counts) == (
        f"sources disagree; {nt.CARD}: 13,140/1,461; {nt.OTHER}: 13,140/1,460"
    )
    assert counts_in_words(TASKS["nt/h3"], counts) == ""


def test_nt_test_counts_are_those_of_the_convnova_study():
    with shared("reference/test_sampling_noise.csv").open() as f:
        published = {row["task"]: int(row["n_test"]) for row in csv.DictReader(f)}
    ours = {f"nt/{t}": task.official["test"] for t, task in of_suite("nt").items()}
    other = {task: of[nt.OTHER]["test"] for task, of in SOURCES.items() if nt.OTHER in of}
    assert ours | other == published and len(other) == 3


def test_nt_metrics_are_those_of_the_convnova_study():
    with shared("reference/published_means.csv").open() as f:
        published = {
            row["task"]: row["metric"] for row in csv.DictReader(f) if row["suite"] == "nt"
        }
    ours = {f"nt/{t}": task.metric for t, task in of_suite("nt").items()}
    assert {t: m.removesuffix("_macro") for t, m in ours.items()} == published


def test_genomic_benchmarks_tasks_are_those_of_the_convnova_study_and_one_more():
    with shared("reference/published_means.csv").open() as f:
        named = {row["task"] for row in csv.DictReader(f) if row["suite"] == "genomic_benchmarks"}
    ours = {f"genomic_benchmarks/{t}" for t in of_suite("genomic_benchmarks")}
    assert ours - named == {"genomic_benchmarks/drosophila_enhancers_stark"} and named < ours


@pytest.mark.parametrize("row", rows(REVISED), ids=lambda row: row[0])
def test_nt_revised_is_as_its_data_card(row):
    name, train, test, labels, length = row
    task = TASKS[f"nt_revised/{name}"]
    assert task.official == {"train": train, "test": test}
    assert (task.n_outputs, task.length) == (labels, length)


def test_the_data_card_lists_every_task_of_nt_revised():
    assert {TASKS[f"nt_revised/{name}"].name for name, *_ in rows(REVISED)} == {
        task.name for task in of_suite("nt_revised").values()
    }


@pytest.mark.parametrize("row", rows(GUE), ids=lambda row: row[0])
def test_gue_is_as_counted_in_the_files(row):
    name, length, labels, n = row
    task = TASKS[f"gue/{name}"]
    assert (task.length, task.n_outputs, total(task.name)) == (length, labels, n)
    assert abs(task.official["dev"] - task.official["test"]) <= 2 < task.official["test"]


def test_genomic_benchmarks_have_as_many_sequences_as_published():
    ours = {t: total(task.name) for t, task in of_suite("genomic_benchmarks").items()}
    assert ours == GENOMIC_BENCHMARKS
    promoters = TASKS["genomic_benchmarks/human_nontata_promoters"].official
    assert promoters == {"train": 27097, "test": 9034}  # README of genomic-benchmarks 1.0.0


def test_classes_of_genomic_benchmarks_are_in_the_order_of_sorted_folders():
    for task in of_suite("genomic_benchmarks").values():
        assert list(task.classes) == sorted(task.classes) and not set(task.classes) & set(
            "0123456789"
        )


def test_yeast_marks_are_one_family_in_three_suites_because_they_are_the_same_loci():
    family = {n for n in MINE if TASKS[n].family == "yeast histone marks"}
    marks = {n.removeprefix("gue/emp_") for n in family if n.startswith("gue/")}
    assert len(marks) == 10 and {f"nt/{m}" for m in marks} < family
    assert len(family) == 10 + 10 + 3
    assert all(total(f"gue/emp_{m}") == total(f"nt/{m}") for m in marks)  # split otherwise


def test_gue_and_nt_share_their_promoters():
    for gue, ours in (("all", "all"), ("notata", "no_tata"), ("tata", "tata")):
        for length in ("core", "300"):
            assert total(f"gue/prom_{length}_{gue}") == total(f"nt/promoter_{ours}")
            assert TASKS[f"gue/prom_{length}_{gue}"].family == TASKS[f"nt/promoter_{ours}"].family


def test_a_family_is_of_one_species_and_one_question():
    families = defaultdict(set)
    for name in MINE:
        families[TASKS[name].family].add(name)
    assert all("mouse" in n for n in families["mouse TF binding"] | families["mouse enhancers"])
    assert families["human TF binding"] == {f"gue/tf_{i}" for i in range(5)}
    assert len(families["human histone marks"]) == 10 and len(families) == 13


@pytest.mark.parametrize("name", MINE)
def test_every_origin_is_pinned_or_says_what_to_do(name):
    origin, task = ORIGINS[name], TASKS[name]
    assert origin.repo or origin.urls or origin.by_hand
    if origin.repo:
        assert re.fullmatch(r"[0-9a-f]{40}", origin.revision)
        assert set(origin.files) == set(task.official)
        for split, (path,) in origin.files.items():
            assert path.rpartition("/")[2].startswith(split) and not path.startswith("/")
    assert all(re.fullmatch(r"https://zenodo\.org/records/\d+/files/\S+", u) for u in origin.urls)
    assert all(re.fullmatch(r"[0-9a-f]{64}", h) for h in origin.sha256.values())


def test_no_two_tasks_come_from_the_same_file():
    places = [
        (origin.repo, path)
        for origin in (ORIGINS[name] for name in MINE)
        for path in (*sum(origin.files.values(), ()), *origin.urls)
    ]
    assert len(places) == len(set(places)) == 2 * 36 + 3 * 28 + 9


def read(path):
    if path.suffix == ".fna":
        records = [r.splitlines() for r in path.read_text().split(">")[1:]]
        return [(body, head.rpartition("|")[2]) for head, body in records]
    with path.open() as f:
        return [(row.get("sequence") or row["seq"], row["label"]) for row in csv.DictReader(f)]


@pytest.mark.parametrize(
    ("name", "split", "file"),
    [
        *((f"gue/{task}", split, f"gue/{folder}/{split}.csv")
          for task, folder in (("prom_core_tata", "prom/prom_core_tata"), ("mouse_0", "mouse/0"),
                               ("prom_300_tata", "prom/prom_300_tata"), ("mouse_2", "mouse/2"),
                               ("tf_0", "tf/0"))
          for split in ("train", "dev", "test")),
        ("nt/h3", "test", "nt/H3/test.fna"),
        ("genomic_benchmarks/human_nontata_promoters", "test",
         "genomic_benchmarks/human_nontata_promoters/test.csv"),
        *((f"nt_reduced/{mark}", split, f"nt_histone_reduced/{mark}/{file}.csv")
          for mark in ("H3", "H3K4me3", "H3K14ac")
          for split, file in (("train", "train_reduced"), ("test", "test"))),
    ],
)  # fmt: skip
def test_real_files_are_as_declared(name, split, file):
    found, task = read(shared(f"data/{file}")), TASKS[name]
    assert len(found) == task.official[split]
    assert max(len(seq) for seq, _ in found) == task.length
    assert {label for _, label in found} == {str(i) for i in range(task.n_outputs)}


def test_absent_data_are_declared_by_their_published_counts_and_explained(tmp_path):
    code = (
        "import json\nfrom dnabench import TASKS\ntask = TASKS['nt/splice_sites_donor']\n"
        "try: task.load('train')\nexcept FileNotFoundError as e: why = str(e)\n"
        "print(json.dumps([task.name, task.data, task.counts, task.length, why]))"
    )
    env = {"DNABENCH_CACHE": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    name, data, counts, length, why = json.loads(done.stdout)
    assert (name, data, length) == ("nt/splice_sites_donors", "", 600)
    assert counts == {"train": 19775, "test": 2198}
    assert f"dnabench data fetch {name}" in why and "dnabench data import" in why


def test_declaring_these_suites_needs_neither_torch_nor_pandas_nor_the_network():
    modules = ", ".join(f"dnabench.tasks.{suite}" for suite in SUITES)
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "pandas", "pyarrow", "h5py", "huggingface_hub", "urllib.request"}
    assert not heavy & set(done.stdout.split())
