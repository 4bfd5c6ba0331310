"""Train policies from a log and the name of a model, and write each into a folder of its own."""

import contextlib
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.method_registry import METHODS
from copydesk.models.load import ModelInfo
from copydesk.training import distributed
from copydesk.training.config import CostModelConfig, TrainConfig
from copydesk.training.cost_model.io import COST_MODEL_FOLDER, CostModelFile, read_cost_model, save_cost_model
from copydesk.training.encode import EncodedLog, Triple
from copydesk.training.fit import FitResult, compute_held_out_metrics, fit_policy
from copydesk.training.objectives import soft_min_value
from copydesk.training.policy_file import (
    POLICY_FILE,
    BaseModelRef,
    HashedUsers,
    PolicyFile,
    TrainingData,
    compute_data_sha256,
)
from copydesk.training.prepare import TrainingInputs, check_log, prepare_training
from copydesk.training.resume import RunFile, check_can_start, find_finished_policy, get_unfinished_folder, open_run
from copydesk.training.rl.run import RlResult, train_rl
from copydesk.training.trainer import displacement_warning
from copydesk.utils.atomic import atomic_folder, lock_folder


def build_policy_file(
    name: str,
    info: ModelInfo,
    sha256: str,
    encoded: EncodedLog,
    settings: TrainConfig,
    history: list[dict[str, float]],
    *,
    held_out: int = 0,
    before: dict[str, float] | None = None,
    after: dict[str, float] | None = None,
    remarks: list[str] | None = None,
    cost_model: CostModelFile | None = None,
) -> PolicyFile:
    """The contents of `policy.json` for a policy trained on the log with that hash; see `PolicyFile`."""
    return PolicyFile(
        name=name,
        method=settings.method,
        base=BaseModelRef(**asdict(info)),
        data=TrainingData(
            sha256=sha256,
            rows=len(encoded.triples),
            edited=sum(triple.edited for triple in encoded.triples),
            pending=encoded.pending,
            held_out=held_out,
            cut_contexts=encoded.cut_contexts,
            cut_answers=encoded.cut_answers,
            left_out=encoded.left_out,
            people=HashedUsers.from_names(encoded.users, salt=sha256[:32]),
        ),
        settings=settings.to_json(),
        before=before or {},
        after=after or {},
        history=history,
        final=history[-1] if history else {},
        remarks=remarks or [],
        cost_model=None if cost_model is None else cost_model.to_ref(),
    )


