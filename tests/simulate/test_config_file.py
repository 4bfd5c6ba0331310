from pathlib import Path

import pytest

from copydesk.errors import InputError
from copydesk.simulate.config import ExperimentConfig
from copydesk.simulate.log_run import list_log_runs
from copydesk.utils.config import merge_config, read_toml


def read_config(file: Path) -> ExperimentConfig:
    return merge_config(ExperimentConfig, file, read_toml(file), {})


def test_tables_and_lists_become_settings(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(
        'columns = ["email/strong"]\nseeds = [4]\nalpha = 1\n[users]\nann = "m@http://h/v1"\n'
        "[recipe.rl]\nbeta = 0.2\n[recipe.rl.cost]\nepochs = 2.0\n"
    )
    settings = read_config(file)
    assert (settings.columns, settings.seeds, settings.users) == (("email/strong",), (4,), {"ann": "m@http://h/v1"})
    assert settings.make_train_config("rl", 0).cost.epochs == 2.0


def test_the_number_of_edits_may_differ_between_tasks(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(
        'columns = ["email/strong", "email/strong-n7", "summarization/strong", "summarization/weak-n5"]\nseeds = [0]\n'
        "edits = 9\nconcurrency = 64\n[task_edits]\nsummarization = 20\n"
    )
    settings = read_config(file)
    logs = [log_run.name for log_run in list_log_runs(settings)]
    assert logs == ["email-strong-n9-0", "email-strong-n7-0", "summarization-strong-n20-0", "summarization-weak-n5-0"]
    assert settings.to_json()["task_edits"] == {"summarization": 20}
    assert settings.to_json().keys() - settings.replace(task_edits={}).to_json().keys() == {"task_edits"}
    assert "concurrency" not in settings.to_json()  # results do not depend on it, so a resumed run may have another


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rounds = ", r"not a TOML file"),
        ("speed = 3", r"field speed: there is no such setting; did you mean 'seeds'\?"),
        ('columns = "email/strong"', r"field columns: 'email/strong' must be a list"),
        ("users = 3", r"field users: 3 must be a table"),
        ("rounds = 2.5", r"field rounds: 2.5 is not a whole number"),
        ("rounds = true", r"field rounds: True is not a whole number"),
        ('alpha = "much"', r"field alpha: 'much' is not a number"),
        ("model = 3", r"field model: 3 must be text"),
        ("seeds = ['0']", r"field seeds: '0' is not a whole number"),
        ("task_edits = 9", r"field task_edits: 9 must be a table"),
        ("[task_edits]\nemail = 1", r"field task_edits: email: 1 must be at least 2"),
        ("[task_edits]\nletters = 9", r"field task_edits: there is no task 'letters'; choose from "),
        ("[task_edits]\nemail = 2.5", r"field task_edits: 2.5 is not a whole number"),
        ("rounds = 0", r"field rounds: 0 must be at least 1"),
        ('arms = ["late"]', r"field arms: late is an ensemble"),
        ('columns = ["email/nobody"]', r"field columns: email/nobody: there is no user 'nobody'"),
        ("[recipe.sft]\nspeed = 3", r"field recipe\.sft\.speed: there is no such setting"),
        ("[recipe]\nsft = 3", r"field recipe.sft: must be a table"),
    ],
)
def test_an_error_in_a_file_is_one_line_that_names_file_and_key(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        read_config(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_there_must_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no such file"):
        read_config(tmp_path / "none.toml")
