"""Protocols: how validation is made, which checkpoint is scored, when test may be read.

A trial's number means nothing without this name, so every table prints it.
"""

from fnmatch import fnmatchcase

from dnabench.metrics import METRICS, metrics_for
from dnabench.registry import explain_miss
from dnabench.types import Protocol, Task

FOLDS = 10
NESTED = 1000  # first seed of trials of tuning under folds
VALIDATION = {  # Protocol.validation in words
    "dev-or-tenth": "dev split, else 10 % of train",
    "dev-or-none": "dev split, if any",
    "dev": "dev split, which must be there",
    "random-tenth": "10 % of train, always",
    "fold": f"fold k of {FOLDS} of train at seed k, always",
}
_ALL = [
    Protocol(
        name="honest/1",
        validation="dev-or-tenth",
        checkpoint="best-val",
        why="for results you publish: the epoch is chosen on validation, test is scored once",
    ),
    Protocol(
        name="honest/2",
        validation="dev-or-tenth",
        checkpoint="best-val",
        together=True,
        why="as honest/1, for your own data: a validation cut off train keeps related sequences "
        "on one side",
    ),
    Protocol(
        name="last-epoch/1",
        validation="dev-or-tenth",
        checkpoint="last",
        why="no checkpoint is chosen: the last epoch is scored, once, on test",
    ),
    Protocol(
        name="test-selected/1",
        validation="dev-or-none",
        checkpoint="best-test",
        watermark=(
            "TEST-SELECTED: the epoch was chosen on the test split, so these numbers are too high. "
            "For comparison with tables made the same way only."
        ),
        why="as HyenaDNA and ConvNova were run; only for comparison with their tables",
    ),
    Protocol(
        name="last-epoch/2",
        validation="dev-or-tenth",
        checkpoint="last",
        together=True,
        why="as last-epoch/1, for your own data: a validation cut off train keeps related "
        "sequences on one side",
    ),
    # kuleshov-group/caduceus, src/dataloaders/genomics.py: datasets' train_test_split(0.1, seed)
    # for NT, torch's random_split for Genomic Benchmarks, neither stratified; seeds 1-10 and 1-5.
    Protocol(
        name="caduceus-cv/1",
        validation="random-tenth",
        checkpoint="best-val",
        why=(
            "as Caduceus was run: seed k holds out a random tenth of train (not stratified, copies "
            "not kept together, for NT the very rows of train_val_split_seed=k; a dev split is not "
            "read), and its best epoch is scored once on test; Caduceus used seeds 1-10 on NT and "
            "1-5 on Genomic Benchmarks, for the cut only; here they set weights and order too"
        ),
        metrics={
            "nt*/promoter_*": "f1_binary",
            "nt*/splice_sites_acceptors": "f1_binary",
            "nt*/splice_sites_donors": "f1_binary",
            "nt*/splice_sites_all": "accuracy",
            "nt*/*": "mcc",
            "genomic_benchmarks/*": "accuracy",
        },
    ),
    # MAGICS-LAB/DNABERT_2, finetune/train.py: load_best_model_at_end with transformers' default
    # metric_for_best_model, the loss; eval_steps and save_steps 200 or 400.
    Protocol(
        name="dnabert2-gue/1",
        validation="dev",
        checkpoint="least-val-loss",
        why=(
            "as DNABERT-2 was run on GUE: the checkpoint with the least loss on the official dev "
            "split is scored once on test; the authors evaluated every 200 or 400 steps with one "
            "seed (42), here it is after every epoch"
        ),
        metrics={"gue/virus_covid": "f1_macro", "gue/*": "mcc"},
    ),
    # Dalla-Torre et al. 2025, doi 10.1038/s41592-024-02523-z, Fig. 2: mean MCC ± 2 s.d., n = 10.
    # Neither their fine-tuning code nor their folds were released.
    Protocol(
        name="nt-cv10/1",
        validation="fold",
        checkpoint="best-val",
        why=(
            "as in the Nucleotide Transformer paper: seed k (0-9) validates on fold k of ten, and "
            "its best epoch is scored once on test; the folds are stratified and the same for all "
            "models; the paper shows mean ± 2 SD of the ten, and its folds were not released"
        ),
        metrics={"*": "mcc"},
    ),
]
PROTOCOLS: dict[str, Protocol] = {p.name: p for p in _ALL}