def save_policy(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    record: PolicyFile,
    folder: Path,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write a policy into an empty folder: adapter or model, in safetensors; tokenizer; `policy.json`.

    `weights` are all weights of the model, if it is sharded and holds only a part itself.
    """
    options: dict[str, Any] = {} if weights is None else {"state_dict": weights}
    if isinstance(model, PeftModel):
        model.save_pretrained(str(folder), save_embedding_layers=False, **options)  # an adapter never touches them
        (folder / "README.md").unlink(missing_ok=True)  # an empty model card
    else:
        model.save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    record.write(folder)
    for file in folder.iterdir():
        shutil.copymode(folder / POLICY_FILE, file)  # weights come out readable by their owner alone


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainReport:
    """Result of a training run.

    Attributes:
        folder: where the policy is: an ordinary PEFT adapter or model, its tokenizer and `policy.json`.
        policy: the contents of `policy.json`.
        seconds: how long it took; work shared by several methods counts for the first.
    """

    folder: Path
    policy: PolicyFile
    seconds: float


def train(
    records: Iterable[EditRecord],
    model: str,
    settings: TrainConfig,
    out: Path | str,
    *,
    overwrite: bool = False,
    resume: bool = False,
) -> TrainReport:
    """Train a policy on a log of edits and write it to a folder.

    Rows whose edit is pending are left out, and a share of the others is held out to measure the policy on before and
    after. The folder appears complete when everything is done, or not at all. Until then the newest checkpoint is kept
    in a folder beside it, from which `resume` continues after an interruption of any kind; on one CPU the resumed run
    ends with the same weights, bit for bit, as one that was never interrupted.

    Args:
        records: the log.
        model: the reference policy the log was made with, as `load_model` takes it.
        settings: of the run.
        out: the folder to write; it must not exist yet, or be empty.
        overwrite: replace an existing policy of that name, or start an unfinished run over.
        resume: continue the unfinished run of that name. If there is none, start at the beginning; if it was finished,
            only report it.

    Raises:
        InputError: the log holds nothing to learn from, the model cannot be loaded, or the folder cannot be written.
        Interrupted: by SIGINT or SIGTERM during training; a checkpoint was saved.
    """
    targets = {settings.method: Path(out)}
    with _lock_targets(targets):
        return _train_methods(records, model, settings, targets, overwrite=overwrite, resume=resume)[0]


def train_all(
    records: Iterable[EditRecord],
    model: str,
    settings: TrainConfig,
    out: Path | str,
    *,
    methods: Sequence[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> list[TrainReport]:
    """Train a policy with every method, from one tokenisation and one reference pass.

    The policies are folders in `out`, named after their methods, and each appears complete as soon as it is done. The
    arguments are those of `train`, and `methods`, by default all; the method in `settings` is not read. A resumed run
    trains only the missing policies.

    Raises:
        InputError: as in `train`, before anything is trained where it can be known.
        Interrupted: as in `train`.
    """
    if (Path(out) / POLICY_FILE).is_file():
        raise InputError(f"--out {out}: a policy; with --method all name the folder that is to hold the policies")
    targets = {method: Path(out) / method for method in (METHODS if methods is None else methods)}
    with _lock_targets(targets):
        return _train_methods(records, model, settings, targets, overwrite=overwrite, resume=resume)


@contextlib.contextmanager
def _lock_targets(targets: dict[str, Path]) -> Iterator[None]:
    """Let no other run write to these folders; one process of a run holds the locks."""
    with contextlib.ExitStack() as locks:
        if distributed.is_main_process():
            for out in targets.values():
                locks.enter_context(lock_folder(out))
        yield


def _train_methods(
    records: Iterable[EditRecord],
    model: str,
    settings: TrainConfig,
    targets: dict[str, Path],
    *,
    overwrite: bool,
    resume: bool,
) -> list[TrainReport]:
    started = time.monotonic()
    log = list(records)
    check_log(log)
    if settings.rl.cost_model is not None:  # it was fitted with settings of its own
        cost = CostModelConfig(**read_cost_model(settings.rl.cost_model).settings)  # type: ignore[arg-type]
        settings = settings.replace(cost=cost)
    each = {method: settings.replace(method=method) for method in targets}
    sha256 = compute_data_sha256(log)
    done: dict[str, PolicyFile] = {}
    for method, out in targets.items():
        if distributed.is_main_process():
            check_can_start(out, overwrite=overwrite, resume=resume)
        if resume and (policy := find_finished_policy(out, each[method].to_json(), sha256)):
            logger.info("%s: already finished", out)
            done[method] = policy
    missing = [method for method in targets if method not in done]
    trained: dict[str, TrainReport] = {}
    if missing:
        costs = any(each[method].uses_costs for method in missing)
        prepared = prepare_training(log, sha256, model, settings, costs=costs)
        for method in missing:
            last = method == missing[-1]
            policy = train_one(prepared, each[method], targets[method], overwrite=overwrite, resume=resume, last=last)
            trained[method] = TrainReport(targets[method], policy, time.monotonic() - started)
            started = time.monotonic()
    return [trained.get(method) or TrainReport(targets[method], done[method], 0.0) for method in targets]


def train_one(
    prepared: TrainingInputs,
    settings: TrainConfig,
    out: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    last: bool = False,
) -> PolicyFile:
    """Train one method on prepared inputs, measure it on their held-out rows, and write its policy into a folder.

    Args:
        prepared: model, rows and reference log-probabilities, which several methods can share.
        settings: of the run.
        out: as in `train`.
        overwrite: as in `train`.
        resume: continue the unfinished run of that name, if there is one.
        last: whether the reference policy is not needed again, so that its memory can be used.

    Raises:
        InputError: there is nothing to learn from the rows, training diverged, or the folder cannot be written.
        Interrupted: as in `train`.
    """
    train_rows, held_out = prepared.train_rows, prepared.held_out_rows
    run = RunFile(
        settings=settings.to_json(),
        base=BaseModelRef(**asdict(prepared.info)),
        data_sha256=prepared.log_sha256,
        rows_sha256=_hash_training_rows(train_rows),
        processes=distributed.get_world_size(),
    )
    if distributed.is_main_process():
        open_run(out, run, resume=resume)
    distributed.wait_for_everyone()
    checkpoints = get_unfinished_folder(out)
    references = prepared.references(held_out)
    value = soft_min_value(train_rows, settings.beta) if settings.uses_costs else 0.0
    before = compute_held_out_metrics(held_out, references, references, settings, value)
    logger.info("training %s on %d rows, %d held out", settings.method, len(train_rows), len(held_out))
    # Sharded weights are not put together again, so the next method needs a copy.
    copy = not last and (settings.full or distributed.get_world_size() > 1)
    optimised: RlResult | None = None
    if METHODS[settings.method].on_policy:
        optimised = train_rl(prepared, settings, checkpoints, copy=copy)
        fitted: FitResult = optimised.fitted
    else:
        fitted = fit_policy(
            prepared.model,
            train_rows,
            prepared.references(train_rows),
            settings,
            copy=copy,
            forward=prepared.forward,
            checkpoints=checkpoints,
        )
    scores = fitted.score(held_out, settings.batch_size * 2)
    after = compute_held_out_metrics(held_out, scores, references, settings, value)
    if optimised is not None:
        before, after = before | optimised.before, after | optimised.after
    remark = displacement_warning(fitted.history)
    record = build_policy_file(
        out.absolute().name,
        prepared.info,
        prepared.log_sha256,
        prepared.encoded,
        settings,
        fitted.history,
        held_out=len(held_out),
        before=before,
        after=after,
        remarks=[remark] if remark else [],
        cost_model=None if optimised is None else optimised.file,
    )
    if distributed.is_main_process():
        try:
            with atomic_folder(out, marker=POLICY_FILE, overwrite=overwrite, within=checkpoints) as folder:
                save_policy(fitted.model, prepared.tokenizer, record, folder, fitted.full_state_dict)
                if optimised is not None:
                    save_cost_model(optimised.cost_model, optimised.file, folder / COST_MODEL_FOLDER)
        except (OSError, SafetensorError) as exc:
            raise InputError(
                f"--out {out}: writing failed ({exc}); the checkpoint is kept: fix that and give --resume"
            ) from None
        shutil.rmtree(checkpoints, ignore_errors=True)
    distributed.wait_for_everyone()
    if isinstance(fitted.model, PeftModel) and distributed.get_world_size() == 1:
        fitted.model.unload()  # the next method starts at the reference policy again
    return record


def _hash_training_rows(triples: Sequence[Triple]) -> str:
    """A hash of the rows as they are trained on, weights included."""
    total = hashlib.sha256()
    for triple in triples:
        row = [triple.id, triple.context, triple.response, triple.edit, triple.weight, triple.cost]
        total.update(json.dumps(row).encode() + b"\n")
    return total.hexdigest()
