"""The flags that several commands share, each defined once."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_type_hints

import typer

from dnabench.cli.errors import split_commas

if TYPE_CHECKING:
    from dnabench.sweep.grid import Request
    from dnabench.types import OwnData, Resources


def names_of(*kinds: str) -> Callable[[str], list[str]]:
    """Shell completion with the names that `dnabench list KIND` prints; after commas too."""

    def complete(incomplete: str) -> list[str]:
        from dnabench.cli.listing import LISTINGS

        before, comma, _ = incomplete.rpartition(",")
        return [f"{before}{comma}{row[0]}" for kind in kinds for row in LISTINGS[kind]()[1]]

    return complete


MOST = 10_000  # trials at once, threads of a trial
which = partial(typer.Option, rich_help_panel="Models and data")
own = partial(typer.Option, rich_help_panel="Your own data")
training = partial(typer.Option, rich_help_panel="Training")
execution = partial(typer.Option, rich_help_panel="Execution")
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

        reading = reading or DataOptions()
        changes = {
            "epochs": self.epochs, "batch": self.batch_size, "precision": self.precision,
            "rc": self.rc, "class_weight": self.class_weight,
        }  # fmt: skip
        return Request(
            models=split_commas(self.models), preset=self.preset, tasks=split_commas(self.tasks),
            suite=split_commas(self.suite), data=tuple(reading.paths(self.data)), seeds=self.seeds,
            protocol=self.protocol, own=reading.own(), regime=",".join(self.regime),
            recipe=self.recipe, limit=self.limit, metric=self.metric, settings=self.set_,
            train_share=split_commas(self.train_share),
            sweeps=self.sweep, trust_remote_code=self.trust_remote_code,
            overrides={k: value for k, value in changes.items() if value},
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


class ExecutionOptions(NamedTuple):
    """The flags that say where trials run."""

    device: Annotated[
        str,
        execution(help="auto (all GPUs that are visible, else the CPU), cpu, cuda (the first one), "
                  "cuda:N, or several: cuda:0,cuda:2."),
    ] = "auto"  # fmt: skip
    jobs: Annotated[
        str,
        execution(help="Trials at once, on each GPU. auto: one; on a CPU one per usable core "
                  "(cores / --threads), fewer if memory is short."),
    ] = "auto"  # fmt: skip
    threads: Annotated[int, execution(help="CPU threads per trial.")] = 1
    micro_batch: Annotated[int, execution(help="Examples in memory at once; 0 = all.")] = 0
    executor: Annotated[str, execution(help="local, inline for a debugger, slurm or ray.")] = (
        "local"
    )
    set_resource: Annotated[
        list[str],
        execution(help="Slurm: an option of sbatch: partition=gpu, time=2:00:00. Ray: "
                  "address=HOST:PORT, num_gpus=0.5, memory=16G."),
    ] = []  # noqa: RUF012  # fmt: skip
    task_time: Annotated[str, execution(help="Slurm: target duration of a task, such as 30m.")] = (
        "30m"
    )
    compile: Annotated[
        str,
        execution(
            help="auto: compile training steps on CUDA, or use a CUDA graph, where faster; or off."
        ),
    ] = "auto"
    trial_timeout: Annotated[
        str, execution(help="Stop a trial that runs longer (3600, 30m, 2h); it counts as failed.")
    ] = ""

    deterministic: Annotated[
        bool,
        execution(
            "--deterministic",
            help="Same bytes on all machines of one kind; may be slower (docs/speed.md).",
        ),
    ] = False

    checkpoint_every: Annotated[
        str,
        execution(help="Save a checkpoint at the end of an epoch, so that a killed trial resumes: "
                  "10m, 1h, epoch (after each) or never."),
    ] = "10m"  # fmt: skip

    def measured_here(self) -> tuple[Resources, list[str]]:
        """The resources of a measurement, which is made on this machine, and what is set aside.

        Raises:
            ValueError: as `resources`, for the executor that was named, too.
        """
        self.resources()
        if self.executor == "local":
            return self.resources(), []
        note = f"--executor {self.executor}: measured on this machine, as with --executor local"
        return self._replace(executor="local", set_resource=[]).resources(), [note]

    def resources(self) -> Resources:
        """The device and number of workers; ValueError when they are not available.

        On other machines the device stays as written, and 0 workers are as many as they start.
        `--jobs auto` on a CPU: the cores that affinity and cgroups allow, divided by `--threads`.
        """
        from dnabench.executors import ELSEWHERE, EXECUTORS
        from dnabench.host.machine import device_named, devices_named, usable_cores
        from dnabench.sweep.numbers import parse_checkpoints, parse_duration
        from dnabench.types import Resources

        device, jobs, threads, micro_batch, executor, asked, _, compiling, timeout, strict, _ = self
        if executor not in (*EXECUTORS, *ELSEWHERE):
            known = ", ".join([*EXECUTORS, *ELSEWHERE])
            raise ValueError(f"no executor named {executor!r}; choose from {known}")
        if asked and executor not in ELSEWHERE:
            raise ValueError(
                f"--set-resource {asked[0]!r} is for --executor slurm or ray; leave it out"
            )
        if compiling not in ("auto", "off"):
            raise ValueError(f"--compile {compiling!r}: give auto or off")
        if jobs != "auto" and not (jobs.isascii() and jobs.isdecimal() and int(jobs) <= MOST):
            raise ValueError(f"--jobs {jobs!r}: give auto or the number of trials to run at once")
        if threads < 1 or micro_batch < 0:
            raise ValueError(f"--threads {threads} --micro-batch {micro_batch}: too small")
        if threads > MOST:
            raise ValueError(f"--threads {threads}: at most {MOST}")
        limit, every = parse_duration(timeout), parse_checkpoints(self.checkpoint_every)
        if executor in ELSEWHERE:  # the device is chosen there
            at_once = int(jobs) if jobs != "auto" else 0
            return Resources(
                device, at_once, threads, micro_batch, executor, compiling, limit, strict, every
            )
        own = EXECUTORS[executor].isolated  # whether each trial has a process of its own
        devices = devices_named(device) if own else (device_named(device),)
        at_once = max(1, usable_cores() // threads) if devices == ("cpu",) else 1
        at_once = len(devices) * (int(jobs) or at_once if jobs != "auto" else at_once)
        device = ",".join(devices)
        return Resources(
            device, at_once, threads, micro_batch, executor, compiling, limit, strict, every
        )


def with_flags(
    command: Callable[..., None], hidden: Collection[str] = (),
    texts: Mapping[str, str] | None = None, **usual: Any,
) -> Callable[..., None]:  # fmt: skip
    """Turn every parameter whose type is a NamedTuple into the flags that its fields are.

    Args:
        command: the function.
        hidden: fields that its help leaves out, as the command refuses these flags or sets them
            aside with a note.
        texts: field -> help of this command that differs from that of the field.
        usual: defaults of this command that differ from those of the fields.
    """
    flags: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        options: Any = parameter.annotation
        if not hasattr(options, "_field_defaults"):
            flags.append(parameter)
            continue
        groups[parameter.name] = options
        hints = get_type_hints(options, include_extras=True)
        defaults = {**options._field_defaults, **usual}
        flags += [
            parameter.replace(
                name=n, default=defaults[n],
                annotation=_said(hints[n], n in hidden, (texts or {}).get(n, "")),
            )
            for n in hints
        ]  # fmt: skip

    @functools.wraps(command)
    def inner(**given: Any) -> None:
        for name, options in groups.items():
            given[name] = options(**{field: given.pop(field) for field in options._fields})
        command(**given)

    inner.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]
    inner.__annotations__ = {flag.name: flag.annotation for flag in flags}
    return inner


def _said(hint: Any, hidden: bool, text: str) -> Any:
    """The same flag, left out of the help or with another text."""
    info = copy.copy(hint.__metadata__[0])
    info.hidden, info.help = hidden, text or info.help
    return Annotated[hint.__origin__, info]
