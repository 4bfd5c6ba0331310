"""`EditTrainer`: a `transformers.Trainer` that learns from edits."""

import logging
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from copydesk.learn.encode import Triple
from copydesk.learn.logprobs import TripleLogProbs, collate, sequence_logprobs
from copydesk.learn.objectives import Metrics, early_ensemble, preference, supervised
from copydesk.learn.settings import Method, TrainSettings

logger = logging.getLogger(__name__)


class Example(NamedTuple):
    """A triple with its log-probabilities under the reference policy."""

    triple: Triple
    ref_edit: float
    ref_response: float


def examples(triples: Sequence[Triple], references: TripleLogProbs, method: Method) -> list[Example]:
    """The rows a method trains on; `dpo` has no use for rows without a preference."""
    together = zip(triples, references.edit.tolist(), references.response.tolist(), strict=True)
    return [Example(*row) for row in together if method != "dpo" or row[0].edited]


class Collator:
    """Lays out B examples as one batch: first every y', then, for a method that compares, y of the edited rows."""

    def __init__(self, method: Method) -> None:
        self.compares = method != "sft"

    def __call__(self, batch: Sequence[Example]) -> dict[str, Tensor]:
        """Returns what `collate` does, and `edited`, `ref_edit` and `ref_response` of shape [B]."""
        pairs = [(example.triple.context, example.triple.edit) for example in batch]
        if self.compares:
            pairs += [(example.triple.context, example.triple.response) for example in batch if example.triple.edited]
        return collate(pairs) | {
            "edited": torch.tensor([example.triple.edited for example in batch]),
            "ref_edit": torch.tensor([example.ref_edit for example in batch]),
            "ref_response": torch.tensor([example.ref_response for example in batch]),
        }


class EditTrainer(Trainer):
    """Trains a causal language model on edit triples; one forward pass a batch scores every y' and y in it.

    Everything else (devices, processes, precision, the optimizer, the schedule) is `transformers.Trainer`'s.

    Args:
        model: the policy π, starting at π_ref; with a PEFT adapter or all weights trainable.
        args: as for `transformers.Trainer`, with `remove_unused_columns=False`.
        rows: what `examples` made for the same method.
        settings: `method`, `beta` and `lambda_sup` are read here.
    """

    # Losses are means over a batch's rows, so `Trainer` divides by the number of batches in a step.
    loss_is_scaled_for_ga = False

    def __init__(
        self, model: nn.Module, args: TrainingArguments, rows: Sequence[Example], settings: TrainSettings
    ) -> None:
        super().__init__(model=model, args=args, train_dataset=list(rows), data_collator=Collator(settings.method))
        self.settings = settings
        self.share_edited = sum(row.triple.edited for row in rows) / len(rows)
        self._since_last_log: dict[str, list[Tensor]] = defaultdict(list)
        # The stock callbacks print to stdout, where a command's own output goes.
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self.add_callback(_Bar() if sys.stderr.isatty() else _Lines())

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Metrics]:
        """The objective on one batch; its metrics are kept for the next log."""
        edited, ref_edit, ref_response = inputs["edited"], inputs["ref_edit"], inputs["ref_response"]
        logps = sequence_logprobs(model, inputs["input_ids"], inputs["attention_mask"], inputs["scored"])
        edit, others = logps[: len(edited)], logps[len(edited) :]
        loss: Tensor
        if self.settings.method == "sft":
            loss, metrics = supervised(edit, ref_edit)
        else:
            response = edit.masked_scatter(edited, others)  # where nothing was edited, y is y'
            beta, rows = self.settings.beta, len(edited) * self.share_edited
            if self.settings.method == "dpo":
                loss, metrics = preference(edit, response, ref_edit, ref_response, edited, beta=beta, rows=rows)
            else:
                lambda_sup = self.settings.lambda_sup
                loss, metrics = early_ensemble(
                    edit, response, ref_edit, ref_response, edited, beta=beta, lambda_sup=lambda_sup, rows=rows
                )
        for name, value in metrics.items():
            self._since_last_log[name].append(value)
        return (loss, metrics) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the objective's metrics, averaged over the batches since the last log."""
        if "loss" in logs:
            logs |= {name: torch.stack(values).mean().item() for name, values in self._since_last_log.items()}
            self._since_last_log.clear()
        super().log(logs, start_time)


class _Bar(ProgressCallback):
    """A progress bar with the latest loss beside it."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if self.training_bar is not None and logs is not None and "loss" in logs:
            self.training_bar.set_postfix_str(_line(logs))


class _Lines(TrainerCallback):
    """A line in the log now and then, for where there is no terminal."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs is not None and "loss" in logs:
            logger.info("step %d/%d: %s", state.global_step, state.max_steps, _line(logs))


def _line(logs: dict[str, float]) -> str:
    shown = ("loss", "loss/supervised", "loss/preference", "margin", "accuracy", "logp_gain/edit")
    return ", ".join(f"{name} {logs[name]:.4g}" for name in shown if name in logs)
