"""The edit cost Δ_edit(y, y'): the normalised Levenshtein distance between a response and its edit.

Distances are counted over a tokenizer's sub-tokens (read from its file alone: no model, no torch), over words, or over
characters, and computed for many pairs at once.

Words are those of the Penn Treebank: contractions and punctuation are tokens of their own. The rules are those of
NLTK's `NLTKWordTokenizer` (https://www.nltk.org/api/nltk.tokenize.destructive.html), in one expression and with three
differences. Quotes stay as they are written, so that the words hold every character of the text except its white
space. Every period that ends a word is a token, where `nltk.word_tokenize` first asks a trained model where sentences
end. Each Chinese or Japanese character is a word, as nothing separates words there.
"""

import hashlib
import math
import re
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cpdist
from tokenizers import Tokenizer

from copydesk import embedded, model_registry
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.utils.prefetch import ordered_map

_MIN_PAIRS_FOR_THREADS = 32  # fewer are done sooner than threads start


def compute_edit_distances(before: Sequence[Sequence[Hashable]], after: Sequence[Sequence[Hashable]]) -> list[int]:
    """The Levenshtein distance of each pair: units inserted, deleted or replaced to turn `before` into `after`.

    The distances are exact, whatever their size, and computed on all cores.

    Args:
        before: sequences of units, such as lists of token ids or of words; a text is a sequence of its characters.
        after: the same number of sequences.
    """
    workers = 1 if len(before) <= _MIN_PAIRS_FOR_THREADS else -1
    found: list[int] = cpdist(before, after, scorer=Levenshtein.distance, workers=workers).tolist()
    return found


def tokenize_texts(texts: Sequence[str], tokenizer: str) -> list[list[int]]:
    """The token ids of each text, without special tokens, padding or truncation.

    Args:
        texts: any number of texts; they are encoded in one batch.
        tokenizer: `"embedded"`, a model that `copydesk models pull` fetched (`"smollm2"`), a model's folder, a
            `tokenizer.json`, or a model's name on the Hugging Face hub.

    Raises:
        InputError: the tokenizer cannot be loaded, its model has not been pulled, or a text holds half of a
            surrogate pair.
    """
    encode = load_tokenizer(tokenizer).encode_batch_fast
    try:
        return [encoding.ids for encoding in encode(list(texts), add_special_tokens=False)]
    except (TypeError, UnicodeEncodeError):
        raise InputError(
            f"{_find_lone_surrogate_excerpt(texts)}: half of a surrogate pair is not a character; remove it"
        ) from None


@lru_cache(maxsize=8)
def load_tokenizer(name: str) -> Tokenizer:
    """Load a tokenizer once per process; `name` is that of `tokenize_texts`.

    Raises:
        InputError: there is no such tokenizer, or its file is not one of the `tokenizers` library.
    """
    path = embedded.path() if name == embedded.NAME else model_registry.find_pinned_model_folder(name) or Path(name)
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        if file.is_file():
            tokenizer = Tokenizer.from_file(str(file))
        elif path.exists() or name == embedded.NAME:
            raise InputError(f"{path}: there is no tokenizer.json in this folder; name a folder that has one")
        else:
            tokenizer = Tokenizer.from_pretrained(name)
    except InputError:
        raise
    except Exception as exc:  # the library and the hub's client raise many types, including bare `Exception`
        first_line = (str(exc).splitlines() or [type(exc).__name__])[0]
        raise InputError(
            f"tokenizer {name!r} cannot be loaded ({first_line}); "
            "give a folder with a tokenizer.json, such a file, or a name the Hugging Face hub knows and can serve"
        ) from None
    # A tokenizer.json may set both, and a cost must see all of the text and nothing else.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@lru_cache(maxsize=8)
def compute_tokenizer_fingerprint(name: str) -> str:
    """Eight hex digits of a hash over a tokenizer's content; `name` is that of `tokenize_texts`.

    Raises:
        InputError: as `load_tokenizer`.
    """
    return hashlib.sha256(load_tokenizer(name).to_str().encode()).hexdigest()[:8]


def _find_lone_surrogate_excerpt(texts: Sequence[str]) -> str:
    """The first text that UTF-8 cannot hold, shortened for a message."""
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as exc:
            return ascii(text[max(0, exc.start - 20) : exc.start + 1])
    return "a text"


