"""Options of a command are made from a settings class."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from copydesk.cli._options import options_from_config
from copydesk.errors import InputError
from copydesk.utils.config import Config, Flag, Real


class Model(Config):
    members: Annotated[int, Flag(panel="Cost model"), Field(gt=0, description="Fits on bootstrap resamples.")] = 3
    epochs: Annotated[float, Flag("--cost-epochs"), Field(gt=0, description="Passes for the cost model.")] = 2.0


class Settings(Config):
    epochs: Annotated[float, Field(gt=0, description="Passes over the log.")] = 3.0
    clip: Annotated[float, Flag("--max-grad-norm", "--clip"), Field(gt=0, description="Largest gradient norm.")] = 1.0
    kind: Annotated[Literal["one", "two"], Field(description="Which one.")] = "one"
    rate: Annotated[float | None, Flag(default_text="of the method"), Field(gt=0, description="Learning rate.")] = None
    full: Annotated[bool, Field(description="Train all weights.")] = False
    origins: Annotated[tuple[str, ...], Flag("--origin"), Field(description="Web sites that may call.")] = ()
    dropout: Annotated[Real | None, Field(ge=0, description="Dropout in the adapter.")] = 0.0
    secret: Annotated[int, Field(description="Not on the command line.")] = 7
    model: Model = Model()


seen: list[tuple[str, Settings]] = []
app = typer.Typer()


@app.command()
@options_from_config(exclude=["secret", "model.members"])
def run(
    out: Annotated[str, typer.Option(help="The folder to write to.")],
    settings: Settings,
    quick: Annotated[bool, typer.Option("--quick", help="A smaller run.")] = False,
) -> None:
    """Do it."""
    seen.append((out, settings))


def invoke(*words: str) -> Settings:
    seen.clear()
    result = CliRunner().invoke(app, ["--out", "x", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0][1]


def test_without_options_it_is_the_default() -> None:
    assert invoke() == Settings()


def test_every_option_reaches_its_field() -> None:
    given = invoke(
        *["--epochs", "1.5", "--kind", "two", "--rate", "0.1", "--full", "--origin", "a", "--origin", "b"],
        *["--cost-epochs", "4", "--dropout", "0.5"],
    )
    assert given == Settings(
        epochs=1.5, kind="two", rate=0.1, full=True, origins=("a", "b"), dropout=0.5, model=Model(epochs=4)
    )


@pytest.mark.parametrize("flag", ["--max-grad-norm", "--clip"])
def test_an_old_spelling_still_works(flag: str) -> None:
    assert invoke(flag, "2").clip == 2.0


def test_help_says_what_the_fields_say() -> None:
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    shown = [
        "Passes over the log.",
        "[default: 3.0]",
        "[default: (of the method)]",
        "[default: 0.0]",
        "--max-grad-norm",
        "Train all",
    ]
    for words in shown:
        assert words in text
    assert "secret" not in text and "Fits on" not in text and "--no-full" not in text


def test_a_value_out_of_range_names_the_flag() -> None:
    with pytest.raises(InputError, match=r"^--cost-epochs: 0\.0 must be greater than 0$"):
        CliRunner().invoke(app, ["--out", "x", "--cost-epochs", "0"], catch_exceptions=False)


def test_an_unknown_choice_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["--out", "x", "--kind", "three"]).exit_code == 2


class Listed(Config):
    seeds: Annotated[tuple[int, ...], Flag(comma=True), Field(description="The seeds.")] = (0, 1)
    users: Annotated[Mapping[str, str], Flag("--user"), Field(default_factory=dict, description="The users.")]
    shares: Annotated[Mapping[str, float], Flag("--share"), Field(description="The shares.")] = {}
    rounds: Annotated[int, Field(ge=1, description="The rounds.")] = 200
    least: Annotated[int, Field(ge=0, description="The least.")] = 0


parts: list[dict[str, Any]] = []
listed = typer.Typer()


@listed.command("whole")
@options_from_config()
def run_whole(settings: Listed) -> None:
    """Take finished settings."""
    parts.append(dict(settings))


@listed.command("given")
@options_from_config()
def run_given(options: Annotated[dict[str, Any], Listed]) -> None:
    """Take only what was given."""
    parts.append(options)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["whole"], {"seeds": (0, 1), "users": {}, "shares": {}, "rounds": 200, "least": 0}),
        (["whole", "--seeds", "3, 4"], {"seeds": (3, 4), "users": {}, "shares": {}, "rounds": 200, "least": 0}),
        (["given"], {}),
        (["given", "--rounds", "200"], {"rounds": 200}),
        (["given", "--share", "a=0.5", "--share", "b=2"], {"shares": {"a": 0.5, "b": 2.0}}),
        (["given", "--user", "a=b@c", "--user", "d=e=f"], {"users": {"a": "b@c", "d": "e=f"}}),
    ],
)
def test_lists_with_commas_pairs_and_only_what_was_given(words: list[str], found: dict[str, Any]) -> None:
    parts.clear()
    CliRunner().invoke(listed, words, catch_exceptions=False)
    assert parts == [found]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--seeds", "one"], r"^--seeds one: write numbers"),
        (["--user", "a"], r"^--user a: write NAME=SPEC$"),
        (["--share", "a"], r"^--share a: write NAME=NUMBER, such as base=0.1$"),
        (["--share", "a=b"], r"^--share a=b: write NAME=NUMBER, such as base=0.1$"),
    ],
)
def test_a_list_or_pair_that_cannot_be_read_is_one_line(words: list[str], line: str) -> None:
    with pytest.raises(InputError, match=line):
        CliRunner().invoke(listed, ["given", *words], catch_exceptions=False)


@pytest.mark.parametrize("command", ["whole", "given"])
def test_help_shows_a_default_of_zero_and_no_empty_one(command: str) -> None:
    text = CliRunner().invoke(listed, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert any(f"The least. [default: {zero}]" in text for zero in ("0", "(0)"))
    assert any(f"The seeds. [default: {seeds}]" in text for seeds in ("0,1", "(0,1)"))
    assert "The users. " in text and "The users. [default" not in text
