"""The nouns. Everything else in dnabench is a function from some of these to others.

    Model, Task, Protocol, Recipe, seed --plan--> Trial --run_trial--> Record --reports--> table

Every other file may import this one, which imports only `records`, `recipes` and `sequences`.

N examples, L length in bp, K task outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from typing import Protocol as Interface

from dnabench.recipes import Published as Published
from dnabench.recipes import Recipe as Recipe
from dnabench.records import Record as Record
from dnabench.records import Trial as Trial
from dnabench.sequences import CLS as CLS
from dnabench.sequences import MASK as MASK
from dnabench.sequences import PAD as PAD
from dnabench.sequences import SEP as SEP
from dnabench.sequences import A as A
from dnabench.sequences import Array as Array
from dnabench.sequences import C as C
from dnabench.sequences import G as G
from dnabench.sequences import LetterError as LetterError
from dnabench.sequences import N as N
from dnabench.sequences import Sequences as Sequences
from dnabench.sequences import T as T

Kind = Literal["binary", "multiclass", "multilabel", "regression", "per_base"]
KINDS: tuple[Kind, ...] = ("binary", "multiclass", "multilabel", "regression", "per_base")
SplitName = Literal["train", "dev", "test"]
Progress = Callable[[int, int], None]  # done, in all

IGNORED = -100  # label of a base that counts for nothing


class Split(NamedTuple):
    """Labelled sequences of one split."""

    seqs: Sequences  # N of them
    # int64 (N,), class indices 0..K-1; multilabel and regression float32 (N, K); per base int8
    # (N, longest), IGNORED beyond a sequence's end
    y: Array
    ids: Array  # (N,) str, what the file calls each example, or its row number
    # int64 (N,), equal for related examples (a gene, a chromosome, homologs); None = not known
    clusters: Array | None = None
    other: Sequences | None = None  # of pairs: the second of each, such as the alternative allele

    def take(self, index: Array) -> Split:
        """Those rows, in that order."""
        clusters = None if self.clusters is None else self.clusters[index]
        other = None if self.other is None else self.other.take(index)
        return Split(self.seqs.take(index), self.y[index], self.ids[index], clusters, other)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is predicted, from what, scored how, and where the data came from."""

    name: str  # suite/task
    kind: Kind
    classes: tuple[str, ...]  # names of the K classes, in label order
    metric: str  # primary; a key of dnabench.metrics.METRICS
    length: int  # bp, the longest sequence of any split
    counts: Mapping[SplitName, int]  # number of examples; the splits that exist
    data: str  # 16 hex of the SHA-256 of the data: changed data, changed trial ids; "" = not here
    load: Callable[[SplitName], Split]
    source: str
    license: str
    official: Mapping[SplitName, int] = field(default_factory=dict)  # counts as published
    family: str = ""  # tasks of a family are not independent evidence
    opposite: tuple[int, ...] = ()  # per base: class k is class opposite[k] on the other strand
    symmetric: bool = False  # a sequence and its reverse complement have the same label
    groups: Mapping[str, slice] = field(default_factory=dict)  # of outputs, also scored apart
    clusters: str = ""  # what the examples of a cluster share, in a word or two; see `Split`
    reported: str = ""  # metric of the authors' own tables, where it is not `metric`
    aliases: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # how the user's file was read, in words
    pairs: bool = False  # an example is two sequences, and its logits f(second) - f(first)
    scale: tuple[tuple[float, float], ...] = ()  # mean, sd of each output, if y is standardised
    whole_regions: bool = False  # regions of a genome were read as they are, not in windows

    @property
    def suite(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]

    @property
    def n_outputs(self) -> int:
        """K, the number of logits."""
        return len(self.classes)