_SINGLE_CHARACTER = r"[«»“”„‘’\"`;@#$%&?!*()\[\]{}<>\u2012-\u2015\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff]"
_PUNCTUATION_RUN = r"\.\.+|''|--|``+"
_COMMA = r"[:,](?!\d)"  # not the one within 1,000 or 12:30
_PERIOD = r"\.(?=[\])}>\"'»”’]*(?:\s|$))"
_BOUNDARY = rf"(?=\s|$|{_SINGLE_CHARACTER}|{_PUNCTUATION_RUN}|{_COMMA}|{_PERIOD})"
_CLITIC = rf"(?:'(?:[sSmMdD]|ll|LL|re|RE|ve|VE)|n't|N'T){_BOUNDARY}"
_COMPOUND = r"\b(?i:can(?=not\b)|gim(?=me\b)|gon(?=na\b)|got(?=ta\b)|lem(?=me\b)|wan(?=na\b))"
_OPENING = r"(?<!\w)'(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)"
_WORD = rf"\S+?(?={_CLITIC}|'?{_BOUNDARY})"  # as short as what follows allows

_TOKEN = re.compile(
    "|".join([_PUNCTUATION_RUN, _SINGLE_CHARACTER, _CLITIC, _COMPOUND, _OPENING, _COMMA, _PERIOD, _WORD])
)


_MAX_CACHED_CHARACTERS = 40  # longer pieces rarely occur again


def split_words(text: str) -> list[str]:
    """Split a text into words, in order; joined they are the text without its white space."""
    # No rule looks across white space, so pieces are split one by one, and common ones are cached.
    found: list[str] = []
    for piece in text.split():
        found += _split_piece(piece) if len(piece) <= _MAX_CACHED_CHARACTERS else _TOKEN.findall(piece)
    return found


@lru_cache(maxsize=1 << 16)
def _split_piece(piece: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(piece))


CostUnit = Literal["subtoken", "word", "character"]
CostNormalization = Literal["response", "edit", "longest", "none"]
TextUnits = Sequence[int] | Sequence[str]

COST_BATCH_SIZE = 512
"""Edits whose costs are computed together."""

_Item = TypeVar("_Item")
_Cost = TypeVar("_Cost")


