"""Private hooks of Transformers, TRL and Accelerate that training overrides, calls or sets, one test for each.

A failure names the hook, the library with its version and the file that uses the hook. Fix that file for the new
release, or lower the upper bound in `pyproject.toml`.
"""

import importlib
import inspect
import re
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from accelerate import PartialState
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from trl.trainer.rloo_trainer import RLOOTrainer
from trl.trainer.utils import add_fused_lm_head

import copydesk

SOURCE = Path(copydesk.__file__).parent


@dataclass(frozen=True)
class Hook:
    """A method we override: its class, its parameters without `self`, and the file that overrides it.

    With `called`, the library must also call it itself, because an override that is never called does nothing.
    """

    owner: type
    name: str
    parameters: tuple[str, ...]
    used_in: str
    called: bool = True

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"

    def describe_problem(self) -> str | None:
        """What is wrong with the hook in the installed release, in one sentence; `None` if nothing is."""
        library = self.owner.__module__.partition(".")[0]
        where = f"{self} of {library} {version(library)}, which copydesk/{self.used_in} depends on,"
        hook = getattr(self.owner, self.name, None)
        if hook is None:
            return f"{where} is gone"
        parameters = tuple(inspect.signature(hook).parameters)[1:]
        if parameters != self.parameters:
            return f"{where} now takes {parameters} and no longer {self.parameters}"
        if self.called and not any(self._is_used_in(cls) for cls in self.owner.__mro__[:-1]):
            return f"{where} is no longer called by {self.owner.__name__}"
        return None

    def _is_used_in(self, cls: type) -> bool:
        if cls.__module__.partition(".")[0] not in ("transformers", "trl"):
            return False
        return re.search(rf"\bself\.{self.name}\b", inspect.getsource(sys.modules[cls.__module__])) is not None


CHECKPOINTS, BASE, TRAINER, RL = (
    f"training/{name}.py" for name in ("checkpoints", "base_trainer", "trainer", "rl/trainer")
)
HOOKS = [
    Hook(Trainer, "_save_checkpoint", ("model", "trial"), CHECKPOINTS),
    Hook(Trainer, "_get_output_dir", ("trial",), CHECKPOINTS),
    Hook(Trainer, "save_model", ("output_dir", "_internal_call"), CHECKPOINTS),
    Hook(Trainer, "_issue_warnings_after_load", ("load_result",), CHECKPOINTS),
    Hook(
        Trainer,
        "_init_training_state",
        ("max_steps", "num_update_steps_per_epoch", "num_train_epochs", "resume_from_checkpoint", "trial"),
        CHECKPOINTS,
    ),
    Hook(
        Trainer,
        "_run_epoch",
        (
            *("model", "epoch", "train_dataloader", "steps_in_epoch", "num_update_steps_per_epoch", "trial"),
            *("ignore_keys_for_eval", "start_time", "resume_from_checkpoint", "epochs_trained"),
            "steps_trained_in_current_epoch",
        ),
        CHECKPOINTS,
    ),
    Hook(
        Trainer,
        "_maybe_log_save_evaluate",
        (
            *("tr_loss", "grad_norm", "model", "trial", "epoch", "ignore_keys_for_eval", "start_time"),
            "learning_rate",
        ),
        CHECKPOINTS,
    ),
    Hook(Trainer, "_get_train_sampler", ("train_dataset",), BASE),
    Hook(Trainer, "_get_num_items_in_batch", ("batch_samples", "device"), BASE),
    Hook(Trainer, "create_accelerator_and_postprocess", (), BASE),
    Hook(Trainer, "compute_loss", ("model", "inputs", "return_outputs", "num_items_in_batch"), TRAINER),
    Hook(Trainer, "log", ("logs", "start_time"), TRAINER),
    Hook(RLOOTrainer, "_send_telemetry", (), RL),
    Hook(RLOOTrainer, "_tokenize_prompts", ("prompts",), RL),
    Hook(RLOOTrainer, "create_model_card", ("model_name", "dataset_name", "tags"), RL),
]


