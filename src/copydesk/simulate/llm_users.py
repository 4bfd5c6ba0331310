"""The users of an experiment: scripts, and LLMs whose replies are cached and counted."""

import json
import os
from collections import Counter
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from copydesk.models.load import load_model
from copydesk.policies import CachedPolicy, LocalPolicy, OpenAIPolicy, Policy
from copydesk.policy_spec import PolicySpec, UpstreamKeys
from copydesk.simulate.config import ExperimentConfig
from copydesk.simulate.log_run import LogRun
from copydesk.simulate.run_folder import RunFolder
from copydesk.simulate.users import User, get_user
from copydesk.simulate.users.attention import get_attention
from copydesk.simulate.users.llm import LlmUser


class UserPool:
    """Opens users by name and counts the requests to LLMs.

    An LLM user is opened once. Several may be played by one model, as the paper's strong and weak user are: a model in
    this process is loaded once for all of them. Their replies are cached by model, prompt and seed.

    Attributes:
        keys: the API keys of the servers of all users and policies of the experiment.

    Raises:
        InputError: as `UpstreamKeys`.
    """

    def __init__(self, settings: ExperimentConfig, folder: RunFolder) -> None:
        self._settings = settings
        self._folder = folder
        self._llms: dict[str, LlmUser] = {}
        self._finished_stats: dict[str, dict[str, int]] = {}
        self._load_model = lru_cache(maxsize=None)(load_model)
        self.keys = UpstreamKeys([*settings.policies.items(), *settings.users.items()], (), os.environ)

    def __call__(self, name: str) -> User:
        """The user of that name: an LLM if the settings say so, else a script.

        The name also says which preferences an LLM user attends to in an interaction; see `get_attention`.

        Raises:
            InputError: there is no user of that name, or its model cannot be opened.
        """
        spec = self._settings.users.get(name)
        if spec is None:
            return get_user(name)
        if name not in self._llms:
            policy, identity = self._open_model(name, spec)
            self._llms[name] = LlmUser(
                name,
                CachedPolicy(policy, identity, self._folder.replies_path),
                attention=get_attention(name),
                max_new_tokens=self._settings.user_tokens,
                batch_size=self._settings.batch_size,
            )
        return self._llms[name]

    def _open_model(self, name: str, spec: str) -> tuple[Policy, str]:
        """The policy that plays a user, and the identity of its model in the cache."""
        parsed = PolicySpec.parse(spec)
        parsed.check_command("bench --user")
        if parsed.form == "server" and parsed.url is not None:
            key, requests = self.keys.find(name, parsed.url), self._settings.concurrency
            return OpenAIPolicy(name, parsed.model, parsed.url, api_key=key, concurrency=requests), spec
        model, tokenizer, info = self._load_model(spec)
        return LocalPolicy(name, model, tokenizer), f"{spec}@{info.weights_sha256 or info.revision}"

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
    """The requests to each LLM user and the counts of its replies, over all runs into the folder."""
    total: dict[str, Counter[str]] = {}
    lines = folder.usage_path.read_text(encoding="utf-8").splitlines() if folder.usage_path.exists() else []
    for line in lines:
        counts: dict[str, Any] = json.loads(line)
        name = counts.pop("user")
        del counts["cell"]
        total.setdefault(name, Counter()).update(counts)
    return {name: dict(counts) for name, counts in total.items()}
