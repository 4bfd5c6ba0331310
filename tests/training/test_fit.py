import pytest
import torch
from peft import PeftModel
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from copydesk.errors import InputError
from copydesk.training.config import TrainConfig
from copydesk.training.encode import Triple
from copydesk.training.fit import compute_held_out_metrics, compute_reference_logprobs, fit_policy
from copydesk.training.logprobs import score_triples

QUICK = TrainConfig(max_steps=30, batch_size=12, accumulate=1, learning_rate=5e-3, lora_r=4, lora_alpha=8)


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
@pytest.mark.parametrize("method", ["sft", "dpo", "early"])
def test_training_learns_what_its_objective_asks(
    method: str, full: bool, tiny_model: LlamaForCausalLM, triples: list[Triple]
) -> None:
    settings = QUICK.replace(method=method, full=full)
    references = compute_reference_logprobs(tiny_model, triples)
    fitted = fit_policy(tiny_model, triples, references, settings)
    before = compute_held_out_metrics(triples, references, references, settings)
    after = compute_held_out_metrics(triples, score_triples(fitted.model, triples), references, settings)
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    assert after["loss"] < before["loss"]
    if method in ("sft", "early"):
        assert after["logp/edit"] > before["logp/edit"] + 1
        assert after["loss/supervised"] < before["loss/supervised"]
    if method in ("dpo", "early"):
        assert before["margin"] == 0.0
        assert after["margin"] > 0.1
        assert after["loss/preference"] < before["loss/preference"]
    assert isinstance(fitted.model, PeftModel) is not full


def test_training_starts_exactly_at_the_reference(tiny_model: LlamaForCausalLM, triples: list[Triple]) -> None:
    settings = QUICK.replace(method="dpo", max_steps=1)
    fitted = fit_policy(tiny_model, triples, compute_reference_logprobs(tiny_model, triples), settings)
    assert fitted.history[0]["margin"] == pytest.approx(0.0, abs=1e-4)
    assert fitted.history[0]["loss"] == pytest.approx(0.6931, abs=1e-4)


@pytest.mark.slow
def test_recomputing_activations_changes_nothing(tiny_model: LlamaForCausalLM, triples: list[Triple]) -> None:
    references = compute_reference_logprobs(tiny_model, triples)
    losses = []
    for checkpointing in (False, True):
        settings = QUICK.replace(method="early", max_steps=3, checkpointing=checkpointing)
        losses.append([entry["loss"] for entry in fit_policy(tiny_model, triples, references, settings).history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_models_own_dropout_does_not_move_the_start(triples: list[Triple]) -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=4, n_positions=128)).eval()
    settings = QUICK.replace(method="dpo", max_steps=1)
    fitted = fit_policy(model, triples, compute_reference_logprobs(model, triples), settings)
    assert fitted.history[0]["margin"] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_two_runs_give_the_same_weights_bit_for_bit(
    full: bool, tiny_model: LlamaForCausalLM, triples: list[Triple]
) -> None:
    settings = QUICK.replace(method="early", max_steps=5, batch_size=4, full=full)
    references = compute_reference_logprobs(tiny_model, triples)
    once, again = (fit_policy(tiny_model, triples, references, settings).model.state_dict() for _ in range(2))
    assert all(torch.equal(weight, again[name]) for name, weight in once.items())
    other = fit_policy(tiny_model, triples, references, settings.replace(seed=1)).model.state_dict()
    assert not all(torch.equal(weight, other[name]) for name, weight in once.items())


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_the_model_given_is_left_as_it_was(full: bool, tiny_model: LlamaForCausalLM, triples: list[Triple]) -> None:
    weights = {name: weight.clone() for name, weight in tiny_model.state_dict().items()}
    settings = QUICK.replace(method="sft", max_steps=3, full=full)
    fitted = fit_policy(tiny_model, triples, compute_reference_logprobs(tiny_model, triples), settings)
    assert tiny_model.state_dict().keys() == weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in tiny_model.state_dict().items())
    assert fitted.model.config.use_cache == tiny_model.config.use_cache is True
    assert not fitted.model.training


def test_without_edits_there_is_nothing_to_learn(tiny_model: LlamaForCausalLM, triples: list[Triple]) -> None:
    accepted = [triple for triple in triples if not triple.edited]
    with pytest.raises(InputError, match="nobody edited"):
        fit_policy(tiny_model, accepted, compute_reference_logprobs(tiny_model, accepted), QUICK)


def test_a_run_that_diverges_is_an_error(tiny_model: LlamaForCausalLM, triples: list[Triple]) -> None:
    with torch.no_grad():
        tiny_model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="--lr"):
        fit_policy(
            tiny_model,
            triples,
            compute_reference_logprobs(tiny_model, triples),
            QUICK.replace(max_steps=1),
        )
