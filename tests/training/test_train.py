import shutil
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from copydesk.data.cost import EditCost
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.models.load import load_model
from copydesk.training.config import CostModelConfig, RlConfig, TrainConfig
from copydesk.training.cost_model.io import COST_MODEL_FOLDER, load_cost_model, read_cost_model
from copydesk.training.encode import encode_log, split_triples
from copydesk.training.logprobs import score_triples
from copydesk.training.policy_file import compute_data_sha256, read_policy_file
from copydesk.training.train import train, train_all

QUICK = TrainConfig(
    method="early", max_steps=20, batch_size=12, accumulate=1, learning_rate=5e-3, lora_r=4, held_out=0.25
)
QUICK_ONCE = QUICK.replace(max_steps=1)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "dpo", "early"])
def test_the_adapter_loads_in_plain_peft_and_is_the_trained_policy(
    method: str, records: list[EditRecord], model_folder: Path, tmp_path: Path
) -> None:
    report = train(records, str(model_folder), QUICK.replace(method=method), tmp_path / "policy")
    loaded = AutoPeftModelForCausalLM.from_pretrained(str(report.folder)).eval()
    base = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(report.folder)
    triples = encode_log(records, tokenizer, 1024).triples
    now, before = score_triples(loaded, triples), score_triples(base, triples)
    assert not torch.allclose(now.edit, before.edit, atol=0.1)
    attached = PeftModel.from_pretrained(base, str(report.folder)).eval()
    assert torch.allclose(score_triples(attached, triples).edit, now.edit)
    figures = report.policy.after
    assert figures["loss"] < report.policy.before["loss"]
    # The figures in policy.json are those of the policy as it was written.
    held_out = split_triples(triples, QUICK.held_out, QUICK.seed)[1]
    rows = [triples.index(triple) for triple in held_out]
    assert figures["logp/edit"] == pytest.approx(now.edit[rows].mean().item(), rel=1e-4)
    assert report.policy.before["logp/edit"] == pytest.approx(before.edit[rows].mean().item(), rel=1e-4)


def test_full_training_writes_an_ordinary_model(records: list[EditRecord], model_folder: Path, tmp_path: Path) -> None:
    settings = QUICK.replace(full=True, max_steps=5)
    report = train(records, str(model_folder), settings, tmp_path / "policy")
    model = AutoModelForCausalLM.from_pretrained(report.folder)
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    assert not torch.equal(model.lm_head.weight, base.lm_head.weight)
    assert model.config.use_cache is True
    assert load_model(str(report.folder))[2].kind == "folder"


def test_policy_json_says_how_it_was_made(records: list[EditRecord], model_folder: Path, tmp_path: Path) -> None:
    report = train(records, str(model_folder), QUICK.replace(max_steps=2), tmp_path / "early-1")
    policy = read_policy_file(report.folder)
    assert policy == report.policy
    assert (policy.name, policy.method) == ("early-1", "early")
    assert policy.base.spec == str(model_folder) and policy.base.weights_sha256
    assert policy.data.sha256 == compute_data_sha256(records)
    assert (policy.data.rows, policy.data.edited, policy.data.pending, policy.data.held_out) == (12, 9, 1, 3)
    assert policy.settings["max_steps"] == 2
    assert {"loss", "loss/supervised", "loss/preference", "margin"} <= policy.history[0].keys()
    assert sorted(file.name for file in report.folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "policy.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_whoever_may_read_the_settings_may_read_the_weights(
    records: list[EditRecord], model_folder: Path, tmp_path: Path
) -> None:
    folder = train(records, str(model_folder), QUICK.replace(max_steps=1), tmp_path / "policy").folder
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1


@pytest.mark.slow
def test_the_same_run_gives_the_same_adapter(records: list[EditRecord], model_folder: Path, tmp_path: Path) -> None:
    settings = QUICK.replace(max_steps=3)
    folders = [train(records, str(model_folder), settings, tmp_path / name).folder for name in ("a", "b")]
    once, again = (folder / "adapter_model.safetensors" for folder in folders)
    assert once.read_bytes() == again.read_bytes()


