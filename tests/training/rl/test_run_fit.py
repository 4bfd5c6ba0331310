import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback

import copydesk.training.rl.trainer as trainer_module
from copydesk.errors import InputError
from copydesk.models.chat import find_end_of_turn
from copydesk.models.generate import generate
from copydesk.training.config import RlConfig, TrainConfig
from copydesk.training.encode import Triple
from copydesk.training.logprobs import score_triples
from copydesk.training.rl.run import fit_rl
from copydesk.training.rl.trainer import RlTrainer, predict_costs, resolve_max_new_tokens


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def as_if_ended(cost_model: Any, contexts: Any, responses: Any, end: Any) -> Any:
    """A random model hardly ever ends its turn, and all that is cut off costs the same."""
    return predict_costs(cost_model, contexts, [one._replace(ended=True) for one in responses], end)


def mean_cost(model: Any, tokenizer: PreTrainedTokenizerFast, cost_model: Any, triples: list[Triple]) -> float:
    contexts = [triple.context for triple in triples for _ in range(8)]
    end = find_end_of_turn(tokenizer)
    written = generate(model, contexts, [(9, i) for i in range(len(contexts))], end=end[-1], max_new_tokens=12)
    shares = [sum(token >= cost_model.dear_from for token in one.tokens) / max(1, len(one.tokens)) for one in written]
    return sum(shares) / len(shares)


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_the_policy_learns_to_write_what_is_predicted_to_be_cheap(
    full: bool, tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, costed: list[Triple],
    cheap_low_tokens: Any, settings: TrainConfig, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(trainer_module, "predict_costs", as_if_ended)
    tiny_model.lm_head.weight.data *= 10  # so that an adapter below it can make a difference
    before = state(tiny_model)
    generation = copy.deepcopy(tiny_model.generation_config)
    settings = settings.replace(full=full, max_steps=60, learning_rate=1e-2, beta=0.01)
    fitted = fit_rl(tiny_model, plain_tokenizer, costed, cheap_low_tokens, settings)
    now = mean_cost(fitted.model, plain_tokenizer, cheap_low_tokens, costed)
    assert now < 0.8 * mean_cost(tiny_model, plain_tokenizer, cheap_low_tokens, costed)
    # π_ref is as it was, and so is all that TRL puts into a model.
    assert all(torch.equal(before[name], weight) for name, weight in state(tiny_model).items())
    assert "forward" not in tiny_model.__dict__
    assert tiny_model.config.pad_token_id is None
    assert tiny_model.generation_config.to_dict() == generation.to_dict()
    assert plain_tokenizer.pad_token is None
    assert isinstance(fitted.model, PeftModel) is not full
    assert not fitted.model.training
    assert {"cost/fit", "cost/pessimistic", "kl_per_token", "step"} <= fitted.history[0].keys()
    bare = fitted.model.get_base_model() if isinstance(fitted.model, PeftModel) else fitted.model
    assert "forward" not in bare.__dict__


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_where_all_cost_the_same_the_policy_stays_the_reference(
    full: bool, tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, costed: list[Triple],
    constant: Any, settings: TrainConfig,
) -> None:  # fmt: skip
    constant.settings = constant.settings.replace(c_max=0.6)
    settings = settings.replace(full=full, max_steps=6)
    fitted = fit_rl(tiny_model, plain_tokenizer, costed, constant, settings)
    ours, theirs = score_triples(fitted.model, costed), score_triples(tiny_model, costed)
    assert (ours.edit - theirs.edit).abs().max() < 1e-3
    assert all(abs(entry["kl_per_token"]) < 1e-6 for entry in fitted.history)


def test_a_run_whose_responses_are_all_cut_off_warns(
    tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, costed: list[Triple], cheap_low_tokens: Any,
    settings: TrainConfig, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    never = settings.replace(max_steps=1, rl=settings.rl.replace(max_new_tokens=1))
    fit_rl(tiny_model, plain_tokenizer, costed, cheap_low_tokens, never)
    assert "every response was cut off at 1 tokens" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_the_larger_beta_the_nearer_the_policy_stays(
    full: bool, tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, costed: list[Triple],
    cheap_low_tokens: Any, settings: TrainConfig, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(trainer_module, "predict_costs", as_if_ended)
    tiny_model.lm_head.weight.data *= 10
    distances = []
    for beta in (1e-4, 1.0):
        own = settings.replace(full=full, max_steps=15, beta=beta)
        fitted = fit_rl(tiny_model, plain_tokenizer, costed, cheap_low_tokens, own)
        distances.append(fitted.history[-1]["kl_per_token"])
    assert distances[0] > 2 * distances[1]


def test_no_telemetry_is_sent(
    tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, costed: list[Triple], cheap_low_tokens: Any,
    settings: TrainConfig, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told: list[Any] = []
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda *args, **_: told.append(args))
    fit_rl(tiny_model, plain_tokenizer, costed, cheap_low_tokens, settings.replace(max_steps=1))
    assert told == []


@pytest.mark.slow
def test_the_same_arguments_give_the_same_policy_and_another_seed_another(
    tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, costed: list[Triple], cheap_low_tokens: Any,
    settings: TrainConfig,
) -> None:  # fmt: skip
    one, again, other = (
        state(fit_rl(tiny_model, plain_tokenizer, costed, cheap_low_tokens, settings.replace(seed=seed)).model)
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


class Killed(Exception):
    pass


class KillAfter(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise Killed


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_interrupted_and_resumed_it_is_the_same_to_the_bit(
    full: bool, tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, costed: list[Triple],
    cheap_low_tokens: Any, settings: TrainConfig, tmp_path: Path,
) -> None:  # fmt: skip
    # 3 contexts a step: the kill falls into the second shuffle of the log's twelve.
    rl = settings.rl.replace(responses=12)
    settings = settings.replace(full=full, max_steps=7, batch_size=6, save_every=2, rl=rl)
    asked = (tiny_model, plain_tokenizer, costed, cheap_low_tokens, settings)
    whole = fit_rl(*asked)
    with pytest.raises(Killed):
        fit_rl(*asked, checkpoints=tmp_path, callbacks=[KillAfter(5)])
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-4"]
    resumed = fit_rl(*asked, checkpoints=tmp_path)
    expected = state(whole.model)
    assert all(torch.equal(expected[name], weight) for name, weight in state(resumed.model).items())
    assert [entry["step"] for entry in resumed.history] == list(range(1, 8))


def test_contexts_are_shuffles_of_the_log_or_draws_by_weight(
    tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, costed: list[Triple], cheap_low_tokens: Any,
    settings: TrainConfig, tmp_path: Path,
) -> None:  # fmt: skip
    settings = settings.replace(max_steps=9)
    arguments = (None, cheap_low_tokens, costed, settings, copy.deepcopy(plain_tokenizer), tmp_path)
    trainer = RlTrainer(copy.deepcopy(tiny_model), *arguments, save=False)
    asked = [int(place) for place in trainer.train_dataset["prompt"]]
    assert len(asked) == 36
    assert all(sorted(asked[start : start + 12]) == list(range(12)) for start in (0, 12, 24))
    assert asked[:12] != asked[12:24]
    weighed = [replace(triple, weight=float(place == 4)) for place, triple in enumerate(costed)]
    arguments = (None, cheap_low_tokens, weighed, settings, copy.deepcopy(plain_tokenizer), tmp_path)
    trainer = RlTrainer(copy.deepcopy(tiny_model), *arguments, save=False)
    assert set(trainer.train_dataset["prompt"]) == {"4"}


def test_a_step_holds_whole_groups(
    tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, costed: list[Triple], cheap_low_tokens: Any,
    settings: TrainConfig,
) -> None:  # fmt: skip
    with pytest.raises(InputError, match="no multiple of --generations 4"):
        fit_rl(tiny_model, plain_tokenizer, costed, cheap_low_tokens, settings.replace(batch_size=5))


def test_a_step_has_as_many_responses_as_asked_and_a_pass_every_context(
    tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, costed: list[Triple], cheap_low_tokens: Any,
    settings: TrainConfig, tmp_path: Path,
) -> None:  # fmt: skip
    for batch, epochs in ((4, 1.0), (8, 3.0), (64, 1.0)):
        own = settings.replace(batch_size=batch, max_steps=None, rl=settings.rl.replace(epochs=epochs))
        arguments = (None, cheap_low_tokens, costed, own, copy.deepcopy(plain_tokenizer), tmp_path)
        told = RlTrainer(copy.deepcopy(tiny_model), *arguments, save=False).args
        assert told.per_device_train_batch_size * told.gradient_accumulation_steps == 16
        assert told.per_device_train_batch_size == min(batch, 16)
        assert told.max_steps == 3 * epochs


def test_responses_are_cut_off_where_the_log_ends_or_as_asked(costed: list[Triple], settings: TrainConfig) -> None:
    longest = max(max(len(triple.response), len(triple.edit)) for triple in costed)
    assert resolve_max_new_tokens(costed, settings.replace(rl=RlConfig())) == longest
    assert resolve_max_new_tokens(costed, settings) == 12


def test_vllm_that_is_not_installed_is_one_line(
    tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, costed: list[Triple], cheap_low_tokens: Any,
    settings: TrainConfig,
) -> None:  # fmt: skip
    settings = settings.replace(rl=settings.rl.replace(vllm="colocate"))
    with pytest.raises(InputError, match="pip install vllm") as error:
        fit_rl(tiny_model, plain_tokenizer, costed, cheap_low_tokens, settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_weights_that_are_shared_out_are_refused(
    name: str, tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, costed: list[Triple],
    cheap_low_tokens: Any, settings: TrainConfig, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(InputError, match=r"examples/ddp\.yaml"):
        fit_rl(tiny_model, plain_tokenizer, costed, cheap_low_tokens, settings)


def test_a_log_without_edits_has_nothing_to_learn(
    tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, costed: list[Triple], cheap_low_tokens: Any,
    settings: TrainConfig,
) -> None:  # fmt: skip
    accepted = [replace(triple, edit=triple.response) for triple in costed]
    with pytest.raises(InputError, match="nothing to learn"):
        fit_rl(tiny_model, plain_tokenizer, accepted, cheap_low_tokens, settings)
