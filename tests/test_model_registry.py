from pathlib import Path

import pytest

from copydesk import model_registry
from copydesk.errors import InputError
from copydesk.model_registry import cache_folder


def test_a_pulled_model_lies_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COPYDESK_CACHE", str(tmp_path))
    folder = tmp_path / "models" / "smollm2"
    folder.mkdir(parents=True)
    (folder / model_registry.PINNED_MODEL_FILE).write_text("{}")
    assert model_registry.find_pinned_model_folder("smollm2") == folder


@pytest.mark.parametrize("name", ["embedded", "./smollm2", "SmolLM2", "nobody/smollm2", ""])
def test_other_names_are_none_of_ours(name: str) -> None:
    assert model_registry.find_pinned_model_folder(name) is None


def test_one_that_is_not_here_says_how_to_get_it() -> None:
    with pytest.raises(InputError, match=r"run: copydesk models pull smollm2$") as message:
        model_registry.find_pinned_model_folder("smollm2")
    assert "\n" not in str(message.value)


def test_a_folder_that_is_not_whole_is_not_a_model() -> None:
    (cache_folder() / "models" / "smollm2").mkdir(parents=True)
    with pytest.raises(InputError, match=r"models pull"):
        model_registry.find_pinned_model_folder("smollm2")
