"""Initial weights of a network: random, official, or from the user's file.

The user writes a regime as `scratch`, `pretrained` or `checkpoint:PATH`; a trial names the bytes:
`scratch`, `pretrained:REPO@40 hex`, `checkpoint:NAME@16 hex of SHA-256`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from dnabench.cache import read_json
from dnabench.loading import Loaded, load, load_kept
from dnabench.tensors import (
    INDEX,
    PICKLED,
    TensorSet,
    checkpoint_files,
    content_hash,
    is_checkpoint,
    read_set,
)
from dnabench.types import Model, Weights

REGIME = re.compile(r"((?P<model>[^=]*)=)?(?P<regime>scratch|pretrained(@[^:]*)?|checkpoint:.+)")
REVISION = re.compile("[0-9a-f]{40}")
KEPT = "network.json"  # in the folder of a kept network
# options that change no weight's meaning; exempt: from weight decay, in training
FREE = ("code", "dropout", "embed_dropout", "exempt", "pooling", "resid_dropout")


def regimes(text: str) -> dict[str, list[str]]:
    """`pretrained` -> {"": ["pretrained"]}; `ntv2=pretrained,gpn=checkpoint:x.pt` by model.

    A model may have several: `ntv2=pretrained,ntv2=scratch`.

    Raises:
        ValueError: for a word that is not a regime.
    """
    out: dict[str, list[str]] = {}
    for part in map(str.strip, text.split(",")):
        found = REGIME.fullmatch(part)
        if not found:
            raise ValueError(
                f"--regime {part!r}: write scratch, pretrained, pretrained@REVISION or "
                "checkpoint:PATH, or one for a model: ntv2=pretrained"
            )
        named = out.setdefault(found["model"] or "", [])
        if found["regime"] not in named:
            named.append(found["regime"])
    return out


def resolve(model: Model, regime: str) -> tuple[str, str]:
    """The regime as a trial names it, and the path of the user's file, "" without one.

    Args:
        model: names the repository of its official weights, if there are any.
        regime: as the user writes it, with or without MODEL= before it; `pretrained@` and 40 hex
            digits names another revision than that of `-m hf:REPO@REVISION`, or than the pinned
            one; `checkpoint:` and a file, or the folder of a network that was kept.

    Raises:
        ValueError: no official weights or no known revision, and the message says what to download
            and how to name it; a file that is missing or has another suffix; a folder that is no
            kept network, or one of another model.
    """
    kind, _, rest = regime.removeprefix(f"{model.name}=").partition(":")
    if kind == "scratch":
        return kind, ""
    if model.custom_trainer:
        raise ValueError(f"{model.name} has no weights to load; give it --regime scratch")
    if kind == "checkpoint":
        path = Path(rest).expanduser()
        if path.is_dir():
            file = _of_kept_network(path, model)
            return f"checkpoint:{path.resolve().name}@{content_hash(file)}", str(file.resolve())
        if not path.exists():
            raise ValueError(f"--regime {regime}: there is no {path}; name a file or a folder")
        if not is_checkpoint(path):
            raise ValueError(
                f"--regime {regime}: {path} is neither a file with the suffix .safetensors, "
                f"{', '.join(PICKLED)} or {INDEX} nor the folder of a kept network"
            )
        return f"checkpoint:{path.name}@{content_hash(path)}", str(path.resolve())
    official = model.weights
    if official is None or not official.repo:
        raise ValueError(
            f"no official weights of {model.name} were published; use --regime scratch, or "
            f"your own: --regime {model.name}=checkpoint:PATH"
        )
    named = kind.partition("@")[2] or model.usual_regime.partition("@")[2]  # of hf:REPO@REVISION
    revision = named or official.revision
    if not REVISION.fullmatch(revision):
        what = f"{revision!r} is not" if revision else f"none is known here for {official.repo}:"
        raise ValueError(
            f"--regime pretrained needs a revision of 40 hex digits, a branch can change; {what} "
            f"one. Take it from https://huggingface.co/{official.repo}/commits/main and write "
            f"--regime {model.name}=pretrained@REVISION, or download {' or '.join(official.files)} "
            f"there and write --regime {model.name}=checkpoint:PATH"
        )
    return f"pretrained:{official.repo}@{revision}", ""


def _of_kept_network(folder: Path, model: Model) -> Path:
    """The file with the weights of a kept network, as `networks.card` describes it."""
    card = read_json(folder / KEPT)
    if not isinstance(card, dict):
        raise ValueError(
            f"--regime checkpoint:{folder}: no kept network in this folder, which would have a "
            f"{KEPT}; name a folder runs/networks/TRIAL, or a file of weights"
        )
    name, _ = trained_as(card)
    if name != model.name:
        raise ValueError(
            f"--regime checkpoint:{folder}: that is a network of {name}, not of {model.name}; "
            f"write --regime {name}=checkpoint:{folder}"
        )
    if card.get("backbone"):
        raise ValueError(
            f"--regime checkpoint:{folder}: that is a head on frozen weights, which it does not "
            f"hold: {card['backbone']}; write --regime {name}=pretrained"
        )
    return folder / "model.safetensors"


def trained_as(card: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Model and options of a kept network, or of a pretrained one, whose card has no trial."""
    trial = card.get("record", {}).get("trial", card)
    return trial.get("model", ""), trial.get("options", {})


