"""The flags that several commands share, each defined once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from dnabench.cli.errors import split_commas

if TYPE_CHECKING:
    from dnabench.sweep.grid import Request
    from dnabench.types import OwnData


def names_of(*kinds: str) -> Callable[[str], list[str]]:
    """Shell completion with the names that `dnabench list KIND` prints; after commas too."""

    def complete(incomplete: str) -> list[str]:
        from dnabench.cli.listing import LISTINGS

        before, comma, _ = incomplete.rpartition(",")
        return [f"{before}{comma}{row[0]}" for kind in kinds for row in LISTINGS[kind]()[1]]

    return complete


which = partial(typer.Option, rich_help_panel="Models and data")
own = partial(typer.Option, rich_help_panel="Your own data")
training = partial(typer.Option, rich_help_panel="Training")
Out = Annotated[Path, typer.Option("--out", "-o", help="Results folder.")]
Keep = Annotated[
    str,
    typer.Option(help="Trained networks to keep: no, best (of each model and task the seed with "
                 "the best validation score) or all."),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Shown = Annotated[
    str,
    typer.Option("--metric", help="Show this recorded metric instead of each task's own.",
                 autocompletion=names_of("metrics")),
]  # fmt: skip
OneModel = Annotated[str, typer.Argument(help="A model.", autocompletion=names_of("models"))]


class GridOptions(NamedTuple):
    """The flags that say which trials to run."""

    models: Annotated[
        list[str],
        which("--models", "-m", help="Comma-separated: names, net.py:Name, hf:ORG/NAME; or all.",
              autocompletion=names_of("models")),
    ] = ["kmer", "cnn", "convnova-386k"]  # noqa: RUF012  # fmt: skip
    preset: Annotated[str, which(help="smallest: only the smallest model of each family.")] = ""
    tasks: Annotated[
        list[str],
        which("--tasks", "-t", help="Comma-separated tasks.", autocompletion=names_of("tasks")),
    ] = []  # noqa: RUF012
    suite: Annotated[
        list[str],
        which("--suite", "-s", help="All tasks of these suites, or those named by --tasks.",
              autocompletion=names_of("suites")),
    ] = []  # noqa: RUF012  # fmt: skip
    data: Annotated[
        list[str], which(help="Your own file or folder; may be repeated. See docs/own-data.md.")
    ] = []  # noqa: RUF012
    seeds: Annotated[
        str, which(help="How many (10 = seeds 0-9) or which (0,3,7 or 2222,42-50).")
    ] = "5"
    limit: Annotated[
        str, which(help="Only N examples per split (200) or a share (0.1); 0 = all.")
    ] = "0"
    train_share: Annotated[
        list[str],
        training(help="Train on a part of train alone, validation and test whole; several for "
                 "learning curves: 0.01,0.1,1."),
    ] = []  # noqa: RUF012  # fmt: skip
    protocol: Annotated[
        str, which(help="How the checkpoint is chosen.", autocompletion=names_of("protocols"))
    ] = "honest"
    metric: Annotated[
        str,
        which(help="What chooses the epoch; default: the task's own. `list metrics` has all.",
              autocompletion=names_of("metrics")),
    ] = ""  # fmt: skip
    regime: Annotated[
        list[str],
        training(help="Initial weights: scratch (default; pretrained for hf:), pretrained or "
                 "checkpoint:PATH (a file, or a kept network); for single models MODEL=WEIGHTS, "
                 "repeated for a column each."),
    ] = []  # noqa: RUF012  # fmt: skip
    trust_remote_code: Annotated[
        bool,
        which("--trust-remote-code", help="Run the code that an hf: model brings; read it first."),
    ] = False
    recipe: Annotated[str, training(help="Training recipe instead of the suite's.")] = ""
    epochs: Annotated[int, training(help="Number of epochs; 0 = the recipe's.")] = 0
    batch_size: Annotated[int, training(help="Examples per step; 0 = the recipe's.")] = 0
    precision: Annotated[str, training(help="fp32, tf32, bf16, fp16; default: the recipe's.")] = ""
    rc: Annotated[
        str,
        training(help="Reverse complement: none, augment (in training) or conjoin (also averages "
                 "both strands in scoring); default: the recipe's."),
    ] = ""  # fmt: skip
    class_weight: Annotated[
        str,
        training(help="balanced: classes count alike in the loss; or none; default: the recipe's."),
    ] = ""
    set_: Annotated[
        list[str], training("--set", help="Model option or recipe field: dilation=1, cnn.lr=0.01.")
    ] = []  # noqa: RUF012
    sweep: Annotated[
        list[str],
        training(help="Values to run in turn, each a column of the report: dilation=1,4."),
    ] = []  # noqa: RUF012

    def request(self, reading: DataOptions | None = None) -> Request:
        """What is asked for; `reading` says how the user's own files are read."""
        from dnabench.sweep.grid import Request
        from dnabench.sweep.settings import check_once

        reading = reading or DataOptions()
        changes = {
            "epochs": self.epochs, "batch": self.batch_size, "precision": self.precision,
            "rc": self.rc, "class_weight": self.class_weight,
        }  # fmt: skip
        overrides = {key: value for key, value in changes.items() if value}
        check_once([*self.set_, *self.sweep], overrides)
        return Request(
            models=split_commas(self.models), preset=self.preset, tasks=split_commas(self.tasks),
            suite=split_commas(self.suite), data=tuple(reading.paths(self.data)), seeds=self.seeds,
            protocol=self.protocol, own=reading.own(), regime=",".join(self.regime),
            recipe=self.recipe, limit=self.limit, metric=self.metric, settings=self.set_,
            train_share=split_commas(self.train_share),
            sweeps=self.sweep, trust_remote_code=self.trust_remote_code,
            overrides=overrides,
        )  # fmt: skip