def protocol_named(name: str) -> Protocol:
    """The protocol of that name; the version may be left out.

    Raises:
        KeyError: no such protocol; the message suggests the nearest.
    """
    full = name if "/" in name else f"{name}/1"
    if full not in PROTOCOLS:
        raise KeyError(explain_miss("protocol", name, list(PROTOCOLS)))
    return PROTOCOLS[full]


def protocol_for(name: str, task: Task) -> Protocol:
    """The protocol of that name for a task.

    Without a version it is /1, or /2 where the task knows which examples are related and a cut can
    keep them together.

    Raises:
        KeyError: as for `protocol_named`.
    """
    newer = PROTOCOLS.get(f"{name}/2")
    return newer if task.clusters and newer is not None else protocol_named(name)


def metric_for(protocol: Protocol, task: Task) -> str:
    """The primary metric of a task under a protocol, which chooses the epoch and heads the table.

    Of the protocol's `metrics` the first that fits the task's name and kind; else the task's own.
    """
    for pattern, metric in protocol.metrics.items():
        if fnmatchcase(task.name, pattern) and task.kind in METRICS[metric].kinds:
            return metric
    return task.metric


def asked_metric(name: str, protocol: Protocol, task: Task) -> str:
    """What a trial notes of a metric that is asked for: "" where it is that of `metric_for`.

    Raises:
        ValueError: none of that name, one for other kinds of task, or a protocol that chooses
            nothing by a metric.
    """
    if name in ("", metric_for(protocol, task)):
        return ""
    if name not in METRICS or task.kind not in METRICS[name].kinds:
        what = f"does not fit {task.name}, a {task.kind} task" if name in METRICS else "is unknown"
        known = ", ".join(metrics_for(task.kind))
        raise ValueError(f"--metric {name} {what}; for {task.name} choose from {known}")
    if protocol.checkpoint in ("last", "least-val-loss"):
        raise ValueError(
            f"--metric {name}: {protocol.name} chooses no epoch by a metric; leave it out here, "
            f"and write `dnabench report --metric {name}` to see it"
        )
    return name


def nested_seeds(fold: int, n: int) -> list[int]:
    """Seeds of n trials that tune for a fold: they never see it, and validate on others."""
    return [NESTED + FOLDS * fold + (fold + i) % FOLDS for i in range(1, n + 1)]


def folds_of(seed: int) -> tuple[int, int]:
    """The fold that is left out altogether, -1 of an ordinary trial, and that which validates."""
    return divmod(seed - NESTED, FOLDS) if seed >= NESTED else (-1, seed)


def check_protocol(protocol: Protocol, task: Task, seed: int, tuning: bool = False) -> None:
    """Raise ValueError for a task without the dev split needed, or a seed that is no fold.

    Trials of tuning under folds have the seeds of `nested_seeds`.
    """
    if protocol.validation == "dev" and "dev" not in task.counts:
        raise ValueError(
            f"{protocol.name} chooses on the official dev split, and {task.name} has none; leave "
            "the task out, or write --protocol honest, which validates on 10 % of train"
        )
    out, held = folds_of(seed)
    if protocol.validation == "fold" and tuning:
        if out not in range(FOLDS) or out == held:
            raise ValueError(
                f"seed {seed}: a trial of tuning under {protocol.name} leaves fold k out and "
                f"validates on another fold j, with seed {NESTED} + {FOLDS} k + j"
            )
    elif protocol.validation == "fold" and seed not in range(FOLDS):
        raise ValueError(
            f"seed {seed}: {protocol.name} has the folds 0..{FOLDS - 1}, and seed k holds out fold "
            f"k; write --seeds {FOLDS} for all folds, or name some: --seeds 0,3"
        )


def check_tuning(protocol: Protocol) -> None:
    """Raise ValueError for a protocol under which settings cannot be chosen on validation alone."""
    if protocol.looks_at_test:
        raise ValueError(
            f"{protocol.name} cannot be tuned: it chooses the epoch on test; write --protocol "
            "honest"
        )
