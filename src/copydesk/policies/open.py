"""Opening the policy that a word on the command line names."""

import re
from pathlib import Path

from copydesk.errors import InputError
from copydesk.learn.cost.folder import FOLDER, load_cost_model
from copydesk.learn.models import load_model
from copydesk.policies.best_of_n import BestOfN
from copydesk.policies.local import LocalPolicy
from copydesk.policies.policy import Policy

_BEST = re.compile(r"best-of-(\d+):(.+)")


def open_policy(name: str, spec: str) -> Policy:
    """Load a policy.

    Args:
        name: what it is to be called.
        spec: a model or a policy's folder, as `load_model` takes it; or `best-of-N:SPEC@COST_MODEL`, the one of N
            responses of SPEC that a cost model finds cheapest. Without `@COST_MODEL`: the one in SPEC's folder.

    Raises:
        InputError: it cannot be loaded, or the cost model reads other tokens than the policy writes.
    """
    found = _BEST.fullmatch(spec)
    if found is None:
        model, tokenizer, _ = load_model(spec)
        return LocalPolicy(name, model, tokenizer)
    drafts, at = int(found[1]), found[2].rpartition("@")
    own, costs = (at[0], at[2]) if at[1] else (at[2], str(Path(at[2]) / FOLDER))
    model, tokenizer, _ = load_model(own)
    cost_model, reads = load_cost_model(costs)
    if reads.get_vocab() != tokenizer.get_vocab():
        raise InputError(f"{spec}: the cost model in {costs} reads other tokens than {own} writes; make one for it")
    return BestOfN(name, LocalPolicy(name, model, tokenizer), cost_model, drafts)