class DataOptions(NamedTuple):
    """The flags that say how the user's own files are read and cut."""

    sequence_column: Annotated[str, own(help="The column of sequences.")] = ""
    label_column: Annotated[
        list[str], own(help="The column of labels; several (A,B,C) are several outputs.")
    ] = []  # noqa: RUF012
    id_column: Annotated[str, own(help="The column of sequence names.")] = ""
    split_column: Annotated[
        str, own(help="The column with train, dev and test; none: there is no such column.")
    ] = ""
    header: Annotated[
        str,
        own(help="Fields between the bars of FASTA headers; - is ignored: 'id|-|label'."),
    ] = ""
    kind: Annotated[str, own(help="binary, multiclass, multilabel or regression.")] = ""
    positive: Annotated[str, own(help="The positive class, of two.")] = ""
    split_by: Annotated[
        str, own(help="Keep together: a column (chrom, gene, patient), file, or homology.")
    ] = ""
    test_groups: Annotated[list[str], own(help="Groups of --split-by for testing: chr8,chr9.")] = []  # noqa: RUF012
    dev_groups: Annotated[list[str], own(help="Groups for validation: chr7.")] = []  # noqa: RUF012
    split_seed: Annotated[int, own(help="Seed of the test split, if the data bring none.")] = 0
    identity: Annotated[float, own(help="Minimum identity (0.8 to 1) to count as related ...")] = (
        0.9
    )
    coverage: Annotated[
        float, own(help="... over this share of the shorter sequence (0.5 to 1).")
    ] = 0.8
    no_leak_check: Annotated[
        bool,
        own(
            "--no-leak-check",
            help="Do not look for related sequences; cuts are random, or by --split-by.",
        ),
    ] = False
    genome: Annotated[
        str,
        own(help="Genome FASTA of BED regions or VCF variants. `audit data` looks up sequences of "
            "other files in it."),
    ] = ""  # fmt: skip
    length: Annotated[
        int, own(help="bp around a region's middle or summit (0: as it is), or a variant.")
    ] = 200
    positives: Annotated[
        str,
        own(help="File of positives, without labels; needs --negatives, or --genome if they are "
            "regions."),
    ] = ""  # fmt: skip
    negatives: Annotated[
        str, own(help="File of negatives; for regions without one, matched ones are drawn.")
    ] = ""
    negatives_seed: Annotated[int, own(help="Seed of the drawn negatives.")] = 0
    labels: Annotated[str, own(help="File with the label of each sequence, one per line.")] = ""
    sheet: Annotated[str, own(help="Sheet of a spreadsheet (.xlsx, .ods).")] = ""

    def paths(self, data: list[str]) -> list[str]:
        """The files of all tasks; ValueError where positives and negatives do not fit."""
        out = [*data, *([self.positives] if self.positives else [])]
        if self.positives and not (self.negatives or self.genome):
            raise ValueError(
                f"--positives {self.positives}: give the others, too: --negatives FILE"
            )
        if self.negatives and len(out) != 1:
            raise ValueError(
                f"--negatives {self.negatives}: give one file of positives: --positives FILE"
            )
        if self.labels and len(out) != 1:
            raise ValueError(
                f"--labels {self.labels}: it has the labels of one file of sequences, and --data "
                f"names {len(out)}; give one"
            )
        return out

    def own(self) -> OwnData:
        """As the readers take it."""
        from dnabench.types import OwnData

        return OwnData(
            sequence=self.sequence_column, label=tuple(split_commas(self.label_column)),
            id=self.id_column, split=self.split_column, header=self.header, kind=self.kind,
            positive=self.positive, split_by=self.split_by,
            test_groups=tuple(split_commas(self.test_groups)),
            dev_groups=tuple(split_commas(self.dev_groups)), split_seed=self.split_seed,
            identity=self.identity, coverage=self.coverage, leak_check=not self.no_leak_check,
            genome=self.genome, length=self.length, negatives=self.negatives,
            negatives_seed=self.negatives_seed, labels=self.labels, sheet=self.sheet,
        )  # fmt: skip
