"""Open the policy that a spec names: a local model, a model at a server, best-of-n, or a prompted policy."""

import os
from pathlib import Path

from copydesk.data.jsonl import load_log
from copydesk.errors import InputError
from copydesk.models.load import load_model
from copydesk.policies.base import Policy
from copydesk.policies.local import BestOfNPolicy, LocalPolicy
from copydesk.policies.openai_api import OpenAIPolicy
from copydesk.policies.prompted.base import Learner
from copydesk.policies.prompted.cipher import CipherPolicy
from copydesk.policies.prompted.icl import IclPolicy
from copydesk.policies.prompted.retrieval import RetrievalMemory, choose_encoder
from copydesk.policy_spec import PolicySpec, UpstreamKeys
from copydesk.training.cost_model.io import COST_MODEL_FOLDER, load_cost_model


def open_policy(name: str, spec: str, keys: UpstreamKeys | None = None) -> Policy:
    """Open a policy.

    Args:
        name: the policy's name.
        spec: any form of `copydesk.policy_spec.FORMS` but `vllm:FOLDER@URL`, which only the gateway opens. `MODEL` is a
            model or a policy's folder, as `load_model` takes it. Without `@COST_MODEL`, best-of-N uses the cost model
            in SPEC's folder.
        keys: the API keys of servers; default: those of the environment for this policy alone.

    Raises:
        InputError: the spec is malformed, the policy cannot be loaded, or the cost model's tokenizer is not the
            policy's.
    """
    parsed = PolicySpec.parse(spec)
    parsed.check_command("simulate")
    if parsed.form == "server" and parsed.url is not None:
        keys = keys or UpstreamKeys({name: spec}, (), os.environ)
        return OpenAIPolicy(name, parsed.model, parsed.url, api_key=keys.find(name, parsed.url))
    prompted = open_prompted_policy(name, spec, keys=keys)
    if prompted is not None:
        return prompted
    if parsed.inner is not None:
        return _open_best_of_n(name, parsed, parsed.inner.text)
    model, tokenizer, _ = load_model(spec)
    return LocalPolicy(name, model, tokenizer)


def open_prompted_policy(
    name: str, spec: str, encoder: str | None = None, keys: UpstreamKeys | None = None
) -> Learner | None:
    """Open a policy that learns from a log through its prompt, or return `None` if the spec is of another form.

    Args:
        name: the policy's name.
        spec: `icl-K:SPEC@LOG` puts K past edits into each prompt, `cipher-K:SPEC@LOG` a description of the taste behind
            K past edits. SPEC is what `open_policy` takes; the log follows the last `@`.
        encoder: a hub id or a folder for `SentenceEncoder`, which finds past edits. Default: the hidden states of
            SPEC's model, or of the embedded model if SPEC runs at a server.
        keys: as of `open_policy`.

    Raises:
        InputError: K is not a positive whole number, there is no log, none of its rows is edited or accepted, or SPEC
            or the encoder cannot be opened.
    """
    parsed = PolicySpec.parse(spec)
    if parsed.form not in ("icl", "cipher") or parsed.inner is None:
        return None
    log = Path(parsed.path).expanduser()
    if not log.is_file():
        usage = f"give {parsed.form}-K:SPEC@LOG.jsonl, such as {parsed.form}-3:embedded@log.jsonl"
        raise InputError(f"{spec}: there is no log {parsed.path!r}; {usage}")
    records = [record for record in load_log(log) if not record.pending]
    if not records:
        raise InputError(
            f"{parsed.path}: no row is edited or accepted, so there is nothing to learn from; give another log"
        )
    writer = open_policy(name, parsed.inner.text, keys)
    encodes = choose_encoder(writer, encoder)
    learner: Learner
    if parsed.form == "icl":
        learner = IclPolicy(name, writer, RetrievalMemory(encodes), parsed.count)
    else:
        learner = CipherPolicy(name, writer, RetrievalMemory(encodes), parsed.count)
    learner.learn(records)
    return learner


def _open_best_of_n(name: str, spec: PolicySpec, model_spec: str) -> BestOfNPolicy:
    cost_folder = spec.path or str(Path(model_spec) / COST_MODEL_FOLDER)
    model, tokenizer, _ = load_model(model_spec)
    cost_model, cost_tokenizer = load_cost_model(cost_folder)
    if cost_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise InputError(
            f"{spec.text}: the cost model in {cost_folder} reads other tokens than {model_spec} writes; train a cost "
            "model with this policy's tokenizer"
        )
    return BestOfNPolicy(name, LocalPolicy(name, model, tokenizer), cost_model, spec.count)