@pytest.mark.parametrize("hook", HOOKS, ids=str)
def test_a_method_we_override_is_there_and_called_with_the_same_parameters(hook: Hook) -> None:
    assert re.search(rf"def {hook.name}\(", (SOURCE / hook.used_in).read_text()), f"{hook}: no longer used; remove it"
    problem = hook.describe_problem()
    assert problem is None, problem


def release(library: str, used_in: str) -> str:
    return f"of {library} {version(library)}, which copydesk/{used_in} depends on,"


@pytest.mark.parametrize(
    ("owner", "attribute", "used_in"),
    [
        (Trainer, "model_accepts_loss_kwargs", BASE),
        (Trainer, "is_fsdp_enabled", BASE),
        (RLOOTrainer, "ref_model", RL),
        (RLOOTrainer, "beta", RL),
    ],
)
def test_an_attribute_we_set_on_a_trainer_is_still_read(owner: type, attribute: str, used_in: str) -> None:
    assert f"self.{attribute} = " in (SOURCE / used_in).read_text()
    library = owner.__module__.partition(".")[0]
    read = re.search(rf"self\.{attribute}\b(?! *=[^=])", inspect.getsource(importlib.import_module(owner.__module__)))
    assert read, f"{owner.__name__}.{attribute} {release(library, used_in)} is no longer read"


def test_the_number_of_gpus_of_the_training_arguments_can_be_set(tmp_path: Path) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    words = f"TrainingArguments._n_gpu {release('transformers', 'training/loop.py')}"
    assert isinstance(arguments.n_gpu, int) and hasattr(arguments, "_n_gpu"), f"{words} is gone"
    arguments._n_gpu = 7
    assert arguments.n_gpu == 7, f"{words} no longer decides n_gpu"


def test_the_attention_of_a_model_follows_its_configuration() -> None:
    words = f"PreTrainedConfig._attn_implementation {release('transformers', 'training/logprobs.py')}"
    config = LlamaConfig()
    config._attn_implementation = "sdpa"
    assert getattr(config, "_attn_implementation", None) == "sdpa", f"{words} can no longer be set"
    model = inspect.getsource(sys.modules[LlamaForCausalLM.__module__])
    assert "config._attn_implementation" in model, f"{words} is no longer read by a model's forward pass"


def test_the_shared_state_of_the_processes_holds_how_they_are_distributed() -> None:
    words = f"PartialState._shared_state {release('accelerate', BASE)}"
    PartialState()
    state = getattr(PartialState, "_shared_state", None)
    assert isinstance(state, dict) and "distributed_type" in state, f"{words} no longer holds 'distributed_type'"


def test_trl_can_still_put_its_fused_head_on_a_reference_model() -> None:
    words = f"trl.trainer.utils.add_fused_lm_head {release('trl', RL)}"
    required = [
        name
        for name, one in inspect.signature(add_fused_lm_head).parameters.items()
        if one.default is inspect.Parameter.empty
    ]
    assert required == ["model"], f"{words} now requires {required}"


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (Hook(Trainer, "_save_everything", (), CHECKPOINTS), "is gone"),
        (Hook(Trainer, "_save_checkpoint", ("model",), CHECKPOINTS), "now takes .* and no longer"),
        (Hook(Trainer, "pop_callback", ("callback",), CHECKPOINTS), "no longer called by Trainer"),
    ],
    ids=str,
)
def test_the_failure_of_a_hook_names_the_library_its_version_and_our_file(hook: Hook, words: str) -> None:
    problem = hook.describe_problem()
    assert problem is not None
    assert re.search(
        rf"^Trainer\.{hook.name} of transformers {re.escape(version('transformers'))}, which "
        rf"copydesk/training/checkpoints\.py depends on, .*{words}",
        problem,
    )
