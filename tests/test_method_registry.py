"""The table of training methods."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pkgutil import resolve_name

import pytest

from copydesk.errors import InputError
from copydesk.method_registry import METHODS, describe_learning_rates, get_method, register_method


@pytest.fixture(autouse=True)
def restored_methods() -> Iterator[None]:
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


@pytest.mark.parametrize("name", list(METHODS))
def test_every_entry_is_complete(name: str) -> None:
    method = METHODS[name]
    assert method.name == name and method.label and method.note
    assert method.lora_lr > method.full_lr > 0
    if isinstance(method.objective, str):
        assert callable(resolve_name(method.objective))
    assert method.on_policy == (method.objective is None)


def test_the_order_is_that_of_training() -> None:
    assert list(METHODS) == ["sft", "dpo", "rl", "early"]


def test_default_learning_rates_are_written_as_people_write_them() -> None:
    assert describe_learning_rates() == (
        "sft 2e-4, dpo 5e-5, rl 5e-5, early 1e-4; with --full sft 1e-5, dpo 1e-6, rl 1e-6, early 5e-6"
    )


def test_a_registered_method_is_found_by_name() -> None:
    method = register_method(replace(METHODS["sft"], name="sft2", objective=lambda batch, config: (batch, config)))
    assert get_method("sft2") is method
    assert method.loss("batch", {"a": 1}) == ("batch", {"a": 1})


@pytest.mark.parametrize("name", ["sft", "all", "late", "a/b", ""])
def test_a_name_that_is_taken_or_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="method"):
        register_method(replace(METHODS["sft"], name=name))


def test_an_unknown_method_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"^--method: 'ppo' is not one of sft, dpo, rl, early$"):
        get_method("ppo")


def test_a_method_on_its_own_responses_has_no_loss_over_a_log() -> None:
    with pytest.raises(TypeError, match="samples its own responses"):
        METHODS["rl"].loss(None, None)


def test_the_table_loads_no_torch() -> None:
    code = "import sys, copydesk.method_registry, copydesk.training.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
