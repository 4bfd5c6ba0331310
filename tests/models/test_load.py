import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from tests.support.gguf_files import write_gguf
from transformers import LlamaForCausalLM

from copydesk import model_registry
from copydesk.errors import InputError
from copydesk.models.load import load_model

TOKENS = torch.tensor([[5, 6, 7, 8]])


def test_a_folder_gives_the_model_that_was_saved(model_folder: Path, tiny_model: LlamaForCausalLM) -> None:
    model, tokenizer, info = load_model(str(model_folder))
    assert torch.equal(model(TOKENS).logits, tiny_model(TOKENS).logits)
    assert model.dtype == torch.float32 and not model.training
    assert tokenizer.chat_template is not None
    assert tokenizer.pad_token == tokenizer.eos_token
    assert (info.kind, info.revision, info.parameters) == ("folder", None, tiny_model.num_parameters())


def test_the_hash_names_the_weights(model_folder: Path, tiny_model: LlamaForCausalLM) -> None:
    _, _, once = load_model(str(model_folder))
    _, _, again = load_model(str(model_folder))
    with torch.no_grad():
        tiny_model.lm_head.weight[0, 0] += 1
    tiny_model.save_pretrained(model_folder)
    _, _, changed = load_model(str(model_folder))
    assert once.weights_sha256 == again.weights_sha256 != changed.weights_sha256


def test_dtype_is_that_of_the_weights(model_folder: Path) -> None:
    model, _, _ = load_model(str(model_folder), "bfloat16")
    assert model.dtype == torch.bfloat16


def test_an_adapter_comes_with_its_base(model_folder: Path, tmp_path: Path) -> None:
    base, _, _ = load_model(str(model_folder))
    adapted = get_peft_model(
        base, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False)
    )
    adapted.eval().save_pretrained(str(tmp_path / "adapter"))
    model, tokenizer, info = load_model(str(tmp_path / "adapter"))
    assert isinstance(model, PeftModel) and info.kind == "adapter"
    assert torch.allclose(model(TOKENS).logits, adapted(TOKENS).logits)
    assert tokenizer.chat_template is not None


def test_a_gguf_file_gives_an_ordinary_model(model_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(model_folder, path)
    model, tokenizer, info = load_model(str(path))
    original, _, _ = load_model(str(model_folder))
    assert info.kind == "gguf" and info.weights_sha256
    assert torch.allclose(model(TOKENS).logits, original(TOKENS).logits, atol=1e-5)
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    assert "quantization_config" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    again, _, _ = load_model(str(tmp_path / "saved"))
    assert torch.equal(again(TOKENS).logits, model(TOKENS).logits)
    lora = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False)
    adapted = get_peft_model(model, lora).eval()
    adapted.save_pretrained(str(tmp_path / "adapter"))
    reloaded, _, _ = load_model(str(tmp_path / "adapter"))
    assert torch.allclose(reloaded(TOKENS).logits, adapted(TOKENS).logits)


def test_a_pulled_model_goes_by_its_name(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"run: copydesk models pull smollm2"):
        load_model("smollm2")
    put_into_cache(model_folder)
    (tmp_path / "smollm2").mkdir()
    monkeypatch.chdir(tmp_path)
    model, tokenizer, info = load_model("smollm2")
    original, _, same = load_model(str(model_folder))
    assert torch.equal(model(TOKENS).logits, original(TOKENS).logits)
    assert (info.spec, info.kind, info.weights_sha256) == ("smollm2", "folder", same.weights_sha256)
    assert tokenizer.chat_template is not None
    with pytest.raises(InputError, match=r"no config\.json"):
        load_model("./smollm2")


def test_an_adapter_on_a_pulled_model_loads_again_also_by_peft_alone(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COPYDESK_CACHE", "relative")
    put_into_cache(model_folder)
    base, _, _ = load_model("smollm2")
    lora = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False)
    adapted = get_peft_model(base, lora).eval()
    adapted.save_pretrained(str(tmp_path / "adapter"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for again in (
        load_model(str(tmp_path / "adapter"))[0],
        AutoPeftModelForCausalLM.from_pretrained(str(tmp_path / "adapter")),
    ):
        assert torch.allclose(again(TOKENS).logits, adapted(TOKENS).logits)


def put_into_cache(folder: Path) -> None:
    """As if the model in a folder had been pulled."""
    shutil.copytree(folder, model_registry.SMOLLM2.folder)
    (model_registry.SMOLLM2.folder / model_registry.PINNED_MODEL_FILE).write_text("{}")


@pytest.mark.parametrize(
    ("missing", "said"),
    [("config.json", "config.json"), ("model.safetensors", "safetensors"), ("tokenizer.json", "tokenizer")],
)
def test_a_missing_part_is_named(missing: str, said: str, model_folder: Path) -> None:
    (model_folder / missing).unlink()
    with pytest.raises(InputError, match=said) as error:
        load_model(str(model_folder))
    assert "\n" not in str(error.value)


def test_pickled_weights_are_not_read(model_folder: Path, tiny_model: LlamaForCausalLM) -> None:
    (model_folder / "model.safetensors").unlink()
    torch.save(tiny_model.state_dict(), model_folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        load_model(str(model_folder))


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_part_is_one_line(damage: str, model_folder: Path) -> None:
    file = model_folder / damage
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError) as error:
        load_model(str(model_folder))
    assert "\n" not in str(error.value)


def test_a_damaged_gguf_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\0" * 20)
    with pytest.raises(InputError) as error:
        load_model(str(tmp_path / "broken.gguf"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spec", ["./nowhere", "/no/such/folder", "a/b/c", "nowhere.gguf"])
def test_a_path_to_nothing_is_named(spec: str) -> None:
    with pytest.raises(InputError, match="there is no such"):
        load_model(spec)


def test_an_empty_name_is_an_error() -> None:
    with pytest.raises(InputError, match="empty"):
        load_model("")


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("x")
    with pytest.raises(InputError, match="not a model"):
        load_model(str(tmp_path / "model.bin"))


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="hub") as error:
        load_model("nobody/no-such-model")
    assert "\n" not in str(error.value)


def test_an_adapter_whose_base_is_gone_is_one_line(model_folder: Path, tmp_path: Path) -> None:
    base, _, _ = load_model(str(model_folder))
    get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")).save_pretrained(
        str(tmp_path / "adapter")
    )
    shutil.rmtree(model_folder)
    with pytest.raises(InputError, match="there is no such folder"):
        load_model(str(tmp_path / "adapter"))