@dataclass(frozen=True)
class EditCost:
    """Δ_edit of the paper (arXiv 2601.19055): the Levenshtein distance between a response and its edit.

    The distance counts insertions, deletions and substitutions of units. Two texts can have the same units, when only
    white space differs between words or when a tokenizer folds characters; a change that no unit shows counts as
    one. So the cost is 0 exactly when the edit is the response, and without normalisation and cap it is a metric.

    A length of 0 divides like a length of 1: writing n units where the response was empty costs n (before the cap).

    Attributes:
        unit: the unit that is counted: sub-tokens, words (`split_words`; PRELUDE counts NLTK's) or characters (Unicode
            code points, so a letter and its combining mark are two).
        normalize: the divisor of the distance: the number of units in the response, in the edit, in the longer of the
            two (then the cost is at most 1), or 1 (`none`).
        cap: the largest possible cost, the paper's c_max; `None` for no cap. Without one a very short response can
            cost many times 1.
        tokenizer: the tokenizer of the sub-tokens: `"embedded"`, a model's folder, a `tokenizer.json`, or a name on the
            Hugging Face hub. Words and characters do not use it.

    Raises:
        InputError: a setting is not allowed; later, the tokenizer cannot be loaded.
    """

    unit: CostUnit = "subtoken"
    normalize: CostNormalization = "response"
    cap: float | None = None
    tokenizer: str = embedded.NAME

    def __post_init__(self) -> None:
        if self.unit not in get_args(CostUnit):
            raise InputError(f"edit cost: unit is {self.unit!r}; choose one of {', '.join(get_args(CostUnit))}")
        if self.normalize not in get_args(CostNormalization):
            choices = ", ".join(get_args(CostNormalization))
            raise InputError(f"edit cost: normalize is {self.normalize!r}; choose one of {choices}")
        if self.cap is not None and not (self.cap > 0 and math.isfinite(self.cap)):
            raise InputError(f"edit cost: cap is {self.cap}; give a number above 0, or none for no cap")

    def __call__(self, response: str, edit: str) -> float:
        """The cost of one edit."""
        return self._cost_pairs([(response, edit)])[0]

    def cost_of(self, record: EditRecord) -> float:
        """The cost of one logged edit.

        Raises:
            InputError: the record is pending, so its cost is not known yet; it is not 0.
        """
        if record.edit is None:
            raise InputError(f"record {record.id!r}: its edit is still pending, so it has no cost yet; leave it out")
        return self(record.response, record.edit)

    def cost_batch(self, pairs: Iterable[tuple[str, str]]) -> list[float]:
        """The costs of (response, edit) pairs, in their order; faster than one call each."""
        return [cost for _, cost in self._iter_batched(self._cost_pairs, pairs)]

    def iter_costs(self, records: Iterable[EditRecord]) -> Iterator[tuple[EditRecord, float | None]]:
        """Every record with its cost, `None` while it is pending; a stream, in the order given.

        All cores work on it, so it reads a few hundred records for each of them ahead.
        """
        return self._iter_batched(self._cost_records, records)

    def split_units(self, text: str) -> TextUnits:
        """The units of a text that the cost counts: token ids, words or characters."""
        return self._split_texts([text])[0]

    @property
    def name(self) -> str:
        """The metric, named so that equal names mean equal costs; stored beside every cost.

        For example `levenshtein/word/response` or `levenshtein/subtoken:embedded@1a2b3c4d/response/cap=2.0`, where the
        digits follow the tokenizer's content.
        """
        unit: str = self.unit
        if self.unit == "subtoken":
            label = Path(self.tokenizer).resolve().name if Path(self.tokenizer).exists() else self.tokenizer
            unit = f"subtoken:{label}@{compute_tokenizer_fingerprint(self.tokenizer)}"
        cap = [] if self.cap is None else [f"cap={float(self.cap)!r}"]
        return "/".join(["levenshtein", unit, self.normalize, *cap])

    def _iter_batched(
        self, costs: Callable[[Sequence[_Item]], Sequence[_Cost]], items: Iterable[_Item]
    ) -> Iterator[tuple[_Item, _Cost]]:
        """Each item with its cost, in order; `costs` computes those of a block of items.

        Tokenizing and counting release the GIL, so blocks run in threads. A tokenizer's own threads would gain less:
        they are idle while records are read, and off after a fork or where `TOKENIZERS_PARALLELISM` is `false`.
        """
        if self.unit == "subtoken":
            load_tokenizer(self.tokenizer)  # once, before many threads ask for it
        for block, found in ordered_map(costs, _iter_blocks(items)):
            yield from zip(block, found, strict=True)

    def _cost_records(self, records: Sequence[EditRecord]) -> list[float | None]:
        known = [(record.response, record.edit) for record in records if record.edit is not None]
        costs = iter(self._cost_pairs(known))
        return [None if record.pending else next(costs) for record in records]

    def _cost_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Costs of pairs; equal texts cost 0 without being split, and each other text is split once."""
        changed = [(response, edit) for response, edit in pairs if response != edit]
        texts = list(dict.fromkeys(chain.from_iterable(changed)))
        units = dict(zip(texts, self._split_texts(texts), strict=True))
        before = [units[response] for response, _ in changed]
        after = [units[edit] for _, edit in changed]
        costs = map(self._normalize_distance, compute_edit_distances(before, after), before, after)
        return [0.0 if response == edit else next(costs) for response, edit in pairs]

    def _split_texts(self, texts: list[str]) -> Sequence[TextUnits]:
        match self.unit:
            case "subtoken":
                return tokenize_texts(texts, self.tokenizer)
            case "word":
                return [split_words(text) for text in texts]
            case "character":
                return texts

    def _normalize_distance(self, distance: int, before: TextUnits, after: TextUnits) -> float:
        """The cost of a changed text; a distance of 0 is a change that no unit shows, and counts as 1."""
        lengths = {"response": len(before), "edit": len(after), "longest": max(len(before), len(after)), "none": 1}
        cost = max(1, distance) / max(1, lengths[self.normalize])
        return cost if self.cap is None else min(cost, self.cap)


def _iter_blocks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    items = iter(items)
    while block := list(islice(items, COST_BATCH_SIZE)):
        yield block


COST_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
"""The quantiles a summary gives, from the smallest cost to the largest."""


@dataclass(frozen=True)
class CostSummary:
    """Counts and costs of a log.

    Attributes:
        rows: the number of records: `pending + accepted + edited`.
        pending: records without an edit yet; they are left out of the figures below.
        accepted: records whose response was kept exactly as it was (cost 0).
        edited: records whose response was changed.
        mean: the mean cost of accepted and edited rows; `None` when all rows are pending.
        median: their median cost; `None` likewise.
        quantiles: (level, cost) for each of `COST_QUANTILES`, interpolated linearly; empty when all rows are pending.
    """

    rows: int
    pending: int
    accepted: int
    edited: int
    mean: float | None
    median: float | None
    quantiles: tuple[tuple[float, float], ...]


def summarize_costs(costed: Iterable[tuple[EditRecord, float | None]]) -> CostSummary:
    """Summarise records with their costs, as `EditCost.iter_costs` gives them."""
    pending = accepted = 0
    costs = array("d")  # 8 bytes a row, so that millions of rows fit
    for record, cost in costed:
        if cost is None:
            pending += 1
            continue
        accepted += record.accepted
        costs.append(cost)
    values = np.asarray(costs)
    mean = float(np.mean(values)) if costs else None
    # From here on their order is free to change, which saves two copies.
    quantiles = np.quantile(values, COST_QUANTILES, overwrite_input=True).tolist() if costs else []
    return CostSummary(
        rows=pending + len(costs),
        pending=pending,
        accepted=accepted,
        edited=len(costs) - accepted,
        mean=mean,
        median=float(np.median(values, overwrite_input=True)) if costs else None,
        quantiles=tuple(zip(COST_QUANTILES, quantiles, strict=False)),
    )
