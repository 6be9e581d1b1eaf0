"""The base model of a folder of transformers. Import it only inside `build`: it needs torch.

B batch, T length in tokens, D width.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from dnabench.loading import Loaded

AUTO: Any = transformers.AutoModel
# Where the class that saved a model is not known, or calls its head otherwise than the file does
HEADS = ("lm_head", "cls", "classifier", "score", "qa_outputs", "decoder", "head", "pooler",
         "embed_out")  # fmt: skip
OTHERS = "take a model that reads tokens, such as bert, esm or llama"
SEGMENTS = (
    "{}: with num_landmarks unlike segment_means_seq_len in config.json it reads batches of {} "
    "tokens only, and one has {}: give sequences of that many, with special tokens, or the same "
    "number for both there (attention is then exact)"
)
BESIDE_TOKENS = {"pixel_values", "input_features", "input_values"}  # of images and sound


class Transformer(nn.Module):
    """ids (B, T), mask (B, T) or None to the last hidden state (B, T, D), in float32.

    Args:
        folder: with config.json.
        trust: whether code in the folder is run.

    Raises:
        ValueError: a configuration that transformers refuses, or that names no width; a model that
            does not read tokens, or not without a second sequence.
    """

    def __init__(self, folder: str, trust: bool) -> None:
        super().__init__()
        self._folder, self._words = folder, {"trust_remote_code": trust}
        with quiet():
            try:
                config = transformers.AutoConfig.from_pretrained(folder, **self._words)
                config.use_cache = False
            except (ValueError, KeyError, OSError, AttributeError, ImportError) as e:
                raise self._not_built(e) from e
            self.width = width_in(config, folder)
            try:
                self.model = self._random(config)
            except (ValueError, KeyError, OSError, AttributeError, ImportError) as e:
                raise self._not_built(e) from e
            self._check_input(config)
        self._tokens = fixed_tokens(config)
        self.model.float()

    def _not_built(self, error: Exception) -> ValueError:
        why = str(error).strip().partition("\n")[0]
        return ValueError(f"{self._folder}: transformers cannot build it: {why}")

    def _random(self, config: Any) -> Any:
        """Without the pooler of BERT and ESM, which no hidden state needs; of T5 the encoder."""
        encoders: Any = transformers.AutoModelForTextEncoding
        encoder = encoders._model_mapping.get(type(config), None)
        alone = encoder is not None and encoder.__name__.endswith("EncoderModel")
        self._auto = encoders if alone else AUTO
        try:
            made = self._auto.from_config(config, add_pooling_layer=False, **self._words)
            self._words["add_pooling_layer"] = False
        except TypeError:
            made = self._auto.from_config(config, **self._words)
        return made

    def _check_input(self, config: Any) -> None:
        """Raise ValueError for a model that needs more, or other things, than tokens."""
        name = f"{self._folder}: {type(self.model).__name__}"
        if (read := self.model.main_input_name) != "input_ids":
            raise ValueError(f"{name} reads {read}, no tokens, so it reads no DNA; {OTHERS}")
        decodes = self._auto is AUTO and getattr(config, "is_encoder_decoder", False)
        more = BESIDE_TOKENS & inspect.signature(self.model.forward).parameters.keys()
        if not (decodes or more):
            return
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                self.model(input_ids=torch.arange(4)[None] % int(config.vocab_size))
        except Exception as e:  # what is raised differs by architecture
            has = "has a decoder, which reads a second sequence that DNA does not have"
            if more:
                has = f"reads {' and '.join(sorted(more))} beside tokens, which DNA does not have"
            raise ValueError(f"{name} {has}; {OTHERS}") from e

    def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Padding, where the mask is 0, is not attended to."""
        if self._tokens and ids.shape[1] != self._tokens:
            raise ValueError(SEGMENTS.format(self._folder, self._tokens, ids.shape[1]))
        seen = None if mask is None else mask.long()
        out: Tensor = self.model(input_ids=ids.long(), attention_mask=seen)[0]
        return out

    def load(self, weights: Path) -> Loaded:
        """Read the weights of the folder, and account for every tensor.

        Every parameter and persistent buffer must be in the file. Buffers that are in no file, as
        rotary frequencies, must be those that the configuration gives. What the file has beyond
        the base model must be a head.

        Raises:
            ValueError: whatever does not hold, by name.
        """
        with quiet(), torch.random.fork_rng(devices=[]):
            try:
                loaded, info = self._auto.from_pretrained(
                    self._folder, output_loading_info=True, dtype=torch.float32, **self._words
                )
            except (ValueError, OSError, RuntimeError, KeyError, ImportError) as e:
                raise ValueError(f"{weights}: cannot be loaded: {e}") from e
        self._check(loaded, info, weights)
        device = next(self.model.parameters()).device
        loaded.config.use_cache = False
        self.model = loaded.to(device)
        names = [*dict(self.model.named_parameters()), *_persistent(self.model)]
        return Loaded(sorted(names), sorted(info["unexpected_keys"]))

    def _check(self, loaded: Any, info: dict[str, Any], weights: Path) -> None:
        prefix = f"{getattr(loaded, 'base_model_prefix', '')}."
        heads = {*HEADS, *(_heads(loaded.config) if info["unexpected_keys"] else ())}
        strange = [
            name for name in info["unexpected_keys"]
            if name.removeprefix(prefix).partition(".")[0] not in heads
            and not name.endswith(("inv_freq", "position_ids"))
        ]  # fmt: skip
        wrong = [f"{name} is not in the file" for name in info["missing_keys"]]
        wrong += [f"{name[0]} has another shape" for name in info["mismatched_keys"]]
        wrong += [f"{name} is no tensor of the model, and no head" for name in strange]
        values = {**dict(loaded.named_parameters()), **dict(loaded.named_buffers())}
        wrong += [
            f"{name} has values that are not finite" for name, value in values.items()
            if value.is_floating_point() and not bool(value.isfinite().all())
        ]  # fmt: skip
        kept, fresh = _persistent(loaded), dict(self.model.named_buffers())
        wrong += [
            f"{name} is not what the configuration gives" for name, value in loaded.named_buffers()
            if name not in kept and not torch.equal(value.cpu(), fresh[name].cpu())
        ]  # fmt: skip
        if wrong:
            more = f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""
            raise ValueError(f"{weights}: {'; '.join(wrong[:8])}{more}")