def pretraining_of(card: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a network was pretrained on: "genomes", "length" of windows, "bp" seen and "seconds".

    Args:
        card: of a pretrained network, or of one that was trained further and kept.

    Returns:
        None = no pretraining is known of. One that began with other weights has them under "start":
        their name, "weights", their "license", and their own "pretraining" or None.
    """
    found = card.get("pretraining") if "record" in card else card
    if not isinstance(found, dict) or not {"genomes", "length", "bp"} <= found.keys():
        return None
    out = {name: found[name] for name in ("genomes", "length", "bp", "seconds") if name in found}
    if start := found.get("start"):
        kept = ("weights", "license", "pretraining")
        out["start"] = {name: start[name] for name in kept if name in start}
    return out


def trainings_of(card: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All known pretrainings behind a network, the first one first; see `pretraining_of`."""
    found, out = pretraining_of(card), list[Mapping[str, Any]]()
    while found is not None:
        out.insert(0, found)
        found = found.get("start", {}).get("pretraining")
    return out


def begun_with(card: Mapping[str, Any]) -> str:
    """The weights that the first known pretraining began with; "" = random ones."""
    first = next(iter(trainings_of(card)), {})
    return str(first.get("start", {}).get("weights", ""))


def licence_begun_with(card: Mapping[str, Any]) -> str:
    """The licence of the weights of `begun_with`; "not stated" of random ones, too."""
    first = next(iter(trainings_of(card)), {})
    return str(first.get("start", {}).get("license", "not stated"))


def check_unchanged(path: Path, named: str) -> None:
    """Raise ValueError unless the file has the hash at the end of a name `NAME@HASH`."""
    if not path.is_file() or content_hash(path) != named.rpartition("@")[2]:
        raise ValueError(f"{path} changed since the run was planned; start the run again")


def fetch(model: Model, regime: str, *, tokenizer: bool = False) -> Path:
    """The official weights of a trial's `pretrained:` regime, from the hub or its cache.

    Args:
        model: names the files.
        regime: names the repository and revision.
        tokenizer: get the tokenizer of the weights instead.

    Raises:
        ValueError: when it cannot be downloaded; the message says why and what to do by hand.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    assert model.weights is not None  # `resolve` checks it
    files = (model.weights.tokenizer,) if tokenizer else model.weights.files
    repo, _, revision = regime.removeprefix("pretrained:").rpartition("@")
    why, cause = "", None
    for file in files:
        try:
            return Path(hf_hub_download(repo, file, revision=revision))
        except LocalEntryNotFoundError as e:
            why = f"not in the cache, and the hub cannot be reached: {e}"
        except EntryNotFoundError:
            why = why or "the repository has no such file"
        except Exception as e:  # what its HTTP library raises differs by version
            why, cause = f"{e}", e
            break
    offline = "HF_HUB_OFFLINE is set; " if constants.HF_HUB_OFFLINE else ""
    raise ValueError(
        f"cannot get {' or '.join(files)} of {repo}@{revision}: {offline}"
        f"{why.strip().splitlines()[0]}. Download it from "
        f"https://huggingface.co/{repo}/tree/{revision} and write "
        f"--regime {model.name}=checkpoint:PATH"
    ) from cause


@lru_cache(maxsize=1)
def _read_once(path: str, stamps: tuple[tuple[int, int], ...]) -> TensorSet:
    """The trials of one worker read a file once."""
    return read_set(Path(path))


def _check_options(folder: Path, model: Model, options: Mapping[str, Any]) -> None:
    """Raise ValueError unless a kept network was trained with these options, apart from FREE.

    Weights may fit a network of other options, say another dilation, and mean something else there.
    """
    _, trained = trained_as(read_json(folder / KEPT))
    check_files(model, trained, options, f"checkpoint:{folder}")
    if other := differing(model, trained, options):
        raise ValueError(
            f"checkpoint:{folder}: that network was trained with other options; write "
            f"{' '.join(other)}. `dnabench embed` takes the folder itself"
        )


def check_files(
    model: Model, trained: Mapping[str, Any], options: Mapping[str, Any], weights: str
) -> None:
    """Raise ValueError if weights were trained with other files of a model of transformers.

    Another revision with the same configuration, tokenizer and code is the same network: its own
    weights are replaced.

    Args:
        model: with these files now.
        trained: options that the weights were trained with.
        options: of the network now.
        weights: what the message calls them.
    """
    named = "revision" in trained.keys() & options.keys() and model.name.startswith("hf:")
    if not named or _same_files(trained, options):
        return
    if model.name.startswith("hf:."):
        way_out = (
            f"put back the files of {model.name} as they were, or name a folder of the same name "
            "that has them"
        )
    else:
        way_out = f"name {model.name}@{trained['revision']} in place of {model.name}"
    raise ValueError(
        f"{weights}: that network was trained with another configuration, tokenizer or code of "
        f"{model.name}; {way_out}"
    )


def _same_files(trained: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether two models of transformers have the same configuration, tokenizer and code."""
    return all(trained.get(name) == options.get(name) for name in ("files", "code"))


def differing(
    model: Model, trained: Mapping[str, Any], options: Mapping[str, Any]
) -> list[str]:  # fmt: skip
    """Flags that would give a network the options that weights were trained with, but for FREE.

    Of a tokenizer that was trained here, the file beside the weights decides; of the files of a
    model of transformers, `check_files`.
    """
    free = {*FREE, *(("files", "revision") if model.name.startswith("hf:") else ())}
    return [
        f"--set {model.name}.{name}={trained[name]}"
        for name in sorted(trained.keys() & options.keys() - free)
        if trained[name] != options[name] and not str(options[name]).startswith("bpe")
    ]


def load_regime(
    net: Any, model: Model, regime: str, path: str, options: Mapping[str, Any] | None = None
) -> Loaded | None:
    """Load the weights that a trial's regime names into a new network; None = others stay.

    Args:
        net: from the model's `build`.
        model: its `weights` map the names.
        regime: as a trial names it.
        path: the user's file, for a `checkpoint:` regime.
        options: of the network; None = those of a kept network are not compared with them.

    Raises:
        ValueError: as `fetch`, `read_set` and `load`; a file that changed since the run was
            planned; a kept network of other options.
    """
    if regime == "scratch" or regime.startswith("own:"):
        return None
    if regime.startswith("pretrained:") and model.load_official is not None:
        loaded: Loaded = model.load_official(net)
        return loaded
    if regime.startswith("checkpoint:"):
        file = Path(path)
        check_unchanged(file, regime)
    else:
        file = fetch(model, regime)
    if (file.parent / KEPT).is_file():
        _check_options(file.parent, model, options or {})
        return load_kept(net, model, file)
    stats = [f.stat() for f in checkpoint_files(file)]
    tensors, beside = _read_once(str(file), tuple((s.st_mtime_ns, s.st_size) for s in stats))
    return load(net, model, tensors, file.name)._replace(beside=beside)


def prefixed(prefixes: Mapping[str, str], unused: tuple[str, ...] = ()) -> Callable[[str], str]:
    """A `Weights.rename` that replaces the first matching prefix.

    Args:
        prefixes: in the file -> in our backbone.
        unused: prefixes of tensors that the backbone does not use.
    """

    def rename(name: str) -> str:
        if name.startswith(unused):
            return ""
        for old, new in prefixes.items():
            if name.startswith(old):
                return new + name.removeprefix(old)
        return name

    return rename


def describe(weights: Weights | None) -> str:
    """Repository and licence of the weights, for a list of models."""
    if weights is None or not weights.repo:
        return "none published"
    return f"{weights.repo}: {weights.license}"
