import copy
import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.support.small_models import FAMILIES, make, shaken
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, TrainingArguments

from copydesk.training.config import TrainConfig
from copydesk.training.encode import Triple
from copydesk.training.fit import compute_reference_logprobs
from copydesk.training.logprobs import ForwardPlan
from copydesk.training.objectives import soft_min_value
from copydesk.training.trainer import PADDING_EXAMPLE, EditTrainer, TripleCollator, build_examples


def make_trainer(
    model: nn.Module,
    reference: nn.Module,
    triples: list[Triple],
    folder: Path,
    method: str,
    lambda_cost: float = 0.0,
    **arguments: Any,
) -> EditTrainer:
    args = TrainingArguments(str(folder), report_to="none", use_cpu=True, remove_unused_columns=False, **arguments)
    rows = build_examples(triples, compute_reference_logprobs(reference, triples), method)
    settings = TrainConfig(method=method, lambda_sup=0.5, lambda_cost=lambda_cost)
    return EditTrainer(model, args, rows, settings)


def moved(model: LlamaForCausalLM, scale: float = 0.02) -> LlamaForCausalLM:
    """Another policy than the reference, so that no margin is 0; far away, it finds every text less likely."""
    torch.manual_seed(1)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(scale * torch.randn_like(weight))
    return other


def gradients(model: nn.Module) -> torch.Tensor:
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


# Rows of many shapes; no end of turn is needed here.
SHAPES = [
    Triple("in the middle", (5, 6, 7, 8), (10, 11, 12, 13, 0), (10, 11, 20, 21, 22, 13, 0)),
    Triple("accepted", (5, 6, 7), (30, 31, 0), (30, 31, 0)),
    Triple("shorter", (9, 8), (40, 41, 42, 43, 0), (40, 41, 0)),
    Triple("nothing in common", (3,), (50, 51, 0), (60, 61, 62, 0)),
    Triple("deleted", (3, 4, 5, 6, 7, 8, 9), (70, 71, 72, 0), (0,)),
]


def test_dpo_drops_rows_without_preference_and_others_keep_them(
    tiny_model: LlamaForCausalLM, triples: list[Triple]
) -> None:
    references = compute_reference_logprobs(tiny_model, triples)
    edited = sum(triple.edited for triple in triples)
    assert 0 < edited < len(triples)
    assert len(build_examples(triples, references, "dpo")) == edited
    assert (
        len(build_examples(triples, references, "sft"))
        == len(build_examples(triples, references, "early"))
        == len(triples)
    )


def test_a_batch_says_of_each_row_what_the_objective_needs(triples: list[Triple], tiny_model: LlamaForCausalLM) -> None:
    rows = build_examples(triples, compute_reference_logprobs(tiny_model, triples), "early")
    batch = TripleCollator("early", ForwardPlan())([*rows, PADDING_EXAMPLE])
    assert batch["edited"].tolist() == [*(triple.edited for triple in triples), False]
    assert batch["weight"].tolist() == [1.0] * len(rows) + [0.0]
    assert batch["ref_edit"].tolist() == pytest.approx([*(row.ref_edit for row in rows), 0.0])
    compared, supervised = (
        int((TripleCollator(m, ForwardPlan())(rows)["triple"] >= 0).sum()) for m in ("early", "sft")
    )
    assert compared - supervised == sum(len(t.response) - t.fork for t in triples if t.edited)


def test_early_loss_on_a_batch_is_the_plain_computation(
    tiny_model: LlamaForCausalLM, triples: list[Triple], tmp_path: Path
) -> None:
    policy = moved(tiny_model)
    trainer = make_trainer(policy, tiny_model, triples, tmp_path, "early")
    loss = trainer.compute_loss(policy, trainer.data_collator(trainer.train_dataset))
    now, before = compute_reference_logprobs(policy, triples), compute_reference_logprobs(tiny_model, triples)
    margins = 0.1 * ((now.edit - before.edit) - (now.response - before.response))
    edited = torch.tensor([triple.edited for triple in triples])
    expected = -margins[edited].sigmoid().log().mean() - 0.5 * now.edit.mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "lambda_cost"), [("sft", 0.0), ("dpo", 0.0), ("early", 0.0), ("early", 2.0)])
