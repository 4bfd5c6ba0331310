import shutil
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from copydesk.data.jsonl import write_jsonl
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.policies import BestOfNPolicy, LocalPolicy, OpenAIPolicy, Sampling, open_policy
from copydesk.policies.prompted import CipherPolicy, IclPolicy
from copydesk.training.config import CostModelConfig, RlConfig, TrainConfig
from copydesk.training.train import train

RL = TrainConfig(
    method="rl", max_steps=1, batch_size=4, accumulate=1, lora_r=2,
    cost=CostModelConfig(members=1, epochs=1, lora_r=2), rl=RlConfig(responses=4, generations=2, max_new_tokens=4),
)  # fmt: skip


@pytest.fixture
def rl(records: list[EditRecord], model_folder: Path, tmp_path: Path) -> Path:
    return train(records, str(model_folder), RL, tmp_path / "rl").folder


def test_a_model_is_a_policy(model_folder: Path) -> None:
    policy = open_policy("base", str(model_folder))
    assert isinstance(policy, LocalPolicy) and policy.name == "base"


def test_a_model_at_a_server_is_a_policy_with_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPYDESK_KEY_BIG", "not a key")
    with pytest.raises(InputError, match=r"the server's key in COPYDESK_KEY_BIG"):  # it was read
        open_policy("big", "qwen@https://host/v1")
    monkeypatch.setenv("COPYDESK_KEY_BIG", "sk-1")
    policy = open_policy("big", "Qwen/Qwen3-32B@latest@http://127.0.0.1:8000/v1")
    assert isinstance(policy, OpenAIPolicy)
    assert (policy.name, policy.model, policy.url) == ("big", "Qwen/Qwen3-32B@latest", "http://127.0.0.1:8000/v1")


def test_best_of_n_needs_its_model_here() -> None:
    with pytest.raises(InputError, match=r"a model in this process, not with 'qwen@https://host/v1'"):
        open_policy("best", "best-of-3:qwen@https://host/v1")


def test_best_of_n_takes_the_cost_model_of_the_folder_or_the_one_named(rl: Path, model_folder: Path) -> None:
    for spec in (f"best-of-3:{rl}", f"best-of-3:{model_folder}@{rl / 'cost_model'}"):
        policy = open_policy("best", spec)
        assert isinstance(policy, BestOfNPolicy) and (policy.name, policy.n) == ("best", 3)
        assert len(policy.respond(["Tell Ada"], [(1,)], Sampling(max_new_tokens=3))) == 1


def test_without_a_cost_model_it_says_where_it_looked(model_folder: Path) -> None:
    with pytest.raises(InputError, match=r"cost_model\.json"):
        open_policy("best", f"best-of-3:{model_folder}")


def test_a_cost_model_that_reads_other_tokens_is_refused(
    rl: Path, model_folder: Path, tmp_path: Path, plain_tokenizer: PreTrainedTokenizerFast
) -> None:
    other = tmp_path / "other"
    shutil.copytree(model_folder, other)
    plain_tokenizer.add_tokens(["<new>"])
    plain_tokenizer.save_pretrained(other)
    with pytest.raises(InputError, match="other tokens"):
        open_policy("best", f"best-of-2:{other}@{rl / 'cost_model'}")


def test_a_policy_with_a_log_in_its_prompt_is_a_policy(model_folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    write_jsonl(log, [EditRecord(id="1", context="Tell Ada", response="Hi.", edit="Dear Ada.")])
    for spec, kind in ((f"icl-2:{model_folder}@{log}", IclPolicy), (f"cipher-1:{model_folder}@{log}", CipherPolicy)):
        policy = open_policy("learner", spec)
        assert isinstance(policy, kind) and policy.name == "learner"
        assert len(policy.respond(["Tell Ada"], [(1,)], Sampling(max_new_tokens=3))) == 1
    with pytest.raises(InputError, match=r"there is no log"):
        open_policy("learner", f"icl-2:{model_folder}@{tmp_path / 'none.jsonl'}")
