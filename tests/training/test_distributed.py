"""Two processes on CPUs, started with the files in `examples/` as a user starts them, train what one process trains."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from copydesk.cli import main
from copydesk.data.jsonl import write_jsonl
from copydesk.data.record import EditRecord
from copydesk.training.config import CostModelConfig, RlConfig, TrainConfig
from copydesk.training.cost_model.io import COST_MODEL_FOLDER, COST_MODEL_WEIGHTS
from copydesk.training.policy_file import PolicyFile, read_policy_file
from copydesk.training.train import train
from copydesk.training.trainer import EditTrainer

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"

# 9 of the 12 rows are trained on: the last step of each epoch has one row for two processes.
SETTINGS = TrainConfig(epochs=2, batch_size=2, accumulate=2, learning_rate=1e-3, held_out=0.25)
ARGUMENTS = ["train", "--epochs=2", "--batch-size=2", "--accumulate=1", "--lr=1e-3", "--held-out=0.25", "--json"]
STOPPED_AFTER = 4


def launch(example: str, *command: str) -> subprocess.CompletedProcess[str]:
    """`accelerate launch` with one of the examples, in two processes on a port that is free."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(EXAMPLES / f"{example}.yaml")]
    options = ["--num_processes", "2", "--main_process_port", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launcher, *options, *command], capture_output=True, text=True, timeout=300, env=environment, check=False
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def curve(policy: PolicyFile) -> list[dict[str, float]]:
    """What was logged, but for the epoch: how far it is depends on what fills the last batches."""
    return [{name: value for name, value in entry.items() if name != "epoch"} for entry in policy.history]


@pytest.fixture
def tied_folder(tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast, model_folder: Path) -> Path:
    """A model whose output layer is its embedding, as most small ones have it."""
    torch.manual_seed(0)
    config: Any = LlamaConfig.from_pretrained(model_folder)
    config.tie_word_embeddings = True
    LlamaForCausalLM(config).save_pretrained(tmp_path / "tied")
    chat_tokenizer.save_pretrained(tmp_path / "tied")
    return tmp_path / "tied"


def test_two_processes_share_policy_optimisation(records: list[EditRecord], model_folder: Path, tmp_path: Path) -> None:
    """And fit the cost model that one process fits."""
    write_jsonl(tmp_path / "log.jsonl", records)
    cost = CostModelConfig(members=1, epochs=2, rows_per_step=4, lora_r=2)
    rl = RlConfig(responses=8, generations=4, max_new_tokens=8)
    settings = TrainConfig(method="rl", max_steps=3, batch_size=4, held_out=0.25, cost=cost, rl=rl)
    train(records, str(model_folder), settings, tmp_path / "one")
    options = ["--members=1", "--cost-epochs=2", "--cost-lora-r=2", "--responses=8", "--max-new-tokens=8"]
    line = ["train", "--method=rl", "--max-steps=3", "--batch-size=2", "--held-out=0.25", "--json"]
    paths = [f"--data={tmp_path / 'log.jsonl'}", f"--model={model_folder}", f"--out={tmp_path / 'two'}"]
    # The cost model's steps have as many rows as in one process.
    done = launch("ddp", "-m", "copydesk", *line, *options, *paths, "--cost-rows-per-step=4")
    assert done.returncode == 0, done.stderr[-4000:]
    one, two = (read_policy_file(tmp_path / name) for name in ("one", "two"))
    assert json.loads(done.stdout)["after"] == two.after
    assert len(two.history) == len(one.history) == 3
    for name in ("fit", "pessimistic"):
        expected, found = getattr(one.cost_model, name), getattr(two.cost_model, name)
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)
    fits = [load_file(tmp_path / name / COST_MODEL_FOLDER / COST_MODEL_WEIGHTS) for name in ("one", "two")]
    torch.testing.assert_close(fits[1], fits[0], rtol=1e-3, atol=1e-4)
    assert any(weight.any() for name, weight in weights(tmp_path / "two").items() if "lora_B" in name)


