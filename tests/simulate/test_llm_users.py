"""Users of an experiment opened by name: which model plays them, and which preferences they attend to."""

from pathlib import Path
from typing import Any

import pytest

import copydesk.simulate.llm_users
from copydesk.policies import CachedPolicy, LocalPolicy, OpenAIPolicy, Policy
from copydesk.simulate.config import ExperimentConfig
from copydesk.simulate.llm_users import UserPool
from copydesk.simulate.run_folder import RunFolder
from copydesk.simulate.users.attention import Attention
from copydesk.simulate.users.llm import LlmUser


def open_users(tmp_path: Path, users: dict[str, str], **settings: Any) -> dict[str, LlmUser]:
    config = ExperimentConfig(users=users, **settings)
    folder = RunFolder(tmp_path / "out")
    folder.prepare(config, resume=False)
    pool = UserPool(config, folder)
    opened = {name: pool(name) for name in users}
    assert all(pool(name) is user for name, user in opened.items())
    return {name: user for name, user in opened.items() if isinstance(user, LlmUser)}


def get_model(user: LlmUser) -> Policy:
    assert isinstance(user.policy, CachedPolicy)
    return user.policy.policy


def test_the_name_of_an_llm_user_says_what_it_attends_to(tmp_path: Path) -> None:
    names = ("strong", "weak", "weak-3", "weak-0.35", "transfer", "ann")
    users = open_users(tmp_path, dict.fromkeys(names, "qwen@http://127.0.0.1:1/v1"), user_tokens=99)
    assert {name: user.attention for name, user in users.items()} == {
        "strong": Attention(),
        "weak": Attention(count=2),
        "weak-3": Attention(count=3),
        "weak-0.35": Attention(probability=0.35),
        "transfer": Attention(),
        "ann": Attention(),
    }


def test_one_model_in_this_process_plays_several_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load = copydesk.simulate.llm_users.load_model

    def counted(spec: str) -> Any:
        loaded.append(spec)
        return load(spec)

    monkeypatch.setattr(copydesk.simulate.llm_users, "load_model", counted)
    users = open_users(tmp_path, {"strong": "embedded", "weak": "embedded"})
    strong, weak = get_model(users["strong"]), get_model(users["weak"])
    assert isinstance(strong, LocalPolicy) and isinstance(weak, LocalPolicy)
    assert loaded == ["embedded"] and strong.model is weak.model
    assert (strong.name, weak.name) == ("strong", "weak")


def test_each_user_at_a_server_has_its_own_key_and_the_concurrency_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPYDESK_KEY_STRONG", "key-1")
    monkeypatch.setenv("COPYDESK_KEY_WEAK", "key-2")
    spec = "qwen@http://127.0.0.1:1/v1"
    users = open_users(tmp_path, {"strong": spec, "weak": spec}, concurrency=3)
    for name, key in (("strong", "key-1"), ("weak", "key-2")):
        policy = get_model(users[name])
        assert isinstance(policy, OpenAIPolicy)
        assert (policy.model, policy._api_key, policy._concurrency) == ("qwen", key, 3)
