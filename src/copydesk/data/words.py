"""Words as the Penn Treebank cuts them: contractions and punctuation are tokens of their own.

The rules are those of NLTK's `NLTKWordTokenizer` (https://www.nltk.org/api/nltk.tokenize.destructive.html), in one
expression and with three differences. Quotes stay as they are written, so that the words hold every character of the
text except its white space. Every period that ends a word is a token, where `nltk.word_tokenize` first asks a trained
model where sentences end. Each Chinese or Japanese character is a word, as nothing separates words there.
"""

import re
from functools import lru_cache

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


_MAX_CACHED_CHARACTERS = 40  # characters; what is longer is hardly met again


def split_words(text: str) -> list[str]:
    """Cut a text into words, in order; joined they are the text without its white space."""
    # Nothing looks across white space, so each piece is cut by itself, and the usual ones once for all.
    found: list[str] = []
    for piece in text.split():
        found += _split_piece(piece) if len(piece) <= _MAX_CACHED_CHARACTERS else _TOKEN.findall(piece)
    return found


@lru_cache(maxsize=1 << 16)
def _split_piece(piece: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(piece))
