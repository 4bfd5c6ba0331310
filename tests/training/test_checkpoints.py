import copy
import gc
import itertools
import os
import random
import resource
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import (
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from copydesk.errors import InputError
from copydesk.training import checkpoints
from copydesk.training.base_trainer import EpochSampler
from copydesk.training.checkpoints import (
    AtomicCheckpoints,
    StopOnSignal,
    check_disk_space,
    estimate_disk_bytes,
    find_last_checkpoint,
    remove_leftovers,
)

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

ROWS = [{"input_ids": row, "labels": row} for row in torch.randint(3, 64, (14, 8), generator=torch.manual_seed(0))]
STEPS = 8  # two epochs of four: 14 rows, two to a batch, two batches to a step, the last step of an epoch half full
SEED = 7


@pytest.fixture(autouse=True, scope="module")
def frozen_heap() -> Iterator[None]:
    """`Trainer` collects garbage whenever it starts, which takes longer than training here."""
    gc.freeze()
    yield
    gc.unfreeze()


class Trainer(AtomicCheckpoints):
    def _get_train_sampler(self, *_: Any) -> EpochSampler:
        processes = self.accelerator.num_processes
        return EpochSampler(len(ROWS), 1 if processes == 1 else 2 * processes, SEED)


class At(TrainerCallback):
    """Does something when a step is about to begin."""

    def __init__(self, step: int, what: Callable[[], object]) -> None:
        self.step, self.what = step, what

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step - 1:
            self.what()


def make_trainer(model: nn.Module, folder: Path, **arguments: Any) -> Trainer:
    """A trainer of a copy of the model, as a process that has just started would make it."""
    set_seed(SEED)
    settings: dict[str, Any] = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "cosine",
        "logging_steps": 3,
        "save_strategy": "steps",
        "save_steps": 2,
    }
    args = TrainingArguments(str(folder), report_to="none", use_cpu=True, disable_tqdm=True, **settings | arguments)
    data: Any = [*ROWS, ROWS[0]]  # the last fills up the batches of several processes
    trainer = Trainer(copy.deepcopy(model), args, train_dataset=data)
    trainer.remove_callback(PrinterCallback)
    return trainer


def train(model: nn.Module, folder: Path, *callbacks: TrainerCallback, **arguments: Any) -> Trainer:
    """Train from the last checkpoint, if there is one."""
    trainer = make_trainer(model, folder, **arguments)
    for callback in callbacks:
        trainer.add_callback(callback)
    last = find_last_checkpoint(folder)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    return trainer


