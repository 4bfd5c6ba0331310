import json
import sys
from pathlib import Path

import pytest
import torch
import typer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from typer.testing import CliRunner, Result

import copydesk.training.prepare as prepare
import copydesk.training.train as learn
from copydesk.cli.train import train_command
from copydesk.errors import InputError
from copydesk.method_registry import describe_learning_rates
from copydesk.training.fit import compute_reference_logprobs

app = typer.Typer()
app.command()(train_command)


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


RL = ["--members", "1", "--cost-epochs", "1", "--generations", "2", "--responses", "8", "--max-new-tokens", "8"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "dpo", "rl", "early"])
def test_json_is_one_document_and_all_of_stdout(method: str, log: Path, model: Path, tmp_path: Path) -> None:
    result = run(log, model, tmp_path / "policy", "--method", method, *RL, "--json")
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
    monkeypatch.delitem(sys.modules, "copydesk.training.train", raising=False)
    monkeypatch.delitem(sys.modules, "copydesk.models.load", raising=False)
    monkeypatch.setitem(sys.modules, "peft", None)
    result = run(log, model, tmp_path / "policy")
    assert isinstance(result.exception, InputError) and "copydesk[train]" in str(result.exception)


@pytest.mark.slow
def test_every_method_in_one_go(log: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    monkeypatch.setattr(
        prepare, "compute_reference_logprobs", lambda *rest: passes.append(1) or compute_reference_logprobs(*rest)
    )
    result = run(log, model, tmp_path / "policies", "--method", "all", *RL, "--json")
    assert result.exit_code == 0, result.exception
    policies = json.loads(result.stdout)["policies"]
    assert [policy["method"] for policy in policies] == ["sft", "dpo", "rl", "early"]
    assert sorted(entry.name for entry in (tmp_path / "policies").iterdir()) == ["dpo", "early", "rl", "sft"]
    assert len(passes) == 1
    # Each is what its method alone makes.
    for method in ("dpo", "rl", "early"):
        alone = json.loads(run(log, model, tmp_path / method, "--method", method, *RL, "--json").stdout)
        weights = [
            folder / "adapter_model.safetensors" for folder in (tmp_path / method, tmp_path / "policies" / method)
        ]
        assert weights[0].read_bytes() == weights[1].read_bytes()
        assert alone["after"] == next(policy for policy in policies if policy["method"] == method)["after"]


@pytest.mark.slow
@pytest.mark.parametrize("full", [[], ["--full"]], ids=["lora", "full"])
def test_each_of_all_starts_at_the_reference_policy(full: list[str], log: Path, model: Path, tmp_path: Path) -> None:
    out = run(log, model, tmp_path / "all", "--method", "all", "--lr", "0.05", *RL, *full, "--json").stdout
    for policy in json.loads(out)["policies"][1:]:
        distance = "kl_per_token" if policy["method"] == "rl" else "margin"
        assert policy["history"][0][distance] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.slow
def test_objectives_and_weights_reach_the_training(log: Path, model: Path, tmp_path: Path) -> None:
    seen = set()
    for name, options in {
        "plain": [], "ipo": ["--preference", "ipo"],
        "robust": ["--preference", "robust", "--label-noise", "0.3"],
    }.items():  # fmt: skip
        result = run(
            log, model, tmp_path / name, "--method", "dpo", "--lr", "0.05", "--max-steps", "4", *options, "--json"
        )
        assert result.exit_code == 0, result.exception
        seen.add(round(json.loads(result.stdout)["history"][-1]["loss"], 6))
    assert len(seen) == 3


def test_rows_are_weighed_as_asked(log: Path, model: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    for place, row in enumerate(rows):
        row["metadata"] = {"importance": float(place == 0)}
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--method", "sft", "--held-out", "0", "--weigh", "field:importance", "--max-steps", "1", "--json"]
    document = json.loads(run(log, model, tmp_path / "policy", *options).stdout)
    log.write_text(json.dumps(rows[0]) + "\n")
    alone = json.loads(run(log, model, tmp_path / "alone", *options).stdout)
    assert document["history"][0]["logp/edit"] == pytest.approx(alone["history"][0]["logp/edit"], rel=1e-5)
    assert isinstance(run(log, model, tmp_path / "no", "--weigh", "field:nothing").exception, InputError)


def test_answers_that_do_not_fit_are_left_out_and_counted(log: Path, model: Path, tmp_path: Path) -> None:
    with log.open("a") as file:
        file.write(json.dumps({"id": "long", "context": "c", "response": "r" * 90, "edit": "e"}) + "\n")
    result = run(log, model, tmp_path / "policy", "--max-length", "64")
    assert "1 too long left out" in result.stdout
    kept = json.loads(run(log, model, tmp_path / "cut", "--max-length", "64", "--cut-answers", "--json").stdout)
    assert (kept["data"]["left_out"], kept["data"]["cut_answers"], kept["data"]["rows"]) == (0, 1, 9)


def test_a_finished_run_is_only_reported_when_resumed(log: Path, model: Path, tmp_path: Path) -> None:
    first = json.loads(run(log, model, tmp_path / "policy", "--json").stdout)
    again = json.loads(run(log, model, tmp_path / "policy", "--resume", "--json").stdout)
    assert {**first, "seconds": 0.0} == again
    other = run(log, model, tmp_path / "policy", "--resume", "--beta", "0.3")
    assert isinstance(other.exception, InputError) and "beta" in str(other.exception)
    both = run(log, model, tmp_path / "policy", "--resume", "--force")
    assert isinstance(both.exception, InputError)


def test_an_unfinished_run_is_never_lost_by_mistake(log: Path, model: Path, tmp_path: Path) -> None:
    def stop(*_: object, **__: object) -> None:
        raise InputError("the disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learn, "save_policy", stop)
        run(log, model, tmp_path / "policy")
    assert (tmp_path / "policy.unfinished" / "run.json").is_file()
    again = run(log, model, tmp_path / "policy")
    assert isinstance(again.exception, InputError) and "--resume" in str(again.exception)
    changed = run(log, model, tmp_path / "policy", "--resume", "--lr", "0.5")
    assert isinstance(changed.exception, InputError) and "learning_rate" in str(changed.exception)
    assert run(log, model, tmp_path / "policy", "--resume").exit_code == 0
    assert (tmp_path / "policy").is_dir() and not (tmp_path / "policy.unfinished").exists()


def test_people_read_how_good_the_cost_model_is_and_see_its_calibration(log: Path, model: Path, tmp_path: Path) -> None:
    printed = run(log, model, tmp_path / "policy", "--method", "rl", "--held-out", "0.5", *RL).stdout
    for words in (
        "Cost model on the same 4 rows",
        "always the mean",
        "pessimistic",
        "rank correlation",
        "own responses",
    ):
        assert words in printed
    plot = (tmp_path / "policy" / "cost_model" / "calibration.svg").read_text()
    assert plot.startswith('<svg xmlns="http://www.w3.org/2000/svg"') and "predicted cost" in plot


def test_options_of_costs_become_settings(log: Path, model: Path, tmp_path: Path) -> None:
    options = [
        "--method", "rl", *RL, "--c-max", "2", "--cost-unit", "word", "--pessimism", "std", "--kappa", "2",
        "--free-rows", "--cost-lr", "0.01", "--gamma", "0.3", "--cost-layers", "1", "--cost-lora-r", "2",
    ]  # fmt: skip
    document = json.loads(run(log, model, tmp_path / "policy", *options, "--json").stdout)
    expected = {
        "cost.c_max": 2.0, "cost.unit": "word", "cost.pessimism": "std", "cost.kappa": 2.0, "cost.free_rows": True,
        "cost.learning_rate": 0.01, "cost.gamma": 0.3, "cost.layers": 1.0, "cost.lora_r": 2, "cost.members": 1,
        "rl.generations": 2, "rl.max_new_tokens": 8,
    }  # fmt: skip
    assert expected.items() <= document["settings"].items()
    assert document["cost_model"]["metric"] == "levenshtein/word/response/cap=2.0"


def test_early_takes_a_weight_for_the_cost(log: Path, model: Path, tmp_path: Path) -> None:
    document = json.loads(run(log, model, tmp_path / "policy", "--lambda-cost", "0.5", "--json").stdout)
    assert document["settings"]["lambda_cost"] == 0.5
    assert "loss/cost" in document["after"]
    plain = json.loads(run(log, model, tmp_path / "plain", "--json").stdout)
    assert "loss/cost" not in plain["after"]


@pytest.mark.parametrize(("wrong", "said"), [("NaN", "NaN"), ("-1", "at least 0"), ("9", "raise --c-max")])
def test_a_cost_that_is_none_is_refused_with_its_row(
    wrong: str, said: str, log: Path, model: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    lines = [json.dumps(row | {"metadata": {"minutes": 1}}) for row in rows]
    lines[3] = lines[3].replace('"minutes": 1', f'"minutes": {wrong}')
    log.write_text("\n".join(lines) + "\n")
    result = run(log, model, tmp_path / "policy", "--method", "rl", *RL, "--costs", "field:minutes")
    assert isinstance(result.exception, InputError)
    error = str(result.exception)
    assert said in error and ("row '3'" in error or f"{log}:4" in error) and "\n" not in error
    assert not (tmp_path / "policy").exists()


def test_a_log_nobody_edited_holds_nothing_for_rl(log: Path, model: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(row | {"edit": row["response"]}) + "\n" for row in rows))
    result = run(log, model, tmp_path / "policy", "--method", "rl")
    assert isinstance(result.exception, InputError)
    assert "nothing to learn" in str(result.exception)


@pytest.mark.parametrize(
    ("steps", "norm", "weighting"),
    [("--accumulate", "--clip", "--weigh"), ("--gradient-accumulation-steps", "--max-grad-norm", "--row-weighting")],
)
def test_old_and_new_spellings_of_a_flag_set_the_same_setting(
    steps: str, norm: str, weighting: str, log: Path, model: Path, tmp_path: Path
) -> None:
    data = tmp_path / "weighted.jsonl"
    rows = [json.loads(line) | {"metadata": {"w": 1}} for line in log.read_text().splitlines()]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = [steps, "2", norm, "0.5", weighting, "field:w"]
    result = run(data, model, tmp_path / "policy", "--method", "sft", "--max-steps", "1", *flags, "--json")
    assert result.exit_code == 0, result.exception
    settings = json.loads(result.stdout)["settings"]
    assert (settings["accumulate"], settings["clip"], settings["weigh"]) == (2, 0.5, "field:w")


def test_help_shows_the_default_learning_rates_of_every_method() -> None:
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300", "TERM": "dumb"}).output
    assert describe_learning_rates() in text and "<sft|dpo|rl|early|all>" in text
