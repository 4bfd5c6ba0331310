from pathlib import Path
from typing import Any

import pytest

from copydesk.errors import InputError
from copydesk.training.config import TrainConfig
from copydesk.training.policy_file import RUN_FILE, BaseModelRef
from copydesk.training.resume import RunFile, check_same_run

BASE = BaseModelRef(spec="models/tiny", kind="folder", revision=None, weights_sha256="aa", parameters=10)
RUN = RunFile(settings=TrainConfig().to_json(), base=BASE, data_sha256="bb", rows_sha256="cc")


def changed(**fields: Any) -> RunFile:
    return RUN.model_copy(update=fields)


def with_settings(**settings: Any) -> RunFile:
    return changed(settings=TrainConfig(**settings).to_json())


def based_on(**fields: Any) -> RunFile:
    return changed(base=BASE.model_copy(update=fields))


def test_a_run_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    RUN.write(tmp_path)
    assert RunFile.read(tmp_path) == RUN
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


@pytest.mark.parametrize(
    "run",
    [RUN, with_settings(save_every=7), based_on(spec="/elsewhere/tiny")],
    ids=["the same", "saved more often", "the model moved"],
)
def test_the_same_run_may_be_resumed(run: RunFile, tmp_path: Path) -> None:
    RUN.write(tmp_path)
    check_same_run(tmp_path, run)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (with_settings(method="dpo"), "method early, and now it is dpo"),
        (with_settings(learning_rate=0.5), "learning_rate 0.0001, and now it is 0.5"),
        (with_settings(beta=0.2, seed=1), "beta 0.1, and now it is 0.2"),
        (with_settings(max_steps=9), "max_steps None, and now it is 9"),
        (based_on(weights_sha256="ab"), "model of hash aa, and now it is of hash ab"),
        (based_on(weights_sha256=None, revision="r1"), "model of hash aa, and now it is models/tiny at r1"),
        (changed(data_sha256="bc"), "log of hash bb, and now it is of hash bc"),
        (changed(rows_sha256="cd"), "token ids of hash cc, and now it is of hash cd"),
        (changed(processes=2), "processes 1, and now it is 2"),
    ],
)
def test_another_run_is_refused_by_its_first_difference(run: RunFile, said: str, tmp_path: Path) -> None:
    RUN.write(tmp_path)
    with pytest.raises(InputError) as raised:
        check_same_run(tmp_path, run)
    assert str(raised.value) == (f"{tmp_path}: the run began with {said}; use the same or start over with --force")


def test_a_setting_of_a_newer_version_is_a_difference(tmp_path: Path) -> None:
    changed(settings={name: value for name, value in RUN.settings.items() if name != "clip"}).write(tmp_path)
    with pytest.raises(InputError, match=r"clip None, and now it is 1\.0"):
        check_same_run(tmp_path, RUN)


def test_hub_models_are_distinguished_by_their_commit(tmp_path: Path) -> None:
    based_on(weights_sha256=None, revision="r1").write(tmp_path)
    check_same_run(tmp_path, based_on(weights_sha256=None, revision="r1"))
    with pytest.raises(InputError, match="at r1, and now it is models/tiny at r2"):
        check_same_run(tmp_path, based_on(weights_sha256=None, revision="r2"))


def test_a_missing_or_damaged_run_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run to resume; leave out --resume"):
        check_same_run(tmp_path, RUN)
    (tmp_path / RUN_FILE).write_text('{"settings"')
    with pytest.raises(InputError, match="start over with --force"):
        check_same_run(tmp_path, RUN)