@dataclass(frozen=True, kw_only=True)
class OwnData:
    """How the user's own files are read and cut into splits; "" and () = found out."""

    sequence: str = ""  # columns, by their names in the header
    label: tuple[str, ...] = ()  # several = several outputs
    id: str = ""
    split: str = ""  # "none" = no column says the split
    header: str = ""  # of FASTA, as in name|label
    kind: str = ""
    positive: str = ""  # class, of two
    split_by: str = ""  # a column, "file", or "homology"
    test_groups: tuple[str, ...] = ()
    dev_groups: tuple[str, ...] = ()
    split_seed: int = 0
    identity: float = 0.9  # of near copies
    coverage: float = 0.8
    leak_check: bool = True  # look for related sequences, and keep them together
    genome: str = ""  # FASTA on which regions lie
    length: int = 200  # bp of a window around a region; 0 = the region itself
    negatives: str = ""  # file of negatives
    negatives_seed: int = 0  # of the draw of negatives
    labels: str = ""  # file with a label a line
    sheet: str = ""  # of a spreadsheet
    every: str = ""  # label of every row of a file: none is read


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where a model's official weights are, and which tensor of the file is which of ours.

    rename(name in the file) gives the name in our `backbone`, "" for a tensor that the backbone
    has no use for, or the name unchanged when it is not known, which loading then reports.
    """

    repo: str  # of the Hugging Face hub
    files: tuple[str, ...]  # the first that is there is taken
    rename: Callable[[str], str]
    license: str
    revision: str = ""  # 40 hex; "" = none is known, the user must name one
    tokenizer: str = ""  # file of the same repository, for a BPE tokenizer


@dataclass(frozen=True, kw_only=True)
class Language:
    """How a network predicts letters or tokens: a head on its backbone, one logit an entry.

    The parameters of the head have the names that they have in an official file, after `prefix`.
    """

    head: Callable[[Any, Mapping[str, Any]], Any]  # (backbone, options) -> (B, T, D) to (B, T, V)
    prefix: str  # of its tensors in a file
    # name in the file -> in the network, where they differ: another name of it, or a tied tensor
    same: Mapping[str, str] = field(default_factory=dict)
    letters: tuple[int, ...] = ()  # entry of A, C, G, T and N; () = entries are the tokenizer's ids
    causal: bool = False  # predicts the next token, not a hidden one
    strands: Literal["one", "random"] = "one"  # as its authors pretrain it
    # puts official weights, the head's too, into a `language_model`; None = from a file, by names
    load: Callable[[Any], Any] | None = None  # gives `Loaded`


@dataclass(frozen=True, kw_only=True)
class Model:
    """A name for something trainable.

    build(task, options) gives either a fresh torch module, `forward(ids, mask) -> logits (B, K)`
    with a submodule `head`, or, when `custom_trainer`, a `Learner` that needs no gradient loop. For
    a per-base task the logits are (B, tokens, K).
    """

    name: str
    family: str
    build: Callable[[Task, Mapping[str, Any]], Any]
    n_params: int  # at the default options, without the task head
    min_length: int  # bp, shortest sequence it accepts
    context: int  # bp, longest
    source: str
    license: str
    options: Mapping[str, Any] = field(default_factory=dict)  # name -> default
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of an option
    least: int = 0  # bp, shortest "longest sequence" that a task may have; 0 = any
    reduced: Mapping[str, Any] = field(default_factory=dict)  # options of a quick test of it
    recipes: Mapping[str, Recipe] = field(default_factory=lambda: {"default": Recipe()})
    # setting -> values that a search tries, as `spaces.parse_dimension` reads them; {} = the usual
    space: Mapping[str, str] = field(default_factory=dict)
    tokenizer: str = "char"  # a key of TOKENIZERS; an option of that name overrules it
    max_tokens: int = 0  # 0 = as many as context allows
    kinds: tuple[Kind, ...] = KINDS  # of task that it can do
    weights: Weights | None = None
    lora_targets: tuple[str, ...] = ()  # last parts of the names of linear layers; () = no LoRA
    custom_trainer: bool = False
    pairs: bool = False  # a custom trainer that reads both sequences of pairs
    aliases: tuple[str, ...] = ()
    recipe_fields: tuple[str, ...] | None = None  # those it reads; None = all of them
    reference: str = ""  # how `-m` names it, with its whole path, when it is in no registry
    usual_regime: str = "scratch"  # unless --regime says otherwise
    own_tokenizer: Callable[[], Any] | None = None  # gives a Tokenizer that is none of TOKENIZERS
    fetch_official: Callable[[], Any] | None = None  # gets its weights, in place of `Weights`
    load_official: Callable[[Any], Any] | None = None  # puts them into a network: `Loaded`
    # (options, id of padding, whether per base): a `models.outside.native.Native`
    in_transformers: Callable[[Mapping[str, Any], int, bool], Any] | None = None
    language: Language | None = None  # None = it has no language-model head

    def reads(self, recipe_field: str) -> bool:
        """Whether that field of a recipe means anything to this model."""
        return self.recipe_fields is None or recipe_field in self.recipe_fields

    def tokenizer_name(self, options: Mapping[str, Any]) -> str:
        """The tokenizer under these options: a key of TOKENIZERS, or "bpe" without its file."""
        return str(options.get("tokenizer", self.tokenizer)).partition(":")[0]

    def recipe_for(self, suite: str) -> Recipe:
        """The suite's recipe, that of the suite it revises or reduces, or the model's default."""
        base = suite.removesuffix("_revised").removesuffix("_reduced")
        return self.recipes.get(suite, self.recipes.get(base, self.recipes["default"]))


class Learner(Interface):
    """What the fit loop drives: something that learns in epochs and predicts."""

    epochs: int
    n_params: int  # of all that predicts, the head included

    def train_epoch(self) -> float:
        """Learn for one epoch; return its mean training loss."""

    def predictor(self, split: Split) -> Callable[[], Array]:
        """Prepare a split; the function gives its logits float32 (N, K) as learned so far."""

    def state(self) -> Any:
        """A copy of what was learned so far, for `restore`: arrays by name, so that it can be kept.

        A learner made of an empty training split must predict after `restore`.
        """

    def restore(self, state: Any) -> None:
        """Go back to that state."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which examples choose the checkpoint, by what, and which split may be looked at when."""

    name: str  # name/version
    validation: Literal["dev-or-tenth", "dev-or-none", "dev", "random-tenth", "fold"]
    checkpoint: Literal["best-val", "least-val-loss", "last", "best-test"]
    why: str  # a phrase, printed after the name
    watermark: str = ""  # a warning, printed over every table of it
    together: bool = False  # a validation that is cut off keeps related examples together
    metrics: Mapping[str, str] = field(default_factory=dict)  # pattern of task names -> metric

    @property
    def looks_at_test(self) -> bool:
        """Whether the test split is read before training has ended."""
        return self.checkpoint == "best-test"