def test_nothing_held_out_nothing_measured(records: list[EditRecord], model_folder: Path, tmp_path: Path) -> None:
    settings = QUICK.replace(max_steps=1, held_out=0.0)
    policy = train(records, str(model_folder), settings, tmp_path / "policy").policy
    assert (policy.before, policy.after, policy.data.held_out) == ({}, {}, 0)


def accepted(record: EditRecord) -> EditRecord:
    return record.model_copy(update={"edit": record.response})


def pending(record: EditRecord) -> EditRecord:
    return record.model_copy(update={"edit": None})


@pytest.mark.parametrize("method", ["sft", "dpo", "early"])
@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda _: None, "empty"), (accepted, "nobody edited"), (pending, "pending")],
    ids=["empty", "all accepted", "all pending"],
)
def test_a_log_that_teaches_nothing_is_refused_before_anything_is_loaded(
    method: str, change, said: str, records: list[EditRecord], tmp_path: Path
) -> None:
    log = [row for row in map(change, records[:5]) if row is not None]
    with pytest.raises(InputError, match=said):
        train(log, str(tmp_path / "no model"), TrainConfig(method=method), tmp_path / "policy")
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_is_not_a_base(records: list[EditRecord], model_folder: Path, tmp_path: Path) -> None:
    first = train(records, str(model_folder), QUICK.replace(max_steps=1), tmp_path / "first")
    with pytest.raises(InputError, match="merge"):
        train(records, str(first.folder), QUICK, tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_a_disk_that_fills_up_at_the_end_loses_nothing(
    records: list[EditRecord], model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PeftModel, "save_pretrained", full)
    with pytest.raises(InputError, match=r"No space left.*--resume"):
        train(records, str(model_folder), QUICK_ONCE, tmp_path / "policies" / "one")
    monkeypatch.undo()
    assert not (tmp_path / "policies" / "one").exists()
    resumed = train(records, str(model_folder), QUICK_ONCE, tmp_path / "policies" / "one", resume=True)
    assert [entry.name for entry in (tmp_path / "policies").iterdir()] == ["one"]
    assert resumed.policy.history


def test_all_policies_do_not_go_into_one(records: list[EditRecord], model_folder: Path, tmp_path: Path) -> None:
    train(records, str(model_folder), QUICK_ONCE, tmp_path / "policy")
    before = sorted(entry.name for entry in (tmp_path / "policy").iterdir())
    with pytest.raises(InputError, match="--method all"):
        train_all(records, str(model_folder), QUICK_ONCE, tmp_path / "policy")
    assert sorted(entry.name for entry in (tmp_path / "policy").iterdir()) == before


def test_a_model_that_cannot_be_packed_is_trained_all_the_same(
    records: list[EditRecord], plain_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(plain_tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=8,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(tmp_path / "model")
    plain_tokenizer.save_pretrained(tmp_path / "model")
    policy = train(records, str(tmp_path / "model"), QUICK, tmp_path / "policy").policy
    assert policy.after["loss"] < policy.before["loss"]


RL = QUICK.replace(
    method="rl",
    batch_size=8,
    max_steps=2,
    cost=CostModelConfig(members=1, epochs=2, lora_r=2),
    rl=RlConfig(responses=8, generations=2, max_new_tokens=8),
)


@pytest.mark.slow
def test_rl_makes_a_cost_model_and_policy_json_names_it(
    records: list[EditRecord], model_folder: Path, tmp_path: Path
) -> None:
    report = train(records, str(model_folder), RL, tmp_path / "rl-1")
    policy = read_policy_file(report.folder)
    assert policy == report.policy
    made = read_cost_model(report.folder / COST_MODEL_FOLDER)
    assert policy.cost_model == made.to_ref()
    assert policy.cost_model.sha256 == made.weights_sha256
    assert made.metric == EditCost(cap=3.0, tokenizer=str(model_folder)).name
    assert (made.rows, made.held_out, made.base.spec) == (9, 3, str(model_folder))
    assert {"loss", "cost/fit", "cost/pessimistic", "kl/own", "logp/edit", "margin"} <= policy.after.keys()
    assert policy.before.keys() == policy.after.keys()
    assert policy.before["kl/own"] == 0
    assert policy.before["loss"] == pytest.approx(policy.before["cost/pessimistic"])
    assert policy.after["loss"] == pytest.approx(policy.after["cost/pessimistic"] + 0.1 * policy.after["kl/own"])
    assert policy.settings["cost.members"] == 1 and policy.settings["rl.generations"] == 2
    AutoPeftModelForCausalLM.from_pretrained(str(report.folder))
    load_cost_model(report.folder / COST_MODEL_FOLDER)
    assert not (tmp_path / "rl-1.unfinished").exists()


@pytest.mark.slow
def test_a_cost_model_can_be_used_again_with_its_own_settings(
    records: list[EditRecord], model_folder: Path, tmp_path: Path
) -> None:
    first = train(records, str(model_folder), RL.replace(max_steps=1), tmp_path / "one").folder
    again = RL.replace(cost=CostModelConfig(), rl=RL.rl.replace(cost_model=str(first / COST_MODEL_FOLDER)))
    policy = train(records, str(model_folder), again, tmp_path / "two").policy
    assert policy.cost_model == read_policy_file(first).cost_model
    assert policy.settings["cost.members"] == 1
    weights = [tmp_path / name / COST_MODEL_FOLDER / "cost_model.safetensors" for name in ("one", "two")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
def test_a_cost_model_of_another_model_is_refused(
    records: list[EditRecord], model_folder: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    first = train(records, str(model_folder), RL.replace(max_steps=1), tmp_path / "one").folder
    other = tmp_path / "other"
    shutil.copytree(model_folder, other)
    tiny_model.lm_head.weight.data += 1
    tiny_model.save_pretrained(other)
    settings = RL.replace(rl=RL.rl.replace(cost_model=str(first / COST_MODEL_FOLDER)))
    with pytest.raises(InputError, match=r"--cost-model .* not") as error:
        train(records, str(other), settings, tmp_path / "two")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_rl_with_all_weights_writes_an_ordinary_model(
    records: list[EditRecord], model_folder: Path, tmp_path: Path
) -> None:
    settings = RL.replace(full=True, learning_rate=1e-3)
    report = train(records, str(model_folder), settings, tmp_path / "policy")
    model = AutoModelForCausalLM.from_pretrained(report.folder)
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    assert load_model(str(report.folder))[2].kind == "folder"
    own = {"_name_or_path": None}
    assert model.config.to_dict() | own == base.config.to_dict() | own


def test_the_early_ensemble_can_learn_from_cost(records: list[EditRecord], model_folder: Path, tmp_path: Path) -> None:
    policy = train(records, str(model_folder), QUICK.replace(lambda_cost=1.0), tmp_path / "policy").policy
    assert policy.after["loss/cost"] < policy.before["loss/cost"]
    assert policy.settings["cost.c_max"] == 3.0
    assert policy.cost_model is None
    assert "loss/cost" in policy.final


def test_a_row_whose_cost_is_none_is_named_before_anything_is_trained(
    records: list[EditRecord], model_folder: Path, tmp_path: Path
) -> None:
    rows = [
        record.model_copy(update={"metadata": {"minutes": -1 if i == 4 else 2}}) for i, record in enumerate(records)
    ]
    settings = RL.replace(cost=CostModelConfig(source="field:minutes"))
    with pytest.raises(InputError, match="row 'row-Ed'"):
        train(rows, str(model_folder), settings, tmp_path / "policy")
    assert not (tmp_path / "policy").exists()
