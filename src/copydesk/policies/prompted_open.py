"""Opening the prompted policy that a word on the command line names."""

import re
from pathlib import Path

from copydesk.data.jsonl import load_log
from copydesk.errors import InputError
from copydesk.policies.prompted.cipher import CipherPolicy
from copydesk.policies.prompted.icl import IclPolicy
from copydesk.policies.prompted.learner import Learner
from copydesk.policies.prompted.memory import RetrievalMemory
from copydesk.policies.prompted.retrieval import choose_encoder

_PROMPTED_SPEC = re.compile(r"(icl|cipher)-([^:/]*):(.*)", re.DOTALL)


def open_prompted_policy(name: str, spec: str, encoder: str | None = None) -> Learner | None:
    """Open a policy that has learnt from a log, or `None` if the spec is not of one.

    Args:
        name: what it is to be called.
        spec: `icl-K:SPEC@LOG.jsonl` or `cipher-K:SPEC@LOG.jsonl`: SPEC as `open_policy` takes it, with K past edits,
            or what K of them say of the taste, in each prompt. The log is what follows the last `@`.
        encoder: what retrieves: a hub id or folder for `SentenceEncoder`. Without one: the states of SPEC's model, or
            of the embedded model where SPEC runs elsewhere.

    Raises:
        InputError: K is no number of at least 1, there is no log, nothing in it is edited or accepted, or SPEC or the
            encoder cannot be opened.
    """
    from copydesk.policies.open import open_policy  # which itself asks here whether a spec is of a prompted policy

    found = _PROMPTED_SPEC.fullmatch(spec)
    if found is None:
        return None
    kind, number = found[1], found[2]
    writes, _, path = found[3].rpartition("@")
    usage = f"give {kind}-K:SPEC@LOG.jsonl, such as {kind}-3:embedded@log.jsonl"
    if re.fullmatch(r"0*[1-9][0-9]{0,5}", number) is None:
        raise InputError(f"{spec}: K is {number!r}, not a whole number from 1 to 999999; {usage}")
    if not writes:
        raise InputError(f"{spec}: it does not say which log to learn from; {usage}")
    log = Path(path).expanduser()
    if not log.is_file():
        raise InputError(f"{spec}: there is no log {path!r}; {usage}")
    records = [record for record in load_log(log) if not record.pending]
    if not records:
        raise InputError(f"{path}: no row is edited or accepted, so there is nothing to learn from; give another log")
    writer = open_policy(name, writes)
    encodes = choose_encoder(writer, encoder)
    learner: Learner
    if kind == "icl":
        learner = IclPolicy(name, writer, RetrievalMemory(encodes), int(number))
    else:
        learner = CipherPolicy(name, writer, RetrievalMemory(encodes), int(number))
    learner.learn(records)
    return learner
