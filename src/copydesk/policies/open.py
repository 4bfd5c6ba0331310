"""Opening the policy that a word on the command line names."""

import re
from pathlib import Path

from copydesk.errors import InputError
from copydesk.models.load import load_model
from copydesk.policies.base import Policy
from copydesk.policies.best_of_n import BestOfNPolicy
from copydesk.policies.local import LocalPolicy
from copydesk.policies.openai_api import OpenAIPolicy, find_api_key
from copydesk.policies.prompted_open import open_prompted_policy
from copydesk.training.cost_model.io import COST_MODEL_FOLDER, load_cost_model

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
