"""Prepare training, once for all methods: load the model, encode the log, compute reference log-probabilities."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.model_registry import Dtype
from copydesk.models.load import ModelInfo, load_model
from copydesk.training import distributed
from copydesk.training.config import TrainConfig
from copydesk.training.encode import EncodedLog, Triple, encode_log, split_triples
from copydesk.training.fit import compute_reference_logprobs
from copydesk.training.logprobs import ForwardPlan, TripleLogProbs, choose_forward, compute_longest_length
from copydesk.training.references import build_reference_cache_key, load_or_compute_references
from copydesk.training.row_costs import build_cost_metric, compute_row_costs
from copydesk.training.row_weights import compute_row_weights


@dataclass(frozen=True)
class ReferencePolicy:
    """π_ref: a model in memory, its tokenizer, and which model it is."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    info: ModelInfo


def load_reference_policy(model: str, dtype: Dtype = "auto", *, full: bool = False) -> ReferencePolicy:
    """Load π_ref, as `load_model` does.

    Raises:
        InputError: it cannot be loaded, or is an adapter.
    """
    loaded, tokenizer, info = load_model(model, dtype, full=full)
    if isinstance(loaded, PeftModel):
        raise InputError(f"--model {model}: an adapter; merge it into its model first (PEFT's merge_and_unload)")
    return ReferencePolicy(loaded, tokenizer, info)


@dataclass(frozen=True)
class TrainingInputs:
    """Inputs shared by all methods on a log and a model: one tokenisation, one split, one reference pass.

    Attributes:
        model: π_ref.
        tokenizer: its tokenizer.
        info: which model it is.
        encoded: the log as tokens.
        log_sha256: hash of the log.
        train_rows: the rows to train on.
        held_out_rows: the rows to measure with; part of the log unless others were given.
        forward: how to run the model.
        references: gives the reference log-probabilities of some of the rows.
        cost_metric: the name of the rows' costs; empty if no method needs costs.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    info: ModelInfo
    encoded: EncodedLog
    log_sha256: str
    train_rows: list[Triple]
    held_out_rows: list[Triple]
    forward: ForwardPlan
    references: Callable[[Sequence[Triple]], TripleLogProbs]
    cost_metric: str = ""


def prepare_training(
    log: Sequence[EditRecord], sha256: str, model: str, settings: TrainConfig, *, costs: bool = False
) -> TrainingInputs:
    """Load the model, encode the log and compute the reference log-probabilities, or read them from the cache.

    Args:
        log: the rows.
        sha256: their hash.
        model: π_ref, as `load_model` takes it.
        settings: of the run.
        costs: whether a method needs the edit costs.

    Raises:
        InputError: the model cannot be loaded, a row has no cost, or no row of the log can be used.
    """
    distributed.init_processes()
    reference = load_reference_policy(model, settings.dtype, full=settings.full)
    return build_training_inputs(log, sha256, reference, settings, costs=costs, cache=True)


def build_training_inputs(
    log: Sequence[EditRecord],
    sha256: str,
    reference: ReferencePolicy,
    settings: TrainConfig,
    *,
    held_out: Sequence[EditRecord] | None = None,
    costs: bool = False,
    cache: bool = False,
) -> TrainingInputs:
    """Encode a log and compute the reference log-probabilities of a model that is loaded already.

    Args:
        log: the rows.
        sha256: their hash.
        reference: π_ref.
        settings: of the run; of methods that differ in `max_length`, `cut_answers`, `weigh`, `held_out` or `cost`, each
            needs inputs of its own.
        held_out: rows to measure with that are not in the log, with other ids; by default the share
            `settings.held_out` of the log's own rows.
        costs: whether a method needs the edit costs.
        cache: read the reference log-probabilities from the cache, and keep them there.

    Raises:
        InputError: a row has no cost, or no row of the log can be used.
    """
    base, tokenizer, info = reference.model, reference.tokenizer, reference.info
    metric, measure = "", None
    if costs:
        measure = build_cost_metric(info.spec, tokenizer, settings.cost)
        metric = settings.cost.source if measure is None else measure.name

    def encode(records: Sequence[EditRecord]) -> EncodedLog:
        return encode_log(
            records,
            tokenizer,
            settings.max_length,
            truncate_answers=settings.cut_answers,
            weights=compute_row_weights(records, settings.weigh) if settings.weigh else None,
            costs=compute_row_costs(records, settings.cost, measure) if costs else None,
        )

    encoded = encode(log)
    more = encode(held_out).triples if held_out else []
    scored = [*encoded.triples, *more]
    forward = choose_forward(base, compute_longest_length(scored))

    def compute() -> TripleLogProbs:
        return compute_reference_logprobs(base, scored, settings.batch_size * 2, forward)

    if cache:
        key = build_reference_cache_key(
            info,
            base,
            tokenizer,
            [*log, *(held_out or ())],
            max_length=settings.max_length,
            truncate_answers=settings.cut_answers,
        )
        scores = distributed.decide_on_main(lambda ready: load_or_compute_references(key, scored, ready), compute)
    else:
        scores = compute()
    place = {triple.id: number for number, triple in enumerate(scored)}

    def references(triples: Sequence[Triple]) -> TripleLogProbs:
        places = [place[triple.id] for triple in triples]
        return TripleLogProbs(scores.edit[places], scores.response[places])

    share = settings.held_out if held_out is None else 0.0
    train_rows, kept = split_triples(encoded.triples, share, settings.seed)
    return TrainingInputs(
        base, tokenizer, info, encoded, sha256, train_rows, [*kept, *more], forward, references, metric
    )


def check_log(records: list[EditRecord], where: str = "the log") -> None:
    """Refuse a log without any edit; `where` names it in the error message, such as its file.

    Raises:
        InputError: it is empty, every row is pending, or nobody edited anything.
    """
    if not records:
        raise InputError(f"{where}: it is empty; log some edits first")
    if all(record.pending for record in records):
        raise InputError(f"{where}: all {len(records)} rows are pending (no edit yet); wait for the first edits")
    if not any(record.edited for record in records):
        raise InputError(
            f"{where}: nobody edited anything (every edit equals its response), so it holds nothing to learn from; "
            "log some edits first"
        )
