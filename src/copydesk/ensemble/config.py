"""The settings of an ensemble that lives in a store; every change of them is an event of the log."""

from collections.abc import Mapping
from copy import copy
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo

from copydesk.ensemble.rules import DEFAULT_RULE, ENSEMBLE_PANEL, RULES, Rule, get_rule
from copydesk.utils.config import Config, Flag

EnsembleScope = Literal["global", "user", "group"]
_DEFAULTS: Mapping[str, Any] = {"alpha": 0.42}
"""Defaults that differ from the rules' own. The alpha is √2 times 0.3, a usual standard deviation of edit costs."""


class EnsembleConfig(Config):
    """The settings of an ensemble.

    The settings of all rules in `RULES` can be passed by name, `EnsembleConfig(rule="thompson", alpha=0.2)`; those of
    the rules that are not followed are kept, so that a rule chosen again finds its own. The JSON form, which the log
    keeps, is flat too.

    Attributes:
        rule: the name of the rule that chooses, one of `RULES`.
        rule_settings: the settings of all rules by field name.
        scope: whose statistics decide: everyone's, each user's, or those of the user's group (everyone's for a user
            without a group).
        prior: with users or groups, the largest number of pulls of others that count for an arm with few own ones.
        expiry: seconds after which a missing edit is no longer expected; `None` for never.
        window: seconds over which `user_limit` and `key_limit` count.
        user_limit: most pulls, and most edits, of one user that count within the window; 0 for no limit.
        key_limit: the same of one API key.
        seed: seed of the random choices.
        metric: the name of the edit cost; costs of different metrics cannot be compared.
        cost: the settings of that `EditCost`, needed to compute further costs.

    Raises:
        InputError: there is no such rule or setting, or a value is out of range.
    """

    rule: Annotated[str, Flag(panel=ENSEMBLE_PANEL), Field(description="Rule that chooses the arm.")] = DEFAULT_RULE
    rule_settings: Mapping[str, Any] = {}
    scope: Annotated[
        EnsembleScope,
        Flag(panel=ENSEMBLE_PANEL),
        Field(description="Whose edits decide: everyone's, each user's, or those of the user's group."),
    ] = "global"
    prior: Annotated[
        float,
        Flag(panel=ENSEMBLE_PANEL),
        Field(ge=0, description="Most pulls of other users that count for an arm new to a user or group."),
    ] = 10.0
    expiry: Annotated[
        float | None,
        Flag(panel=ENSEMBLE_PANEL, default_text="604800, a week"),
        Field(gt=0, description="Seconds to wait for an edit; 0 to wait for ever."),
    ] = 7 * 24 * 3600.0
    window: Annotated[
        float,
        Flag(panel=ENSEMBLE_PANEL),
        Field(gt=0, description="Seconds over which --user-limit and --key-limit count."),
    ] = 3600.0
    user_limit: Annotated[
        int,
        Flag(panel=ENSEMBLE_PANEL),
        Field(ge=0, description="Most pulls, and most edits, of one user that count within the window; 0 for all."),
    ] = 1_000
    key_limit: Annotated[
        int,
        Flag(panel=ENSEMBLE_PANEL),
        Field(ge=0, description="Most pulls, and most edits, of one API key that count within the window; 0 for all."),
    ] = 100_000
    seed: Annotated[int, Flag(panel=ENSEMBLE_PANEL), Field(ge=0, description="Seed of the random choices.")] = 0
    metric: str = ""
    cost: Mapping[str, Any] = {}

    def __init__(self, /, **values: Any) -> None:  # for type checkers, which do not know the settings of the rules
        super().__init__(**values)

    @model_validator(mode="before")
    @classmethod
    def _gather_rule_settings(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        rest = dict(values)
        settings = {name: field.default for name, field in _collect_rule_fields().items()}
        settings |= rest.pop("rule_settings", {})
        settings |= {name: rest.pop(name) for name in list(rest) if name in settings}
        return rest | {"rule_settings": settings}

    @model_validator(mode="after")
    def _check_rule(self) -> Self:
        self.make_rule()
        return self

    def make_rule(self) -> Rule:
        """The rule with its settings.

        Raises:
            InputError: there is no such rule, or one of its settings is out of range.
        """
        rule = get_rule(self.rule)
        return rule(**{name: self.rule_settings[name] for name in rule.model_fields if name in self.rule_settings})

    @classmethod
    def get_fields(cls) -> dict[str, FieldInfo]:
        """The fields with the settings of the rules in place of `rule_settings`."""
        fields: dict[str, FieldInfo] = {}
        for name, field in cls.model_fields.items():
            fields |= _collect_rule_fields() if name == "rule_settings" else {name: field}
        fields["rule"] = copy(fields["rule"])
        fields["rule"].annotation = Literal[tuple(RULES)]  # type: ignore[assignment]
        return fields

    def to_json(self) -> dict[str, Any]:
        """All settings as JSON values."""
        values = {name: self.rule_settings.get(name, getattr(self, name, None)) for name in self.get_fields()}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the settings from a log, without those that only a newer Copydesk knows."""
        known = cls.get_fields()
        return cls(**{name: value for name, value in values.items() if name in known})


def _collect_rule_fields() -> dict[str, FieldInfo]:
    """The settings of all rules, each once, with the names of the rules that have it in the description."""
    fields: dict[str, FieldInfo] = {}
    for rule in RULES.values():
        for name, field in rule.model_fields.items():
            if name not in fields and not field.exclude:
                owners = ", ".join(other for other, one in RULES.items() if name in one.model_fields)
                fields[name] = copy(field)
                fields[name].default = _DEFAULTS.get(name, field.default)
                fields[name].description = f"{(field.description or name).rstrip('.')} ({owners})."
    return fields