def test_a_step_is_the_same_in_one_batch_or_in_several(
    method: str, lambda_cost: float, tiny_model: LlamaForCausalLM, triples: list[Triple], tmp_path: Path
) -> None:
    triples = [dataclasses.replace(triple, cost=place / 9) for place, triple in enumerate(triples)]
    rows = triples[:8] if method != "dpo" else [triple for triple in triples if triple.edited][:8]
    assert method == "dpo" or not all(triple.edited for triple in rows)
    results = []
    for batch_size in (8, 2):
        policy = moved(tiny_model)
        trainer = make_trainer(
            policy,
            tiny_model,
            rows,
            tmp_path,
            method,
            lambda_cost,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=8 // batch_size,
            max_steps=1,
            max_grad_norm=0.0,
            optim="sgd",
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            save_strategy="no",
        )
        trainer.train()
        results.append(torch.cat([weight.detach().flatten() for weight in policy.parameters()]))
    assert torch.allclose(results[0], results[1], atol=1e-6)
    assert not torch.allclose(results[0], torch.cat([w.flatten() for w in moved(tiny_model).parameters()]), atol=1e-6)


def test_metrics_are_averaged_between_logs(tiny_model: LlamaForCausalLM, triples: list[Triple], tmp_path: Path) -> None:
    trainer = make_trainer(moved(tiny_model), tiny_model, triples, tmp_path, "dpo")
    batches = [trainer.data_collator(trainer.train_dataset[i:j]) for i, j in ((0, 2), (2, 5))]
    margins = [trainer.compute_loss(trainer.model, batch, return_outputs=True)[1]["margin"] for batch in batches]
    trainer.log({"loss": 1.0})
    assert trainer.state.log_history[-1]["margin"] == pytest.approx(torch.cat(margins).mean().item())
    trainer.log({"loss": 1.0})
    assert "margin" not in trainer.state.log_history[-1]


@pytest.mark.parametrize("method", ["sft", "dpo", "early"])
def test_a_row_of_weight_two_counts_like_two_rows(
    method: str, tiny_model: LlamaForCausalLM, triples: list[Triple], tmp_path: Path
) -> None:
    losses = []
    heavy = [dataclasses.replace(triple, weight=2.0 if place == 1 else 1.0) for place, triple in enumerate(triples)]
    assert triples[1].edited
    for rows in ([*triples, triples[1]], heavy):
        policy = moved(tiny_model)
        trainer = make_trainer(policy, tiny_model, rows, tmp_path, method)
        losses.append(trainer.compute_loss(policy, trainer.data_collator(trainer.train_dataset)))
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)


def test_every_form_of_preference_reaches_the_loss(
    tiny_model: LlamaForCausalLM, triples: list[Triple], tmp_path: Path
) -> None:
    policy = moved(tiny_model, scale=0.3)  # `dpop` differs from `sigmoid` where an edit has become less likely
    losses = set()
    for form in ("sigmoid", "ipo", "robust", "dpop"):
        trainer = make_trainer(policy, tiny_model, triples, tmp_path, "dpo")
        trainer.settings = TrainConfig(method="dpo", preference=form, label_noise=0.2, dpop_penalty=3.0)
        loss = trainer.compute_loss(policy, trainer.data_collator(trainer.train_dataset))
        losses.add(round(loss.item(), 4))
    assert len(losses) == 4


