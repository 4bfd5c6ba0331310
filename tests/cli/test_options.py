"""Options of a command are made from a settings class."""

from typing import Annotated, Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from copydesk.cli._options import options_from_config
from copydesk.errors import InputError
from copydesk.utils.config import Config, Flag


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
        *["--cost-epochs", "4"],
    )
    assert given == Settings(epochs=1.5, kind="two", rate=0.1, full=True, origins=("a", "b"), model=Model(epochs=4))


@pytest.mark.parametrize("flag", ["--max-grad-norm", "--clip"])
def test_an_old_spelling_still_works(flag: str) -> None:
    assert invoke(flag, "2").clip == 2.0


def test_help_says_what_the_fields_say() -> None:
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    shown = ["Passes over the log.", "[default: 3.0]", "[default: (of the method)]", "--max-grad-norm", "Train all"]
    for words in shown:
        assert words in text
    assert "secret" not in text and "Fits on" not in text and "--no-full" not in text


def test_a_value_out_of_range_names_the_flag() -> None:
    with pytest.raises(InputError, match=r"^--cost-epochs: 0\.0 must be greater than 0$"):
        CliRunner().invoke(app, ["--out", "x", "--cost-epochs", "0"], catch_exceptions=False)


def test_an_unknown_choice_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["--out", "x", "--kind", "three"]).exit_code == 2
