"""Kinds of personal data and secrets, and their spans in a text."""

from typing import Literal, NamedTuple, get_args

RedactionKind = Literal["KEY", "IBAN", "CARD", "WALLET", "EMAIL", "SSN", "MAC", "IP", "PHONE"]
"""Kinds that are replaced; a placeholder is the kind and a number, such as `[EMAIL_1]`.

`KEY`: API keys, tokens, private keys, passwords in URLs. `IBAN`: bank accounts. `CARD`: credit cards. `WALLET`: Bitcoin
addresses. `SSN`: US social security numbers. `MAC` and `IP`: network addresses.
"""

REDACTION_KINDS: tuple[RedactionKind, ...] = get_args(RedactionKind)
"""All kinds; of two that overlap in a text, the one that comes first here is taken."""


class RedactionSpan(NamedTuple):
    """A finding in a text, from `start` up to `end`."""

    kind: RedactionKind
    start: int
    end: int
