"""The settings of `copydesk demo` and `copydesk simulate`: an online phase, and what comes before it."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, InstanceOf, field_validator, model_validator

from copydesk.errors import InputError
from copydesk.simulate.recipe import PERSONAL_RECIPE, RECIPE
from copydesk.simulate.tasks import SCRIPTED_TASKS, get_task
from copydesk.simulate.users import get_user
from copydesk.simulate.users.scripted import MIN_PERSONAL_EDITS, PersonalUser, make_personal_users
from copydesk.training.config import TrainConfig
from copydesk.utils.config import Config, make_setting_error

if TYPE_CHECKING:
    from copydesk.policies.base import Sampling

LATE_POLICY = "late"
"""The name of the ensemble of all policies, which none of them may have."""


class PlayConfig(Config):
    """The settings of an online phase.

    Raises:
        InputError: there is no such task or user, or a number is out of range.
    """

    task: Annotated[str, Field(description="What is written: email or summarization.")] = "email"
    user: Annotated[
        str,
        Field(
            description="The user who edits: strong (towards every preference), weak (towards two in each "
            "interaction), transfer (in other words), other (another taste), weak-0.35 or erring-0.30."
        ),
    ] = "strong"
    rounds: Annotated[int, Field(ge=1, description="The online rounds T of every policy, and of every person.")] = 200
    seed: Annotated[int, Field(ge=0, description="The seed of documents, responses, edits and training.")] = 0
    model: Annotated[
        str, Field(description="The reference policy of a demo; its tokenizer counts the sub-tokens of the edit cost.")
    ] = "embedded"
    temperature: Annotated[
        float, Field(ge=0, description="The temperature of the responses, the same for every policy.")
    ] = 0.7
    alpha: Annotated[float, Field(description="How much the late ensemble explores: α of its UCB rule.")] = 0.3
    c_max: Annotated[
        float,
        Field(description="The largest cost of a round: that of a very short response can be many times 1."),
    ] = 3.0
    max_new_tokens: Annotated[int, Field(ge=1, description="The most tokens of a response.")] = 160

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        get_task(self.task)
        get_user(self.user)
        return self

    def sampling(self, temperature: float | None = None) -> "Sampling":
        """How responses are drawn, at the online phase's temperature or another."""
        from copydesk.policies.base import Sampling  # its package loads torch

        return Sampling(self.temperature if temperature is None else temperature, self.max_new_tokens)

    def to_json(self) -> dict[str, Any]:
        """Every setting, as results.json keeps it."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class DemoConfig(PlayConfig):
    """The settings of one run of the whole loop; `recipe` names the policies in the order they are first tried."""

    edits: Annotated[int, Field(ge=2, description="The rows n of the log, of all people together.")] = 300
    log_temperature: Annotated[
        float, Field(ge=0, description="The temperature of the responses in the log; 1 samples from π_ref itself.")
    ] = 1.0
    recipe: Annotated[
        Mapping[str, InstanceOf[TrainConfig]],
        Field(default_factory=lambda: RECIPE, description="The training settings of each method."),
    ]

    def to_json(self) -> dict[str, Any]:
        """Every setting, as results.json keeps it."""
        return super().to_json() | {"recipe": {method: one.to_json() for method, one in self.recipe.items()}}


class OnlineConfig(PlayConfig):
    """The settings of an online phase with policies that exist already."""

    policies: Annotated[
        Mapping[str, str],
        Field(
            default_factory=dict,
            validate_default=True,
            description="The spec of each arm by its name, in the order they are first tried.",
        ),
    ]

    @field_validator("policies")
    @classmethod
    def _check_policies(cls, policies: Mapping[str, str]) -> Mapping[str, str]:
        if not policies:
            raise InputError("--policy: there is none; name at least one, such as base=embedded")
        if LATE_POLICY in policies:
            raise InputError(f"--policy: {LATE_POLICY!r} is the name of the ensemble of all; choose another name")
        return policies


class PersonalConfig(PlayConfig):
    """The settings of a run with several people.

    All people have the strength of `user`, and three of the six have its taste. `rounds` are each person's.

    Raises:
        InputError: the task is not a scripted one, or there are too few edits for everybody to have given one.
    """

    edits: Annotated[int, Field(description="The rows of the log, of all people together.")] = 300
    log_temperature: Annotated[float, Field(ge=0, description="The temperature of the responses in the log.")] = 1.0
    training: Annotated[
        InstanceOf[TrainConfig],
        Field(
            default_factory=lambda: PERSONAL_RECIPE,
            description="The training settings of the shared policy and of each person's own.",
        ),
    ]
    prior: Annotated[
        float,
        Field(
            ge=0,
            description="At most how many pulls of the others count for an arm of which a person's ensemble knows "
            "little; the default of `copydesk serve`.",
        ),
    ] = 10.0

    @model_validator(mode="after")
    def _check_people(self) -> Self:
        if self.task not in SCRIPTED_TASKS:
            scripted = ", ".join(SCRIPTED_TASKS)
            raise make_setting_error(
                type(self), "task", f"{self.task}: people with different tastes need one of {scripted}"
            )
        if self.edits < MIN_PERSONAL_EDITS:
            detail = f"{self.edits} must be at least {MIN_PERSONAL_EDITS}, so that everybody has given one"
            raise make_setting_error(type(self), "edits", detail)
        return self

    @cached_property
    def users(self) -> list[PersonalUser]:
        """The people who edit, and how many edits each gave."""
        return make_personal_users(get_user(self.user), self.edits)

    def to_json(self) -> dict[str, Any]:
        """Every setting, as results.json keeps it."""
        own = {"training": self.training.to_json(), "people": {one.name: one.to_json() for one in self.users}}
        return super().to_json() | own