class Job(NamedTuple):
    """A trial to be run, and what only matters to running it."""

    trial: Trial
    path: str = ""  # the user's data
    size: float = 1.0  # bp that training reads
    checkpoint: str = ""  # path of the user's weights
    tokenizer: str = ""  # path of the user's tokenizer
    reference: str = ""  # `Model.reference`
    own: OwnData = OwnData()  # how the user's data are read
    keep: str = "no"  # which networks of the sweep are kept: no, best or all


class Resources(NamedTuple):
    """How trials are run; none of it changes a number, except by rounding."""

    device: str = "cpu"  # or "cuda", "cuda:1", several as "cuda:0,cuda:2"
    workers: int = 1  # processes at once, on all devices; of a worker, on its own device
    threads: int = 1  # of each process
    micro_batch: int = 0  # examples in memory at once; 0 = the recipe's whole batch
    executor: str = "local"
    compile: str = "off"  # or "auto"
    timeout: float = 0.0  # seconds that a trial may run; 0 = no limit
    deterministic: bool = False  # the same bytes on every machine of one kind, slower
    checkpoint: float = 600.0  # seconds between a trial's checkpoints; 0 = each epoch; < 0 = never

    @property
    def devices(self) -> tuple[str, ...]:
        """Each device; worker k runs on number k modulo their number."""
        return tuple(self.device.split(","))


ONE_CPU = Resources()
