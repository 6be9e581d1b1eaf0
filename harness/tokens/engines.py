"""A tokenizer for other programs: a tokenizer.json of the library `tokenizers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A letter of a vocabulary -> what is read as it, as `Sequences.parse` does
READ_AS = {"A": "a", "C": "c", "G": "g", "T": "tUu", "N": "nRYSWKMBDHVryswkmbdhv"}


def words_file(
    vocabulary: Mapping[str, int], pattern: str, unknown: str, first: str = "", last: str = ""
) -> str:
    """The tokenizer.json that cuts a sequence into words of a vocabulary.

    Args:
        vocabulary: word -> id.
        pattern: regular expression; each match, from the left, is a word.
        unknown: word of the vocabulary for what it lacks; "" = it lacks nothing.
        first: word put before every sequence; "" = none.
        last: word put behind it; "" = none.
    """
    from tokenizers import Regex, pre_tokenizers

    cut = pre_tokenizers.Split(Regex(pattern), "isolated")
    return _file(vocabulary, cut, unknown, (first, last))


def spaced_words_file(
    vocabulary: Mapping[str, int], unknown: str, first: str = "", last: str = ""
) -> str:
    """As `words_file`, for words that stand between spaces, such as overlapping k-mers."""
    from tokenizers import pre_tokenizers

    return _file(vocabulary, pre_tokenizers.WhitespaceSplit(), unknown, (first, last))


def _file(vocabulary: Mapping[str, int], cut: Any, unknown: str, ends: tuple[str, str]) -> str:
    from tokenizers import AddedToken, Tokenizer, models, processors

    known = {"unk_token": unknown} if unknown else {}
    engine = Tokenizer(models.WordLevel(dict(vocabulary), **known))
    engine.pre_tokenizer = cut
    engine.add_special_tokens(
        [AddedToken(w, special=True) for w in vocabulary if w[:1] in "[<" and w[-1:] in "]>"]
    )
    first, last = ends
    engine.post_processor = processors.TemplateProcessing(
        single=" ".join(part for part in (first, "$A", last) if part),
        special_tokens=[(word, vocabulary[word]) for word in dict.fromkeys(ends) if word],
    )
    return engine.to_str(pretty=True)


def file_with_gaps(text: str, run: str, gap: str) -> str:
    """A tokenizer.json that first writes `gap` for every match of `run`, a regular expression."""
    return _replacing_first(text, {gap: run})


def file_for_all_letters(text: str) -> str:
    """A tokenizer.json that first writes A, C, G, T or N for every other letter of DNA."""
    return _replacing_first(text, {letter: f"[{others}]" for letter, others in READ_AS.items()})


def _replacing_first(text: str, patterns: Mapping[str, str]) -> str:
    """With what is written -> for which matches, before the file's own rules."""
    from tokenizers import Regex, Tokenizer, normalizers

    engine: Any = Tokenizer.from_str(text)
    steps = [normalizers.Replace(Regex(pattern), to) for to, pattern in patterns.items()]
    steps += [engine.normalizer] if engine.normalizer is not None else []
    engine.normalizer = normalizers.Sequence(steps)
    return str(engine.to_str(pretty=True))
