"""`RULES` is the one place that lists the bandit's rules: a new rule is a class and an entry."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from copydesk.cli._options import options_from_config
from copydesk.cli.bench import bench_app
from copydesk.cli.serve import serve_command
from copydesk.data.cost import EditCost
from copydesk.ensemble import RULES, ArmState, EnsembleConfig, LateEnsemble, Rule
from copydesk.ensemble.rules import list_late_methods
from copydesk.errors import InputError
from copydesk.gateway.web.templating import describe_ensemble_config
from copydesk.report.style import get_method_label, method_styles
from copydesk.simulate.config import ExperimentConfig, find_method_error
from copydesk.store import EditStore
from copydesk.store.events import read_setup_events
from copydesk.store.write import append_config
from copydesk.utils.config import Flag


class EpsilonGreedy(Rule):
    """The arm with the least mean cost, but a random one with probability `epsilon`."""

    label: ClassVar[str] = "ε-greedy"
    note: ClassVar[str] = "tries a random policy now and then"
    is_random: ClassVar[bool] = True

    epsilon: Annotated[float, Flag(panel="Ensemble"), Field(ge=0, le=1, description="Chance of a random arm.")] = 0.1

    def __call__(self, arms: Sequence[ArmState], t: float, rng: np.random.Generator, /) -> Sequence[float]:
        means = [0.0 if arm.mean is None else arm.mean for arm in arms]
        best = means.index(min(means))
        return [(1 - self.epsilon) * (index == best) + self.epsilon / len(arms) for index in range(len(arms))]

    def describe(self) -> str:
        return f"ε-greedy: a random policy with probability {self.epsilon:g}."


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setitem(RULES, "epsilon-greedy", EpsilonGreedy)
    yield "epsilon-greedy"


@pytest.mark.parametrize("name", RULES)
def test_every_rule_can_be_shown_and_is_a_distribution(name: str) -> None:
    rule = EnsembleConfig(rule=name).make_rule()
    assert type(rule) is RULES[name]
    assert rule.label and rule.note and rule.describe().endswith(".")
    arms = [ArmState(name="a", n=3, cost_sum=0.9), ArmState(name="b", n=2, cost_sum=0.8)]
    assert sum(rule(arms, 6, np.random.default_rng(0))) == pytest.approx(1)
    for field, settings in RULES[name].model_fields.items():
        assert settings.description, field


def test_a_random_rule_says_so() -> None:
    arms = [ArmState(name="a", n=3, cost_sum=0.9), ArmState(name="b", n=3, cost_sum=0.8)]
    for name, rule in RULES.items():
        probabilities = rule()(arms, 7, np.random.default_rng(0))
        assert rule.is_random == (max(probabilities) < 1), name


def test_without_it_there_is_no_such_rule() -> None:
    with pytest.raises(InputError, match="--rule: 'epsilon-greedy' is not one of ucb, thompson, discounted-ucb, fixed"):
        EnsembleConfig(rule="epsilon-greedy")
    with pytest.raises(InputError, match="there is no setting 'epsilon'"):
        EnsembleConfig(epsilon=0.1)


def test_a_new_rule_is_a_setting_of_the_ensemble_and_survives_the_log(toy: str) -> None:
    config = EnsembleConfig(rule=toy, epsilon=0.25)
    assert config.make_rule() == EpsilonGreedy(epsilon=0.25)
    assert config.to_json()["epsilon"] == 0.25
    assert EnsembleConfig.from_json(config.to_json()) == config
    assert config.replace(rule="ucb").replace(rule=toy) == config
    old = {"rule": "ucb", "alpha": 0.3}  # a log from before the rule
    assert EnsembleConfig.from_json(old).replace(rule=toy).make_rule() == EpsilonGreedy()
    with pytest.raises(InputError, match=r"--epsilon: 2 must be at least 0 and at most 1"):
        EnsembleConfig(rule=toy, epsilon=2)
    assert config.make_rule().describe() in describe_ensemble_config(config, EditCost(unit="word")).values()


def test_a_new_rule_plays_an_ensemble(toy: str) -> None:
    ensemble = LateEnsemble(["a", "b"], EnsembleConfig(rule=toy, epsilon=0.2).make_rule())
    pulls = [ensemble.choose() for _ in range(50)]
    assert {pull.propensity for pull in pulls} <= {0.9, 0.1}
    for pull in pulls:
        ensemble.update(pull, 0.1 if pull.arm == "b" else 0.9)
    assert max(ensemble.peek_pull().propensity, 0.5) in (0.5, 0.9)
    assert ensemble.rule(ensemble.states(), 51, np.random.default_rng(0)) == [0.1, 0.9]


def test_serve_takes_a_new_rule_and_its_settings(toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[EnsembleConfig] = []
    monkeypatch.setattr("copydesk.gateway.server.serve", lambda *args, **named: started.append(args[3]))
    app = typer.Typer()
    app.command()(
        options_from_config(exclude=["cost", "metric", "max_messages", "allowed_hosts", "require_key"])(unwrap())
    )
    words = ["--store", str(tmp_path / "log.db"), "--rule", toy, "--epsilon", "0.3", "--scope", "user"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert started[0].make_rule() == EpsilonGreedy(epsilon=0.3)
    assert started[0] == EnsembleConfig(rule=toy, epsilon=0.3, scope="user")
    assert "Chance of a random arm (epsilon-greedy)." in " ".join(CliRunner().invoke(app, ["--help"]).output.split())


def unwrap() -> Any:
    """The command as it is written, before its options are made."""
    return serve_command.__wrapped__  # type: ignore[attr-defined]


def test_a_benchmark_takes_a_new_rule_by_name(toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[ExperimentConfig] = []

    def run_experiment(settings: ExperimentConfig, *args: Any, **named: Any) -> dict[str, Any]:
        started.append(settings)
        return {}

    monkeypatch.setattr("copydesk.simulate.run.run_experiment", run_experiment)
    words = ["--methods", "base,sft,late,late-epsilon-greedy", "--out", str(tmp_path), "--jobs", "1", "--json"]
    result = CliRunner().invoke(bench_app, ["paper", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert started[0].make_rule("late-epsilon-greedy") == EpsilonGreedy()
    assert started[0].make_rule("late-thompson") == RULES["thompson"](alpha=0.1)
    assert started[0].make_rule("late-discounted-ucb") == RULES["discounted-ucb"](alpha=0.1, discount=0.95)


def test_tables_and_plots_show_a_new_rule_by_its_label(toy: str) -> None:
    assert get_method_label("late-epsilon-greedy") == "Late, ε-greedy"
    found = method_styles(["late-epsilon-greedy", "late-thompson", "late-discounted-ucb"])
    assert found["late-epsilon-greedy"].note == "a late ensemble that tries a random policy now and then"
    assert len({look.light for look in found.values()}) == 3


def test_late_methods_are_the_rules_that_learn() -> None:
    assert list_late_methods() == {
        "late": "ucb",
        "late-discounted-ucb": "discounted-ucb",
        "late-thompson": "thompson",
    }
    assert "no method 'late-fixed'" in find_method_error(["late-fixed"])


def test_the_looks_of_the_late_ensembles_stay() -> None:
    found = method_styles(["late-discounted-ucb", "late-thompson", "late-other"])
    assert [(look.label, look.light, look.dark, look.line) for look in found.values()] == [
        ("Late, discounted UCB", "#8a2c06", "#b85a26", "dashdot"),
        ("Late, Thompson", "#610a6e", "#a045c8", "dashdot"),
        ("Late, other", "#6b5bb5", "#a99bf0", "dashdot"),
    ]


def test_serve_keeps_the_settings_that_are_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr("copydesk.gateway.server.serve", lambda *args, **named: started.append(args))
    before = EnsembleConfig(rule="fixed", shares={"a": 1.0}, alpha=0.3, scope="group", seed=5, expiry=60.0)
    location = str(tmp_path / "log.db")
    with closing(EditStore.open(location)) as store, store.begin_write() as tx:
        append_config(tx, before.replace(cost={"unit": "word", "cap": 2.0}).to_json(), at=0.0)
    app = typer.Typer()
    app.command()(serve_command)

    def serve(*words: str) -> Any:
        started.clear()
        CliRunner().invoke(app, ["--store", location, *words], catch_exceptions=False)
        return started[0]

    kept = before.replace(cost={"unit": "word", "cap": 2.0})
    assert serve()[3] == kept
    assert serve("--rule", "thompson", "--expiry", "0")[3] == kept.replace(rule="thompson", expiry=None)
    _, _, gateway, _ = serve("--rest", "2", "--max-cooldown", "9", "--origin", "https://a", "--origin", "https://b")
    assert (gateway.cooldown, gateway.max_cooldown, gateway.cors_origins) == (2.0, 9.0, ("https://a", "https://b"))
    assert (gateway.cost.unit, gateway.cost.cap) == ("word", 2.0)
    assert serve("--cooldown", "3")[2].cooldown == 3.0
    with closing(EditStore.open(location)) as store, store.begin_read() as connection:
        assert len(list(read_setup_events(connection))) == 1
