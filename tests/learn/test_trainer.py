import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, TrainingArguments

from copydesk.learn.encode import Triple
from copydesk.learn.fit import reference_logprobs
from copydesk.learn.settings import Method, TrainSettings
from copydesk.learn.trainer import Collator, EditTrainer, examples


def make_trainer(
    model: nn.Module, reference: nn.Module, triples: list[Triple], folder: Path, method: Method, **arguments: Any
) -> EditTrainer:
    args = TrainingArguments(str(folder), report_to="none", use_cpu=True, remove_unused_columns=False, **arguments)
    rows = examples(triples, reference_logprobs(reference, triples), method)
    return EditTrainer(model, args, rows, TrainSettings(method=method, lambda_sup=0.5))


def moved(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Another policy than the reference, so that no margin is 0."""
    torch.manual_seed(1)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    return other


def gradients(model: nn.Module) -> torch.Tensor:
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


def test_dpo_drops_rows_without_preference_and_others_keep_them(
    tiny_model: LlamaForCausalLM, triples: list[Triple]
) -> None:
    references = reference_logprobs(tiny_model, triples)
    edited = sum(triple.edited for triple in triples)
    assert 0 < edited < len(triples)
    assert len(examples(triples, references, "dpo")) == edited
    assert len(examples(triples, references, "sft")) == len(examples(triples, references, "early")) == len(triples)


def test_a_batch_holds_each_sequence_once(tiny_model: LlamaForCausalLM, triples: list[Triple]) -> None:
    rows = examples(triples, reference_logprobs(tiny_model, triples), "early")
    edited = sum(triple.edited for triple in triples)
    assert len(Collator("early")(rows)["input_ids"]) == len(triples) + edited
    assert len(Collator("sft")(rows)["input_ids"]) == len(triples)


def test_early_loss_on_a_batch_is_the_plain_computation(
    tiny_model: LlamaForCausalLM, triples: list[Triple], tmp_path: Path
) -> None:
    policy = moved(tiny_model)
    trainer = make_trainer(policy, tiny_model, triples, tmp_path, "early")
    loss = trainer.compute_loss(policy, trainer.data_collator(trainer.train_dataset))
    now, before = reference_logprobs(policy, triples), reference_logprobs(tiny_model, triples)
    margins = 0.1 * ((now.edit - before.edit) - (now.response - before.response))
    edited = torch.tensor([triple.edited for triple in triples])
    expected = -margins[edited].sigmoid().log().mean() - 0.5 * now.edit.mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("method", ["sft", "dpo", "early"])
def test_a_step_is_the_same_in_one_batch_or_in_several(
    method: Method, tiny_model: LlamaForCausalLM, triples: list[Triple], tmp_path: Path
) -> None:
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
    batches = [trainer.data_collator(trainer.train_dataset[i : i + 2]) for i in (0, 2)]
    margins = [trainer.compute_loss(trainer.model, batch, return_outputs=True)[1]["margin"] for batch in batches]
    trainer.log({"loss": 1.0})
    assert trainer.state.log_history[-1]["margin"] == pytest.approx(torch.stack(margins).mean().item())
    trainer.log({"loss": 1.0})
    assert "margin" not in trainer.state.log_history[-1]


def test_training_prints_nothing_on_stdout(
    tiny_model: LlamaForCausalLM, triples: list[Triple], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer(
        tiny_model, tiny_model, triples, tmp_path, "sft", max_steps=1, logging_steps=1, save_strategy="no"
    )
    trainer.train()
    assert capsys.readouterr().out == ""


def test_loss_and_gradient_are_trls(
    tiny_model: LlamaForCausalLM, triples: list[Triple], plain_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    trl = pytest.importorskip("trl", reason="TRL is the reference implementation of DPO")
    datasets = pytest.importorskip("datasets")
    rows = [triple for triple in triples if triple.edited]

    ours = moved(tiny_model)
    trainer = make_trainer(ours, tiny_model, triples, tmp_path / "ours", "dpo")
    loss = trainer.compute_loss(ours, trainer.data_collator(trainer.train_dataset))
    loss.backward()

    tokenizer = copy.deepcopy(plain_tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    theirs = moved(tiny_model)
    placeholder = datasets.Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}])
    config = trl.DPOConfig(str(tmp_path / "trl"), beta=0.1, report_to="none", use_cpu=True, max_length=None, bf16=False)
    reference_trainer = trl.DPOTrainer(
        theirs, copy.deepcopy(tiny_model), config, train_dataset=placeholder, processing_class=tokenizer
    )
    batch = reference_trainer.data_collator(
        [
            {"prompt_ids": list(row.context), "chosen_ids": list(row.edit), "rejected_ids": list(row.response)}
            for row in rows
        ]
    )
    reference_loss = reference_trainer.compute_loss(theirs.train(), batch)
    reference_loss.backward()

    assert loss.item() == pytest.approx(reference_loss.item(), rel=1e-5)
    assert torch.allclose(gradients(ours), gradients(theirs), rtol=1e-4, atol=1e-6)
