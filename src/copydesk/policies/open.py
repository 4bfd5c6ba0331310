"""Opening the policy that a word on the command line names.

Opening the prompted policy that a word on the command line names.
"""

import re
from pathlib import Path

from copydesk.data.jsonl import load_log
from copydesk.errors import InputError
from copydesk.models.load import load_model
from copydesk.policies.base import Policy
from copydesk.policies.local import BestOfNPolicy, LocalPolicy
from copydesk.policies.openai_api import OpenAIPolicy, find_api_key
from copydesk.policies.prompted.base import Learner
from copydesk.policies.prompted.cipher import CipherPolicy
from copydesk.policies.prompted.icl import IclPolicy
from copydesk.policies.prompted.retrieval import RetrievalMemory, choose_encoder
from copydesk.training.cost_model.io import COST_MODEL_FOLDER, load_cost_model

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
    # which itself asks here whether a spec is of a prompted policy

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


_BEST_OF_N_SPEC = re.compile(r"best-of-(\d+):(.+)")
_OPENAI_SPEC = re.compile(r"(.+)@(https?://[^\s@]+)")


def open_policy(name: str, spec: str) -> Policy:
    """Load a policy.

    Args:
        name: what it is to be called.
        spec: a model or a policy's folder, as `load_model` takes it; or `MODEL@URL`, a model at an OpenAI-compatible
            server, such as `gpt-4o-mini@https://api.openai.com/v1`, with the key that `find_api_key` finds; or
            `best-of-N:SPEC@COST_MODEL`, the one of N responses of SPEC, in this process, that a cost model finds
            cheapest. Without `@COST_MODEL`: the one in SPEC's folder. And `icl-K:SPEC@LOG` or `cipher-K:SPEC@LOG`,
            which learn from a log through the prompt; see `open_prompted_policy`.

    Raises:
        InputError: it cannot be loaded, or the cost model reads other tokens than the policy writes.
    """
    prompted = open_prompted_policy(name, spec)
    if prompted is not None:
        return prompted
    best, remote = _BEST_OF_N_SPEC.fullmatch(spec), _OPENAI_SPEC.fullmatch(spec)
    if best is not None and remote is not None:
        raise InputError(f"{spec}: best-of-n drafts with a model in this process, not one at a server; name a folder")
    if remote is not None:
        return OpenAIPolicy(name, remote[1], remote[2], api_key=find_api_key(name, remote[2]))
    if best is None:
        model, tokenizer, _ = load_model(spec)
        return LocalPolicy(name, model, tokenizer)
    drafts, at = int(best[1]), best[2].rpartition("@")
    own, costs = (at[0], at[2]) if at[1] else (at[2], str(Path(at[2]) / COST_MODEL_FOLDER))
    model, tokenizer, _ = load_model(own)
    cost_model, reads = load_cost_model(costs)
    if reads.get_vocab() != tokenizer.get_vocab():
        raise InputError(f"{spec}: the cost model in {costs} reads other tokens than {own} writes; make one for it")
    return BestOfNPolicy(name, LocalPolicy(name, model, tokenizer), cost_model, drafts)
