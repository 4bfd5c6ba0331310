import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from copydesk import embedded, model_registry
from copydesk.data.cost import compute_tokenizer_fingerprint, load_tokenizer, tokenize_texts
from copydesk.errors import InputError


def test_all_of_the_text_and_nothing_else(tokenizer_folder: Path) -> None:
    texts = ["", "a", "the meeting is on Monday, and 😀 is due on Tuesday  "]
    ids = tokenize_texts(texts, str(tokenizer_folder))
    assert ids[0] == []
    assert len(ids[1]) == 1
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    assert [tokenizer.decode(each) for each in ids] == texts


def test_a_folder_and_its_file_are_the_same_tokenizer_and_loaded_once(tokenizer_folder: Path) -> None:
    folder, file = str(tokenizer_folder), str(tokenizer_folder / "tokenizer.json")
    assert tokenize_texts(["the report"], folder) == tokenize_texts(["the report"], file)
    assert compute_tokenizer_fingerprint(folder) == compute_tokenizer_fingerprint(file)
    assert load_tokenizer(folder) is load_tokenizer(folder)


def test_the_embedded_name_is_the_shipped_folder(tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "path", lambda: tokenizer_folder)
    load_tokenizer.cache_clear()
    assert tokenize_texts(["the report"], "embedded") == tokenize_texts(["the report"], str(tokenizer_folder))
    load_tokenizer.cache_clear()


def test_a_pulled_model_is_named_by_its_name(tokenizer_folder: Path) -> None:
    load_tokenizer.cache_clear()
    with pytest.raises(InputError, match=r"run: copydesk models pull smollm2"):
        tokenize_texts(["the report"], "smollm2")
    shutil.copytree(tokenizer_folder, model_registry.SMOLLM2.folder)
    (model_registry.SMOLLM2.folder / model_registry.PINNED_MODEL_FILE).write_text("{}")
    assert tokenize_texts(["the report"], "smollm2") == tokenize_texts(["the report"], str(tokenizer_folder))
    load_tokenizer.cache_clear()


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no tokenizer\.json in this folder"):
        tokenize_texts(["a"], str(tmp_path))


@pytest.mark.parametrize("content", ["", "{}", "[1", '{"model": {"type": "BPE"}}'])
def test_a_file_that_is_no_tokenizer(tmp_path: Path, content: str) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(content)
    with pytest.raises(InputError, match="cannot be loaded") as raised:
        tokenize_texts(["a"], str(file))
    assert "\n" not in str(raised.value)


def test_a_hub_that_does_not_serve_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str) -> Tokenizer:
        raise OSError(f"no route to {name}\nsecond line")

    monkeypatch.setattr("copydesk.data.cost.Tokenizer", type("Hub", (), {"from_pretrained": unreachable}))
    with pytest.raises(InputError, match=r"'some/model' cannot be loaded \(no route to some/model\)"):
        tokenize_texts(["a"], "some/model")


def test_half_of_a_surrogate_pair(tokenizer_folder: Path) -> None:
    with pytest.raises(InputError, match=r"'abc\\ud83d': half of a surrogate pair"):
        tokenize_texts(["fine", "abc\ud83d"], str(tokenizer_folder))
