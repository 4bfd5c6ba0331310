"""TRL trains on the sets, and reads in them what `copydesk train` reads in the log."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from copydesk.data import EditRecord
from copydesk.data.exporters import ExportFormat, export_records
from copydesk.training.encode import encode_log

datasets = pytest.importorskip("datasets")
trl = pytest.importorskip("trl", reason="the sets are TRL's")

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # TRL's own business

Form = Literal["text", "chat"]

TRAINERS: Mapping[ExportFormat, str] = {"preference": "DPO", "prompt-completion": "SFT", "kto": "KTO"}


@pytest.fixture(autouse=True)
def nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda *args, **_: None)


@pytest.fixture
def log(records: list[EditRecord]) -> list[EditRecord]:
    """Contexts that no token of the answer can reach into."""
    return [record.model_copy(update={"context": f"{record.context}\n"}) for record in records]


@pytest.fixture
def tokenizers(
    plain_tokenizer: PreTrainedTokenizerBase, chat_tokenizer: PreTrainedTokenizerBase
) -> dict[Form, PreTrainedTokenizerBase]:
    found: dict[Form, PreTrainedTokenizerBase] = {"text": plain_tokenizer, "chat": chat_tokenizer}
    return {form: copy.deepcopy(tokenizer) for form, tokenizer in found.items()}


def trainer(
    format: ExportFormat, path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> Any:
    """TRL's own trainer on a set as its users load it."""
    kind = "parquet" if path.suffix == ".parquet" else "json"
    rows = datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=str(folder / "datasets"))
    tokenizer.pad_token = tokenizer.eos_token
    name = TRAINERS[format]
    settings = getattr(trl, f"{name}Config")(
        str(folder / "run"), max_steps=2, per_device_train_batch_size=4, learning_rate=1e-2, report_to="none",
        use_cpu=True, bf16=False, logging_steps=1, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    reference = {} if name == "SFT" else {"ref_model": copy.deepcopy(model)}
    make = getattr(trl, f"{name}Trainer")
    return make(model, args=settings, train_dataset=rows, processing_class=tokenizer, **reference)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "ending"), [("text", ".jsonl.gz"), ("chat", ".parquet")])
@pytest.mark.parametrize("format", TRAINERS)
def test_trl_trains_on_it(
    format: ExportFormat, form: Form, ending: str, log: list[EditRecord], tiny_model: LlamaForCausalLM,
    tokenizers: dict[Form, PreTrainedTokenizerBase], tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / f"set{ending}"
    export_records(log, path, format, form)
    before = copy.deepcopy(tiny_model.state_dict())
    run = trainer(format, path, tiny_model, tokenizers[form], tmp_path)
    run.train()
    losses = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
    assert len(losses) == 2 and all(math.isfinite(loss) and loss > 0 for loss in losses)
    after = run.accelerator.unwrap_model(run.model).state_dict()
    assert not all(torch.equal(weight, after[name]) for name, weight in before.items())


@pytest.mark.parametrize("form", ["text", "chat"])
def test_trl_reads_the_tokens_that_copydesk_train_reads(
    form: Form, log: list[EditRecord], tiny_model: LlamaForCausalLM,
    tokenizers: dict[Form, PreTrainedTokenizerBase], tmp_path: Path,
) -> None:  # fmt: skip
    tokenizer = tokenizers[form]
    triples = [triple for triple in encode_log(log, tokenizer, max_length=256).triples if triple.edited]
    export_records(log, tmp_path / "set.jsonl", "preference", form)
    theirs = trainer("preference", tmp_path / "set.jsonl", tiny_model, tokenizer, tmp_path).train_dataset
    # After the end of the turn a chat template may write more, which is never asked of a model.
    more = tokenizer("\n")["input_ids"] if form == "chat" else []
    assert [(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in theirs] == [
        (list(triple.context), [*triple.edit, *more], [*triple.response, *more]) for triple in triples
    ]