@pytest.mark.parametrize(("example", "kind"), [("ddp", "MULTI_CPU"), ("fsdp2", "FSDP")])
def test_two_processes_train_what_one_trains(
    example: str, kind: str, records: list[EditRecord], model_folder: Path, tied_folder: Path, tmp_path: Path
) -> None:
    """Even when the second process alone was told to stop, and both were resumed."""
    write_jsonl(tmp_path / "log.jsonl", records)
    models = {"lora": model_folder, "full": tied_folder}
    lines = []
    for name, model in models.items():
        full = ["--full"] if name == "full" else []
        train(records, str(model), SETTINGS.replace(full=bool(full)), tmp_path / "one" / name)
        data, out = tmp_path / "log.jsonl", tmp_path / "two" / name
        line = [*ARGUMENTS, *full, f"--data={data}", f"--model={model}", f"--out={out}"]
        lines += [line, [*line, "--resume"]]
    done = launch(example, __file__, str(tmp_path / "found.json"), json.dumps(lines))
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads((tmp_path / "found.json").read_text()) == {"kind": kind, "processes": 2, "exits": [143, 0] * 2}
    for name in models:
        one, two = tmp_path / "one" / name, tmp_path / "two" / name
        alone, together = read_policy_file(one), read_policy_file(two)
        assert len(alone.history) == len(together.history) == 6
        for expected, entry in zip(curve(alone), curve(together), strict=True):
            assert entry == pytest.approx(expected, rel=1e-4, abs=1e-4)
        assert together.after == pytest.approx(alone.after, rel=1e-4, abs=1e-4)
        torch.testing.assert_close(weights(two), weights(one), rtol=1e-4, atol=1e-4)
        assert {file.name for file in two.iterdir()} == {file.name for file in one.iterdir()}
    # The main process speaks for both: a document for each run, and everything else once.
    assert done.stdout.count('"seconds"') == 2
    for said in ("step 1/6", f"after step {STOPPED_AFTER} of 6, which is saved"):
        assert done.stderr.count(said) == 2, done.stderr[-4000:]
    assert "Warning" not in done.stderr


def test_an_error_is_reported_once(tmp_path: Path) -> None:
    command = ["-m", "copydesk", "train", "--model=embedded", f"--out={tmp_path / 'policy'}"]
    done = launch("ddp", *command, f"--data={tmp_path / 'missing.jsonl'}")
    assert done.returncode != 0
    assert done.stderr.count("copydesk: ") == 1
    assert "missing.jsonl" in done.stderr


@pytest.mark.parametrize(
    ("example", "kind", "machines"),
    [
        ("ddp", "MULTI_GPU", 1),
        ("fsdp2", "FSDP", 1),
        ("fsdp2_multinode", "FSDP", 2),
        ("deepspeed_zero3", "DEEPSPEED", 2),
    ],
)
def test_the_examples_are_what_accelerate_reads(example: str, kind: str, machines: int) -> None:
    config = load_config_from_file(str(EXAMPLES / f"{example}.yaml"))  # refuses a key that it does not know
    assert isinstance(config, ClusterConfig)
    assert (str(config.distributed_type.value), config.num_machines) == (kind, machines)
    # With one machine the command line has to say how many processes; with several, all have to agree on it.
    assert config.num_processes == (-1 if machines == 1 else 16)
    assert config.mixed_precision == "no"
    if kind == "FSDP":
        assert config.fsdp_config["fsdp_version"] == 2
        assert config.fsdp_config["fsdp_cpu_ram_efficient_loading"] is False
    if kind == "DEEPSPEED":
        assert config.deepspeed_config["zero_stage"] == 3
        assert config.deepspeed_config["zero3_init_flag"] is False
        assert config.deepspeed_config["zero3_save_16bit_model"] is True


def run(line: list[str], *, stop: bool) -> int:
    """The command line with these arguments; returns its exit code.

    With `stop` the second process alone is told to end while it works on step `STOPPED_AFTER`.
    """
    own, batches = EditTrainer.compute_loss, 0

    def compute_loss(*args: Any, **kwargs: Any) -> Any:
        nonlocal batches
        batches += 1
        if batches == STOPPED_AFTER and PartialState().process_index == 1:
            signal.raise_signal(signal.SIGTERM)
        return own(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["copydesk", *line])
        if stop:
            patch.setattr(EditTrainer, "compute_loss", compute_loss)
        try:
            main()
        except SystemExit as exc:
            return int(exc.code or 0)
    return 0


if __name__ == "__main__":  # what `launch` runs in each process
    torch.set_num_threads(1)
    found, lines = Path(sys.argv[1]), json.loads(sys.argv[2])
    exits = [run(line, stop="--resume" not in line) for line in lines]
    state = PartialState()
    if state.is_main_process:
        document = {"kind": state.distributed_type.value, "processes": state.num_processes, "exits": exits}
        found.write_text(json.dumps(document))
