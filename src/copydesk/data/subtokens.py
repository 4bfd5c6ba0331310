"""The sub-tokens of a model, read from its tokenizer file alone: no model and no torch."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from copydesk import embedded, model_registry
from copydesk.errors import InputError


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
    """Load a tokenizer once per process; `name` is as for `subtokens`.

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
    except Exception as fault:  # the library and the hub's client raise many kinds, bare `Exception` among them
        first_line = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise InputError(
            f"tokenizer {name!r} cannot be loaded ({first_line}); "
            "give a folder with a tokenizer.json, such a file, or a name the Hugging Face hub knows and can serve"
        ) from None
    # A tokenizer.json may ask for both, and a cost must see all of the text and nothing else.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@lru_cache(maxsize=8)
def compute_tokenizer_fingerprint(name: str) -> str:
    """Eight hex digits that change when what a tokenizer does changes; `name` is as for `subtokens`.

    Raises:
        InputError: as `load_tokenizer`.
    """
    return hashlib.sha256(load_tokenizer(name).to_str().encode()).hexdigest()[:8]


def _find_lone_surrogate_excerpt(texts: Sequence[str]) -> str:
    """The first text that UTF-8 cannot hold, shortened for a message."""
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as fault:
            return ascii(text[max(0, fault.start - 20) : fault.start + 1])
    return "a text"
