"""Train policies on a simulated log; what all methods share is computed once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from copydesk.data.cost import EditCost
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.method_registry import METHODS
from copydesk.models.load import ModelInfo, load_model
from copydesk.policies import LocalPolicy
from copydesk.simulate.protocol import Round
from copydesk.simulate.timer import StepTimer
from copydesk.training.config import TrainConfig
from copydesk.training.cost_model.fit import fit_cost_model
from copydesk.training.cost_model.io import COST_MODEL_FOLDER, CostModelFile, build_cost_model_file, save_cost_model
from copydesk.training.encode import EncodedLog, Triple, encode_log
from copydesk.training.fit import compute_reference_logprobs, fit_policy
from copydesk.training.logprobs import TripleLogProbs
from copydesk.training.policy_file import compute_data_sha256
from copydesk.training.rl.run import fit_rl
from copydesk.training.train import build_policy_file, save_policy


@dataclass(frozen=True)
class ReferencePolicy:
    """π_ref: a model in memory, its tokenizer, and which model it is."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    info: ModelInfo

    @property
    def policy(self) -> LocalPolicy:
        """π_ref as a policy."""
        return LocalPolicy("base", self.model, self.tokenizer)


def load_reference_policy(model: str) -> ReferencePolicy:
    """Load π_ref, as `load_model` does.

    Raises:
        InputError: it cannot be loaded, or is an adapter.
    """
    loaded, tokenizer, info = load_model(model)
    if isinstance(loaded, PeftModel):
        raise InputError(f"--model {model}: an adapter; merge it into its model first")
    return ReferencePolicy(loaded, tokenizer, info)


class PolicyTrainer:
    """One log as every method reads it: tokens, costs and, once a method asks for them, reference log-probabilities.

    Raises:
        InputError: no row of the log fits.
    """

    def __init__(
        self, student: ReferencePolicy, log: Sequence[EditRecord], cost: EditCost, max_length: int, clock: StepTimer
    ) -> None:
        self.reference_policy = student
        self.cost = cost
        self.max_length = max_length
        self.timer = clock
        costs = cost.cost_batch([(record.response, str(record.edit)) for record in log])
        known = {record.id: c for record, c in zip(log, costs, strict=True)}
        self.encoded: EncodedLog = encode_log(log, student.tokenizer, max_length=max_length, costs=known)
        self.sha256 = compute_data_sha256(log)
        self._references: TripleLogProbs | None = None

    def compute_references(self) -> TripleLogProbs:
        """log π_ref of every row."""
        if self._references is None:
            with self.timer("reference", "reference log-probabilities"):
                self._references = compute_reference_logprobs(
                    self.reference_policy.model, self.encoded.triples, batch_size=64
                )
        return self._references

    def train(self, name: str, training: TrainConfig, folder: Path, held_out: Sequence[Round]) -> LocalPolicy:
        """Train one method and write its policy into an empty folder.

        Args:
            name: the policy's.
            training: the method and its settings.
            folder: where to write; of `rl`, the cost model goes into it as well.
            held_out: rounds of π_ref that no log held, to measure a cost model on.

        Raises:
            InputError: nobody edited anything, or training diverged.
        """
        student, triples, method = self.reference_policy, self.encoded.triples, training.method
        file: CostModelFile | None = None
        if METHODS[method].on_policy:
            with self.timer("train.cost_model", f"fitting a cost model to {len(triples)} edits"):
                cost_model = fit_cost_model(student.model, triples, training)
                file = build_cost_model_file(
                    cost_model, student.info, self.cost.name, self.sha256, triples, self._to_triples(held_out)
                )
                save_cost_model(cost_model, file, folder / COST_MODEL_FOLDER)
        else:
            references = self.compute_references()
        with self.timer(f"train.{method}", f"training {method} on {len(triples)} edits"):
            if METHODS[method].on_policy:
                fitted = fit_rl(student.model, student.tokenizer, triples, cost_model, training)
            else:
                fitted = fit_policy(student.model, triples, references, training)
            record = build_policy_file(
                name, student.info, self.sha256, self.encoded, training, fitted.history, cost_model=file
            )
            save_policy(fitted.model, student.tokenizer, record, folder)
        return LocalPolicy(name, fitted.model, student.tokenizer)

    def _to_triples(self, rounds: Sequence[Round]) -> list[Triple]:
        """Rounds as rows with their costs."""
        records = [
            EditRecord(id=str(one.t), context=one.context, response=one.response, edit=one.edit) for one in rounds
        ]
        known = {str(one.t): one.cost for one in rounds}
        return encode_log(records, self.reference_policy.tokenizer, max_length=self.max_length, costs=known).triples