def fixed_tokens(config: Any) -> int:
    """The tokens that every batch must have, of Nyströmformer with landmarks; 0 = any number.

    Its attention by landmarks is made for one number of tokens. With as many landmarks as that it
    is exact, and batches may have any number.
    """
    landmarks, tokens = (
        int(getattr(config, name, 0)) for name in ("num_landmarks", "segment_means_seq_len")
    )
    return tokens if landmarks != tokens else 0


def width_in(config: Any, folder: Path | str) -> int:
    """D; ValueError for several networks in one, or a configuration that does not say it."""
    sizes = (getattr(config, name, None) for name in ("hidden_size", "d_model", "n_embd"))
    if width := next((int(n) for n in sizes if n), 0):
        return width
    if parts := sorted(getattr(config, "sub_configs", ())):
        raise ValueError(
            f"{folder}: {config.model_type} is made of several networks ({', '.join(parts)}), and "
            "one that reads tokens is needed: save the part that reads text by itself with "
            f"save_pretrained, put the tokenizer beside it and give that folder, or {OTHERS}"
        )
    raise ValueError(
        f"{folder}: its config.json names no hidden_size, d_model or n_embd, so the width of the "
        f"network is not known; add hidden_size there, or {OTHERS}"
    )


def outline(folder: Path, trust: bool) -> Any:
    """The base model of a folder without numbers, to be looked at.

    None for a configuration of which no network can be made: `Transformer` says why.

    Raises:
        ValueError: as `width_in`.
    """
    words = {"trust_remote_code": trust}
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(folder, **words)
    except Exception:  # what is raised differs by architecture
        return None
    width_in(config, folder)
    try:
        with quiet(), torch.device("meta"):
            return AUTO.from_config(config, **words)
    except Exception:
        return None


def positions_before(net: nn.Module) -> int:
    """Rows of a table of positions before that of the first token.

    RoBERTa and its kin number positions from the id of padding + 1, the padding of that table.
    """
    padding = (
        getattr(module, "padding_idx", None) for name, module in net.named_modules()
        if name.rpartition(".")[2] == "position_embeddings"
    )  # fmt: skip
    return next((int(i) + 1 for i in padding if i is not None), 0)


def looks_back(net: nn.Module) -> bool | None:
    """Whether every attention sees only tokens before; None = no layer says so."""
    said = [module.is_causal for module in net.modules() if hasattr(module, "is_causal")]
    return all(said) if said else None


def _heads(config: Any) -> set[str]:
    """What the classes that saved the model have beside the base model."""
    found = set[str]()
    for name in config.architectures or ():
        if saved := getattr(transformers, name, None):
            with torch.device("meta"):
                net = saved(config)
            parts = {tensor.partition(".")[0] for tensor in net.state_dict()}
            if net.base_model_prefix in parts:  # else the class is the base model itself
                found |= parts - {net.base_model_prefix}
    return found


def _persistent(net: nn.Module) -> set[str]:
    """Names of the buffers that a file has."""
    return {name for name, _ in net.named_buffers()} & net.state_dict().keys()


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no advice of transformers; what matters is checked here."""
    log = logging.getLogger("transformers")
    level = log.level
    log.setLevel(logging.CRITICAL)
    bars: Any = transformers.utils.logging
    bars.disable_progress_bar()
    try:
        yield
    finally:
        log.setLevel(level)