def test_likelihood_displacement_is_warned_of_once(
    tiny_model: LlamaForCausalLM, triples: list[Triple], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(tiny_model, tiny_model, triples, tmp_path, "dpo")
    told = {"margin": 0.1, "logp_gain/preferred": -0.1, "logp_gain/response": -0.5}
    with caplog.at_level(logging.WARNING, logger="copydesk"):
        trainer.log(told)
        assert not caplog.records
        for _ in range(2):
            trainer.log(told | {"margin": 3.0, "logp_gain/preferred": -4.0, "logp_gain/response": -20.0})
    assert [("dpop" in record.message, "--lambda-sup" in record.message) for record in caplog.records] == [(True, True)]


def test_training_prints_nothing_on_stdout(
    tiny_model: LlamaForCausalLM, triples: list[Triple], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer(
        tiny_model, tiny_model, triples, tmp_path, "sft", max_steps=1, logging_steps=1, save_strategy="no"
    )
    trainer.train()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradient_are_trls(
    family: str, adapter: bool, plain_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    trl = pytest.importorskip("trl", reason="TRL is the reference implementation of DPO")
    datasets = pytest.importorskip("datasets")
    rows = [row for row in SHAPES if row.edited]
    reference = make(family)

    def policy() -> nn.Module:
        model = make(family)
        if not adapter:
            return shaken(model, 0.05, 5)
        config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
        return shaken(get_peft_model(model, config), 0.2, 5)

    ours = policy()
    trainer = make_trainer(ours, reference, rows, tmp_path / "ours", "dpo")
    assert trainer.forward.layout == "packed"
    batch = trainer.data_collator(trainer.train_dataset[:-1])
    loss, metrics = trainer.compute_loss(ours, batch, return_outputs=True)
    loss.backward()
    assert metrics["margin"].abs().max() > 0.02

    tokenizer = copy.deepcopy(plain_tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    theirs = policy()
    placeholder = datasets.Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}])
    config = trl.DPOConfig(
        str(tmp_path / "trl"), beta=0.1, report_to="none", use_cpu=True, max_length=None, bf16=False,
        precompute_ref_log_probs=False, gradient_checkpointing=False,
    )  # fmt: skip
    reference_trainer = trl.DPOTrainer(theirs, reference, config, train_dataset=placeholder, processing_class=tokenizer)
    batch = reference_trainer.data_collator(
        [
            {"prompt_ids": list(row.context), "chosen_ids": list(row.edit), "rejected_ids": list(row.response)}
            for row in rows
        ]
    )
    reference_loss = reference_trainer.compute_loss(theirs.train(), batch)
    reference_loss.backward()

    assert loss.item() == pytest.approx(reference_loss.item(), rel=1e-4)
    found, wanted = gradients(ours), gradients(theirs)
    assert (found - wanted).norm() <= 1e-4 * wanted.norm()


def test_the_cost_term_reaches_the_loss(tiny_model: LlamaForCausalLM, triples: list[Triple], tmp_path: Path) -> None:
    rows = [dataclasses.replace(triple, cost=place / 9) for place, triple in enumerate(triples)]
    policy = moved(tiny_model)
    losses = {}
    for weight in (0.0, 1.0, 3.0):
        trainer = make_trainer(policy, tiny_model, rows, tmp_path, "early", weight)
        batch = trainer.data_collator([trainer.train_dataset[place] for place in range(len(rows))])
        losses[weight], metrics = trainer.compute_loss(policy, batch, return_outputs=True)
    ours, theirs = compute_reference_logprobs(policy, rows), compute_reference_logprobs(tiny_model, rows)
    value = soft_min_value(rows, 0.1)
    residual = torch.tensor([row.cost for row in rows]) + 0.1 * (ours.response - theirs.response) - value
    term = (residual**2).mean().item() / 0.2
    assert losses[1.0].item() - losses[0.0].item() == pytest.approx(term, rel=1e-3)
    assert losses[3.0].item() - losses[0.0].item() == pytest.approx(3 * term, rel=1e-3)
    assert "loss/cost" in metrics
