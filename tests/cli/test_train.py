import json
import sys
from pathlib import Path

import pytest
import torch
import typer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from typer.testing import CliRunner, Result

from copydesk.cli.train import train
from copydesk.errors import InputError

app = typer.Typer()
app.command()(train)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of a few thousand numbers that reads bytes."""
    folder = tmp_path_factory.mktemp("model")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size)).save_pretrained(folder)
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Path:
    rows = [{"id": str(i), "context": f"note {i}", "response": f"Dear {i}", "edit": f"Hi {i}!"} for i in range(8)]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(data: Path, model: Path, out: Path, *more: str) -> Result:
    arguments = ["--data", str(data), "--model", str(model), "--out", str(out), "--max-steps", "2", *more]
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("method", ["sft", "dpo", "early"])
def test_json_is_one_document_and_all_of_stdout(method: str, log: Path, model: Path, tmp_path: Path) -> None:
    result = run(log, model, tmp_path / "policy", "--method", method, "--json")
    assert result.exit_code == 0, result.exception
    document = json.loads(result.stdout)
    assert document["folder"] == str(tmp_path / "policy")
    assert document["method"] == method
    assert document["before"].keys() == document["after"].keys() >= {"loss", "margin", "logp/edit"}
    assert json.loads((tmp_path / "policy" / "policy.json").read_text())["after"] == document["after"]


def test_people_read_a_table_and_how_to_load_the_policy(log: Path, model: Path, tmp_path: Path) -> None:
    result = run(log, model, tmp_path / "policy")
    assert "early on 7 rows" in result.stdout
    assert "log-probability of the edit" in result.stdout
    assert "AutoPeftModelForCausalLM" in result.stdout
    assert (tmp_path / "policy" / "adapter_model.safetensors").is_file()


def test_options_become_settings(log: Path, model: Path, tmp_path: Path) -> None:
    options = ["--full", "--lr", "0.01", "--beta", "0.3", "--lambda-sup", "0.7", "--batch-size", "2", "--seed", "5"]
    document = json.loads(run(log, model, tmp_path / "policy", *options, "--json").stdout)
    expected = {"full": True, "learning_rate": 0.01, "beta": 0.3, "lambda_sup": 0.7, "batch_size": 2, "seed": 5}
    assert expected.items() <= document["settings"].items()
    assert (tmp_path / "policy" / "model.safetensors").is_file()


def test_a_policy_is_not_written_over_without_force(log: Path, model: Path, tmp_path: Path) -> None:
    run(log, model, tmp_path / "policy")
    again = run(log, model, tmp_path / "policy", "--method", "sft")
    assert isinstance(again.exception, InputError) and "--force" in str(again.exception)
    assert run(log, model, tmp_path / "policy", "--method", "sft", "--force").exit_code == 0
    assert json.loads((tmp_path / "policy" / "policy.json").read_text())["method"] == "sft"


def break_log(log: Path, how: str) -> None:
    text = log.read_text()
    match how:
        case "truncated":
            log.write_text(text[:-20])
        case "wrong field":
            log.write_text(text.replace('"response": "Dear 3"', '"response": 3'))
        case "invalid UTF-8":
            log.write_bytes(text.encode() + b'{"id": "9", "context": "\xff"}\n')
        case "empty":
            log.write_text("")
        case "nobody edited":
            log.write_text(text.replace("Hi", "Dear").replace("!", ""))


@pytest.mark.parametrize("how", ["truncated", "wrong field", "invalid UTF-8", "empty", "nobody edited"])
def test_a_bad_log_is_one_line_and_nothing_is_written(how: str, log: Path, model: Path, tmp_path: Path) -> None:
    break_log(log, how)
    result = run(log, model, tmp_path / "policy")
    assert isinstance(result.exception, InputError), result.exception
    assert str(result.exception).startswith(str(log))
    assert "\n" not in str(result.exception)
    assert [entry.name for entry in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_folder_that_cannot_be_written_is_one_line(log: Path, model: Path) -> None:
    result = run(log, model, log / "policy")
    assert isinstance(result.exception, InputError)
    assert "--out" in str(result.exception) and "\n" not in str(result.exception)


def test_without_the_training_libraries_it_says_what_to_install(
    log: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "copydesk.learn.train", raising=False)
    monkeypatch.delitem(sys.modules, "copydesk.learn.models", raising=False)
    monkeypatch.setitem(sys.modules, "peft", None)
    result = run(log, model, tmp_path / "policy")
    assert isinstance(result.exception, InputError) and "copydesk[train]" in str(result.exception)
