"""The users of a benchmark: scripts, and LLMs whose answers are cached."""

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from copydesk.models.load import load_model
from copydesk.policies import CachedPolicy, LocalPolicy, OpenAIPolicy, Policy, open_policy
from copydesk.policy_spec import PolicySpec
from copydesk.simulate.config import ExperimentConfig
from copydesk.simulate.log_run import LogRun
from copydesk.simulate.run_folder import RunFolder
from copydesk.simulate.users import User, get_user
from copydesk.simulate.users.llm import LlmUser


class UserPool:
    """Opens users by name, each LLM once, and counts the requests to LLMs."""

    def __init__(self, settings: ExperimentConfig, folder: RunFolder) -> None:
        self._settings = settings
        self._folder = folder
        self._llms: dict[str, LlmUser] = {}
        self._finished_stats: dict[str, dict[str, int]] = {}

    def __call__(self, name: str) -> User:
        """The user of that name: an LLM if the settings say so, else a script.

        Raises:
            InputError: there is none of that name, or its model cannot be opened.
        """
        spec = self._settings.users.get(name)
        if spec is None:
            return get_user(name)
        if name not in self._llms:
            policy, identity = _open_user_model(name, spec)
            cached = CachedPolicy(policy, identity, self._folder.replies_path)
            tokens, rows = self._settings.user_tokens, self._settings.batch_size
            self._llms[name] = LlmUser(name, cached, max_new_tokens=tokens, batch_size=rows)
        return self._llms[name]

    def mark_finished(self) -> None:
        """Keep the counts so far, of work that is in the folder; unfinished work is repeated and counted again."""
        self._finished_stats = {name: user.stats.to_json() for name, user in self._llms.items()}

    def append_usage(self, cell: LogRun) -> None:
        """Add a line for each LLM user to the folder's `usage.jsonl`."""
        with self._folder.usage_path.open("a", encoding="utf-8") as file:
            for name, user in self._llms.items():
                assert isinstance(user.policy, CachedPolicy)
                asked, of = user.policy, user.policy.policy
                requests = asdict(of.usage) if isinstance(of, OpenAIPolicy) else {"requests": asked.misses}
                line = {
                    "cell": cell.name,
                    "user": name,
                    "known": asked.hits,
                    **requests,
                    **self._finished_stats.get(name, {}),
                }
                file.write(json.dumps(line) + "\n")


def read_llm_usage(folder: RunFolder) -> dict[str, dict[str, int]]:
    """What each LLM user was asked and answered, over all runs into the folder."""
    total: dict[str, Counter[str]] = {}
    lines = folder.usage_path.read_text(encoding="utf-8").splitlines() if folder.usage_path.exists() else []
    for line in lines:
        counts: dict[str, Any] = json.loads(line)
        name = counts.pop("user")
        del counts["cell"]
        total.setdefault(name, Counter()).update(counts)
    return {name: dict(counts) for name, counts in total.items()}


def _open_user_model(name: str, spec: str) -> tuple[Policy, str]:
    """A user's model, and what tells its answers from another's."""
    parsed = PolicySpec.parse(spec)
    parsed.check_command("bench --user")
    if parsed.form == "server":
        return open_policy(name, spec), spec
    model, tokenizer, info = load_model(spec)
    return LocalPolicy(name, model, tokenizer), f"{spec}@{info.weights_sha256 or info.revision}"