def losses(trainer: Trainer) -> list[tuple[int, float]]:
    return [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    others = dict(other.named_parameters())
    return all(torch.equal(weight, others[name]) for name, weight in one.named_parameters())


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def with_adapter(model: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    return get_peft_model(copy.deepcopy(model), LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear"))


def in_child(work: Callable[[], object]) -> int:
    """Work in a process that may be killed; returns its exit status, below 0 for the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(moment: int) -> None:
    """Be killed at so many events from now on; an event is a call of a function, in Python or in C, or its end."""
    left = iter(range(moment))
    sys.setprofile(lambda *_: None if next(left, None) is not None else die())


def count_events(work: Callable[[], Trainer]) -> tuple[Trainer, int]:
    count = itertools.count()
    sys.setprofile(lambda *_: next(count) and None)
    try:
        return work(), next(count)
    finally:
        sys.setprofile(None)


@needs_fork
def test_killed_again_and_again_a_run_ends_with_the_same_weights(tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    whole, events = count_events(lambda: train(tiny_model, tmp_path / "whole"))
    chance = random.Random(0)
    deaths = 0
    for _ in range(6):
        moment = chance.randrange(events // 5, events // 2)
        deaths += in_child(lambda at=moment: (die_at(at), train(tiny_model, tmp_path / "killed"))) == -signal.SIGKILL
    assert deaths > 2
    resumed = train(tiny_model, tmp_path / "killed")
    assert same_weights(resumed.model, whole.model)
    assert losses(resumed) == losses(whole)
    assert [step for step, _ in losses(whole)] == [2, 3, 4, 6, 8]  # what was asked for, and with every checkpoint
    assert contents(tmp_path / "killed") == [f"checkpoint-{STEPS}"]


def die_half_removed(folder: Path, **_: Any) -> None:
    if ".removing" in folder.name:
        next(folder.iterdir()).unlink()
        die()


@needs_fork
@pytest.mark.parametrize(
    ("module", "function", "instead", "kept", "leftover"),
    [
        (torch, "save", die, 2, ".writing-checkpoint-4"),  # the weights are written, the optimizer is not
        (os, "fsync", die, 2, ".writing-checkpoint-4"),  # all is written, perhaps not on the disk yet
        (shutil, "rmtree", die_half_removed, 4, ".removing-checkpoint-2"),
    ],
    ids=["writing", "written", "removing"],
)
def test_killed_while_saving_a_run_ends_with_the_same_weights(
    module: Any, function: str, instead: Any, kept: int, leftover: str, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    whole = train(tiny_model, tmp_path / "whole")
    kill = At(4, lambda: setattr(module, function, instead))
    assert in_child(lambda: train(tiny_model, tmp_path / "killed", kill)) == -signal.SIGKILL
    assert find_last_checkpoint(tmp_path / "killed") == tmp_path / "killed" / f"checkpoint-{kept}"
    assert any(name.startswith(leftover) for name in contents(tmp_path / "killed"))
    resumed = train(tiny_model, tmp_path / "killed")
    assert same_weights(resumed.model, whole.model)
    assert losses(resumed) == losses(whole)
    assert contents(tmp_path / "killed") == [f"checkpoint-{STEPS}"]


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_terminated_a_run_saves_and_resumes(adapter: bool, tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    model = with_adapter(tiny_model) if adapter else tiny_model
    whole = train(model, tmp_path / "whole")
    assert not same_weights(whole.model, model)
    with StopOnSignal() as stop:
        stopped = train(model, tmp_path / "stopped", stop, At(3, lambda: signal.raise_signal(signal.SIGTERM)))
    assert (stop.stop_signal, stopped.state.global_step) == (signal.SIGTERM, 3)
    assert contents(tmp_path / "stopped") == ["checkpoint-3"]
    resumed = train(model, tmp_path / "stopped")
    assert same_weights(resumed.model, whole.model)
    assert losses(resumed) == losses(whole)


@pytest.mark.slow
@needs_fork
def test_two_processes_stop_together_and_resume(tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    """One of them is terminated in the third epoch, so the resumed run begins an epoch in its midst."""

    def save_late() -> None:
        save = Trainer._save_rng_state
        Trainer._save_rng_state = lambda *them: (time.sleep(0.3), save(*them))  # type: ignore[method-assign]

    def work(rank: int, port: int) -> None:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_PORT": str(port)}
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        AcceleratorState._reset_state(reset_partial_state=True)
        options = {"ddp_find_unused_parameters": False, "num_train_epochs": 4}  # of two steps each
        whole = train(tiny_model, tmp_path / "whole", **options)
        terminate = At(5, lambda: rank == 1 and (signal.raise_signal(signal.SIGTERM), save_late()))
        with StopOnSignal() as stop:
            train(tiny_model, tmp_path / "stopped", stop, terminate, **options)
        assert stop.stop_signal == signal.SIGTERM
        dist.barrier()
        assert contents(tmp_path / "stopped") == ["checkpoint-5"]
        assert (tmp_path / "stopped" / "checkpoint-5" / "rng_state_1.pth").is_file()
        resumed = train(tiny_model, tmp_path / "stopped", **options)
        assert same_weights(resumed.model, whole.model)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    second = os.fork()
    if second == 0:
        code = 1
        try:
            work(1, port)
            code = 0
        finally:
            os._exit(code)
    assert in_child(lambda: work(0, port)) == 0
    assert os.waitpid(second, 0)[1] == 0


def test_a_finished_run_is_not_trained_further(tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    whole = train(tiny_model, tmp_path, max_steps=5)
    resumed = train(tiny_model, tmp_path, max_steps=5)
    assert resumed.state.global_step == 5
    assert same_weights(resumed.model, whole.model)
    assert losses(resumed) == losses(whole)


def test_a_resumed_run_is_saved_as_often_as_now_asked(tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    train(tiny_model, tmp_path, max_steps=2, save_steps=2)
    assert train(tiny_model, tmp_path, max_steps=2, save_steps=0.5).state.save_steps == 1


def mixture_of_experts() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return MixtralForCausalLM(MixtralConfig(vocab_size=64, num_key_value_heads=2, num_local_experts=2, **sizes))


def tied_embeddings(tiny_model: LlamaForCausalLM) -> nn.Module:
    config = copy.deepcopy(tiny_model.config)
    config.tie_word_embeddings = True
    return LlamaForCausalLM(config)


@pytest.mark.parametrize("kind", ["experts", "tied", "lora"])
def test_every_trained_weight_comes_back(kind: str, tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    makers = {
        "experts": mixture_of_experts,
        "tied": lambda: tied_embeddings(tiny_model),
        "lora": lambda: with_adapter(tiny_model),
    }
    model = makers[kind]()
    trained = train(model, tmp_path, max_steps=1)
    resumed = make_trainer(model, tmp_path)
    resumed._load_from_checkpoint(str(find_last_checkpoint(tmp_path)))
    assert same_weights(resumed.model, trained.model)
    assert not same_weights(resumed.model, model)


def test_only_what_is_trained_is_saved(tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    trainer = train(with_adapter(tiny_model), tmp_path, max_steps=1)
    weights = load_file(tmp_path / "checkpoint-1" / "model.safetensors")
    assert weights
    assert all("lora" in name for name in weights)
    trainer.save_model(str(tmp_path / "own"))  # asked for by name, it is an ordinary adapter
    assert (tmp_path / "own" / "adapter_model.safetensors").is_file()


def test_a_checkpoint_of_another_model_is_refused(tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    train(tiny_model, tmp_path, max_steps=1)
    with pytest.raises(InputError, match="of another model"):
        train(with_adapter(tiny_model), tmp_path, max_steps=1)


@pytest.mark.parametrize("step", [2, 4])
def test_a_disk_that_fills_up_ends_training_with_the_checkpoint_before(
    step: int, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    fill = At(step, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1])))
    try:
        with pytest.raises(InputError) as raised:
            train(tiny_model, tmp_path, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert f"the checkpoint of step {step} could not be written (file too large" in str(raised.value)
    assert contents(tmp_path) == (["checkpoint-2"] if step == 4 else [])
    assert ("the last complete one is of step 2: free some space and --resume" in str(raised.value)) is (step == 4)


def test_what_torch_says_of_a_full_disk_is_understood(
    tiny_model: LlamaForCausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(checkpoints, "save_file", lambda *_, **__: None)  # the first to fail would be safetensors
    fill = At(1, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1])))
    try:
        with pytest.raises(InputError, match=r"step 2 could not be written \(the disk is full or gone\)"):
            train(tiny_model, tmp_path, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_another_error_while_saving_is_raised_unchanged(
    tiny_model: LlamaForCausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("not about files")

    monkeypatch.setattr(checkpoints, "save_file", fail)
    with pytest.raises(RuntimeError, match="not about files"):
        train(tiny_model, tmp_path)
    assert contents(tmp_path) == []


def test_the_last_checkpoint_is_the_newest_whole_one(tmp_path: Path) -> None:
    assert find_last_checkpoint(tmp_path / "nowhere") is None
    assert find_last_checkpoint(tmp_path) is None
    for name in ("checkpoint-9", "checkpoint-10", ".writing-checkpoint-11", "checkpoint-12-old", "checkpoint-13"):
        (tmp_path / name).mkdir()
        if name != "checkpoint-13":
            (tmp_path / name / "trainer_state.json").write_text("{}")
    assert find_last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


def test_cleaning_removes_leftovers_alone(tmp_path: Path) -> None:
    for name in (".writing-checkpoint-4", ".removing-checkpoint-2-ab", "checkpoint-3", ".mine"):
        (tmp_path / name).mkdir()
    remove_leftovers(tmp_path)
    assert contents(tmp_path) == [".mine", "checkpoint-3"]
    remove_leftovers(tmp_path / "nowhere")


def test_the_room_needed_is_what_checkpoints_and_the_policy_take(tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    train(tiny_model, tmp_path, max_steps=1)
    checkpoint = sum(file.stat().st_size for file in (tmp_path / "checkpoint-1").iterdir())
    weights = (tmp_path / "checkpoint-1" / "model.safetensors").stat().st_size
    small_files = estimate_disk_bytes(nn.Module())
    assert estimate_disk_bytes(tiny_model) - small_files == pytest.approx(2 * checkpoint + weights, rel=0.1)
    assert estimate_disk_bytes(tiny_model, resumed=True) - small_files == pytest.approx(checkpoint + weights, rel=0.1)
    assert estimate_disk_bytes(with_adapter(tiny_model)) < estimate_disk_bytes(tiny_model)


def test_a_full_disk_is_reported_before_training(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    check_disk_space(tmp_path / "a" / "b", free // 2, "checkpoints and the policy")
    assert contents(tmp_path) == []
    with pytest.raises(
        InputError, match=r"b: needs about 1000000\.0 GB for checkpoints and the policy, and .* is free"
    ):
        check_disk_space(tmp_path / "a" / "b", 10**15, "checkpoints and the policy")


def test_an_unwritable_folder_is_reported_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written \(not a directory\); choose another folder"):
        check_disk_space(tmp_path / "file" / "folder", 0, "the policy")

    def no_inode_left(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", no_inode_left)
    with pytest.raises(InputError, match=r"cannot be written \(no space left on device\)"):
        check_disk_space(tmp_path, 0, "the policy")
