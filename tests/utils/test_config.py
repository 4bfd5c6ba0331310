"""Settings classes: one line for a bad value, and nothing changes once it is made."""

import json
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from copydesk.errors import InputError
from copydesk.utils.config import Config, Flag, Real, describe_range


class Inner(Config):
    epochs: Annotated[float, Flag("--inner-epochs"), Field(gt=0, description="Passes over the log.")] = 1.0


class Outer(Config):
    rate: Annotated[float | None, Flag("--lr", "--rate"), Field(gt=0, description="Peak learning rate.")] = None
    share: Annotated[float, Field(ge=0, lt=1, description="Share of the rows.")] = 0.1
    count_most: Annotated[int, Field(ge=0, description="Most rows.")] = 4
    kind: Annotated[Literal["one", "two"], Field(description="Which one.")] = "one"
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"rate": -1.0}, "--lr: -1.0 must be greater than 0"),
        ({"rate": float("nan")}, "--lr: nan must be greater than 0"),
        ({"share": 1.0}, "--share: 1.0 must be at least 0 and less than 1"),
        ({"count_most": 1.5}, "--count-most: 1.5 is not a whole number"),
        ({"count_most": "many"}, "--count-most: 'many' is not a whole number"),
        ({"kind": "three"}, "--kind: 'three' is not one of one, two"),
        ({"inner": {"epochs": 0}}, "--inner-epochs: 0 must be greater than 0"),
        ({"shares": 0.2}, "there is no setting 'shares'; did you mean 'share'?"),
        ({"zzz": 0.2}, "there is no setting 'zzz'; choose from rate, share, count_most, kind, inner"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_flag(values: dict[str, object], line: str) -> None:
    with pytest.raises(InputError) as caught:
        Outer(**values)
    assert str(caught.value) == line


def test_a_copy_is_validated_as_a_new_one_is() -> None:
    assert Outer().replace(share=0.5) == Outer(share=0.5)
    assert Outer(inner=Inner(epochs=2)).replace(share=0.5).inner == Inner(epochs=2)
    with pytest.raises(InputError, match=r"--share: 7\.0 must be at least 0 and less than 1"):
        Outer().replace(share=7.0)


def test_it_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Outer().share = 0.5  # type: ignore[misc]


def test_a_range_in_words() -> None:
    assert describe_range(Outer.model_fields["share"]) == "at least 0 and less than 1"
    assert describe_range(Outer.model_fields["kind"]) == ""


class Share(Config):
    size: Annotated[Real | None, Field(ge=0, lt=5, description="Any number.")] = 0.5


def test_a_whole_number_of_a_real_setting_stays_whole() -> None:
    assert json.dumps([Share(size=size).model_dump()["size"] for size in (2, 2.0, 0)]) == "[2, 2.0, 0]"
    with pytest.raises(InputError, match=r"^--size: 5 must be at least 0 and less than 5$"):
        Share(size=5)
    with pytest.raises(InputError, match=r"^--size: inf must be"):
        Share(size=float("inf"))
