"""The whole loop for one task and one user: log edits, learn every policy, play the rounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from copydesk.ensemble import LateEnsemble, Ucb
from copydesk.errors import InputError
from copydesk.learn.cost.fit import fit_cost_model
from copydesk.learn.cost.folder import FOLDER, CostModelFile, describe_cost_model, save_cost_model
from copydesk.learn.encode import Triple, encode_log
from copydesk.learn.fit import fit, reference_logprobs
from copydesk.learn.models import load_model
from copydesk.learn.policy_file import data_sha256
from copydesk.learn.rl.fit import fit_rl
from copydesk.learn.save import describe, save_policy
from copydesk.learn.settings import Method, TrainSettings
from copydesk.log.cost import EditCost
from copydesk.log.jsonl import write_jsonl
from copydesk.log.record import EditRecord
from copydesk.policies import LocalPolicy, Policy
from copydesk.simulate.clock import Clock
from copydesk.simulate.outcome import Outcome, PlaySettings
from copydesk.simulate.protocol import Round, make_log, online_documents, play, play_late
from copydesk.simulate.recipe import RECIPE
from copydesk.simulate.tasks import get_task
from copydesk.simulate.users import get_user


@dataclass(frozen=True)
class RunSettings(PlaySettings):
    """What one run of the loop is made of: the online phase, and what comes before it.

    Attributes:
        edits: n, the rows of the log.
        model: the reference policy, as `load_model` takes it.
        log_temperature: of the responses in the log; 1 samples from π_ref itself.
        recipe: how each method is trained; the policies of the late ensemble, in the order they are tried.
    """

    edits: int = 300
    log_temperature: float = 1.0
    recipe: Mapping[Method, TrainSettings] = field(default_factory=lambda: RECIPE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.edits < 2:
            raise InputError(f"--edits: {self.edits} must be at least 2")

    def to_json(self) -> dict[str, Any]:
        """Every setting, as results.json keeps it."""
        recipe = {method: training.to_json() for method, training in self.recipe.items()}
        return super().to_json() | {"recipe": recipe}


def run(settings: RunSettings, folder: Path) -> Outcome:
    """Play Protocol 1 with Base, every method of the recipe and the late ensemble over them.

    Writes `log.jsonl` and `policies/` into the folder as it goes; `write_results` writes the rest. The cost model of
    `rl` is in that policy's folder, measured on the rounds of Base.

    Raises:
        InputError: the model cannot be loaded, or the user of the log edited nothing.
    """
    clock = Clock()
    with clock("load", "loading the model"):
        task, user = get_task(settings.task), get_user(settings.user)
        model, tokenizer, info = load_model(settings.model)
        if not isinstance(model, PreTrainedModel):
            raise InputError(f"--model {settings.model}: an adapter; merge it into its model first")
        cost = EditCost(cap=settings.c_max, tokenizer=settings.model)
        base = LocalPolicy("base", model, tokenizer)
    with clock("log", f"{settings.edits} responses of the reference policy, edited by the {user.name} user"):
        log = make_log(base, task, user, settings.edits, settings.seed, settings.sampling(settings.log_temperature))
        write_jsonl(folder / "log.jsonl", log)
    contexts = online_documents(task, settings.rounds, settings.seed, log)

    def alone(policy: Policy) -> list[Round]:
        with clock(f"play.{policy.name}", f"{settings.rounds} rounds of {policy.name}"):
            return play(policy, policy.name, task, user, contexts, settings.seed, cost, settings.sampling())

    of_base = alone(base)
    rounds = list(of_base)
    with clock("reference", "reference log-probabilities"):
        costs = cost.batch([(record.response, str(record.edit)) for record in log])
        encoded = encode_log(
            log, tokenizer, max_length=512, costs={record.id: c for record, c in zip(log, costs, strict=True)}
        )
        references = reference_logprobs(model, encoded.triples, batch_size=64)
    sha256 = data_sha256(log)
    played: dict[str, Sequence[Round]] = {}
    for method, recipe in settings.recipe.items():
        training = replace(recipe, seed=settings.seed)
        target = folder / "policies" / method
        target.mkdir(parents=True)
        file: CostModelFile | None = None
        if method == "rl":
            with clock("train.cost_model", f"fitting a cost model to {len(encoded.triples)} edits"):
                cost_model = fit_cost_model(model, encoded.triples, training)
                unseen = _as_rows(of_base, tokenizer)
                file = describe_cost_model(cost_model, info, cost.name, sha256, encoded.triples, unseen)
                save_cost_model(cost_model, file, target / FOLDER)
        with clock(f"train.{method}", f"training {method} on {len(encoded.triples)} edits"):
            if method == "rl":
                fitted = fit_rl(model, tokenizer, encoded.triples, cost_model, training)
            else:
                fitted = fit(model, encoded.triples, references, training)
            record = describe(method, info, sha256, encoded, training, fitted.history, cost_model=file)
            save_policy(fitted.model, tokenizer, record, target)
        played[method] = alone(LocalPolicy(method, fitted.model, tokenizer))
        rounds += played[method]
    ensemble = LateEnsemble(list(played), Ucb(settings.alpha), settings.seed)
    return Outcome(rounds + play_late(ensemble, played), clock.total())


def _as_rows(rounds: Sequence[Round], tokenizer: PreTrainedTokenizerBase) -> list[Triple]:
    """Rounds of the reference policy as rows with their costs, which no log held: to measure a cost model on."""
    records = [EditRecord(id=str(one.t), context=one.context, response=one.response, edit=one.edit) for one in rounds]
    return encode_log(records, tokenizer, max_length=512, costs={str(one.t): one.cost for one in rounds}).triples
