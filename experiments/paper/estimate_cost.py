"""Estimate what the paper's run costs, in tokens and GPU-hours, from its settings and stated assumptions.

    python experiments/paper/estimate_cost.py

Nothing is measured. The numbers of logs, edits, rounds and columns come from examples/paper.toml, and the lengths of
prompts from the templates, PRELUDE's tastes and assumed lengths of documents. Speeds are assumptions. Every assumption
is an option (`--help`). The formulas, with P the parameters of a model:

    prefill = 2 P tokens / (peak x utilisation)         decode = tokens / (tokens per second of one GPU)
    training = (4 + 2) P tokens / (peak x utilisation)  an adapter: forward 2, backward 2, recomputed forward 2

It prints Markdown, or with `--json` one document. `--quick` estimates a run of 100 edits and 20 rounds with one seed.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from copydesk.report.columns import Scenario, parse_scenario
from copydesk.simulate.tasks import TASKS
from copydesk.simulate.tasks.prelude import PreludeTask
from copydesk.simulate.users.llm import QUESTION_PROMPT, REVISION_PROMPT
from copydesk.utils.config import read_toml

EXAMPLE = Path(__file__).parents[2] / "examples" / "paper.toml"

# Tokens of a document: mean words of the source (of its data card or paper where it states them), times 4/3.
DOCUMENT_TOKENS = {
    "cnn_dailymail": 1000,
    "slf5k": 300,
    "wikipedia": 800,
    "arxiv": 230,
    "imdb": 310,
    "elsevier": 400,
    "ampere": 600,
    "paper_tweet": 60,
}


def assume(default: float, description: str) -> Any:
    return field(default=default, metadata={"help": description})


@dataclass(frozen=True)
class Assumptions:
    """What the estimate rests on, each an option of the command line."""

    chars_per_token: float = assume(4.2, "characters of English in a token")
    response_tokens: float = assume(250, "tokens of a policy's response")
    edit_tokens: float = assume(220, "tokens of a user's revision")
    thinking_tokens: float = assume(600, "tokens of thinking before each reply of the users played by Qwen 3; 0: none")
    accepted: float = assume(0.1, "share of the responses accepted without a revision")
    retried: float = assume(0.05, "share of the replies that are requested again")
    epochs: float = assume(3, "passes over a log in one training")
    grid: float = assume(8, "settings tried for each method, as many as in docs/selection.md")
    grid_seeds: float = assume(1, "seeds whose logs serve for the choice of settings alone")
    policy_parameters: float = assume(8.0, "parameters of the policy's model, in billions")
    user_parameters: float = assume(32.8, "parameters of the model of the strong and the weak user, in billions")
    transfer_parameters: float = assume(70.6, "parameters of the transfer user's model, in billions")
    peak: float = assume(989, "peak of one GPU in bfloat16, TFLOP/s (H100, dense)")
    prefill_utilisation: float = assume(0.4, "share of the peak reached when prompts are read")
    training_utilisation: float = assume(0.35, "share of the peak reached in training")
    policy_speed: float = assume(1500, "tokens a second and GPU with the policy (Transformers, batches of 64)")
    user_speed: float = assume(1500, "tokens a second and GPU with the users' model (vLLM, 64 requests)")
    transfer_speed: float = assume(400, "tokens a second and GPU with the transfer user's model (vLLM on 4 GPUs)")


@dataclass(frozen=True)
class Experiment:
    """The counts of a run, as its settings give them."""

    columns: tuple[Scenario, ...]
    methods: tuple[str, ...]
    seeds: int
    rounds: int
    edits: dict[str, int]
    held_out_edits: int

    @classmethod
    def read(cls, path: Path) -> "Experiment":
        """The counts of a configuration file."""
        values = read_toml(path)
        columns = tuple(parse_scenario(name) for name in values["columns"])
        edits = {column.task: values.get("task_edits", {}).get(column.task, values["edits"]) for column in columns}
        return cls(
            columns,
            tuple(name for name in values["methods"] if name != "late"),  # late is put together from the arms' rounds
            len(values["seeds"]),
            values["rounds"],
            edits,
            values["held_out_edits"],
        )

    @property
    def trained(self) -> tuple[str, ...]:
        """The rows that are trained."""
        return tuple(name for name in self.methods if name != "base")

    @property
    def logs(self) -> list[tuple[str, str]]:
        """The task and user of each log of one seed."""
        return list(dict.fromkeys((column.task, column.log_user) for column in self.columns))


@dataclass(frozen=True)
class Stage:
    """One stage of the run.

    Attributes:
        name: of the stage.
        requests: the texts that are written; in training, the rows that are read.
        prompt_tokens: the tokens that are read.
        new_tokens: the tokens that are written.
        gpu_hours: the time on one GPU.
    """

    name: str
    requests: float
    prompt_tokens: float
    new_tokens: float
    gpu_hours: float


def estimate_document_tokens(task: str) -> float:
    """The mean tokens of a context of a task."""
    known = TASKS[task]
    assert isinstance(known, PreludeTask)
    return fmean(DOCUMENT_TOKENS[kind.source.name] for kind in known.kinds)


def estimate_template_tokens(task: str, template: str, assumed: Assumptions) -> float:
    """The mean tokens of a user's prompt beside the request and the answer: the template and the whole taste."""
    known = TASKS[task]
    assert isinstance(known, PreludeTask)
    taste = fmean(len(kind.taste) for kind in known.kinds)
    return (len(template.format(context="", response="", taste="")) + taste) / assumed.chars_per_token


def estimate_generation(
    name: str, requests: float, prompt: float, new: float, parameters: float, speed: float, assumed: Assumptions
) -> Stage:
    """Texts written by a model.

    Args:
        name: of the stage.
        requests: the texts.
        prompt: tokens of a prompt.
        new: tokens of a text.
        parameters: of the model, in billions.
        speed: tokens a second on one GPU.
        assumed: the assumptions.
    """
    prefill = 2 * parameters * 1e9 * requests * prompt / (assumed.peak * 1e12 * assumed.prefill_utilisation)
    return Stage(name, requests, requests * prompt, requests * new, (prefill + requests * new / speed) / 3600)


def estimate_edits(name: str, task: str, count: float, user: str, assumed: Assumptions) -> Stage:
    """Edits of a user: a question for each text, and a request for a revision of those that are not accepted."""
    transfer = user == "transfer"
    parameters = assumed.transfer_parameters if transfer else assumed.user_parameters
    speed = assumed.transfer_speed if transfer else assumed.user_speed
    thinking = 0.0 if transfer else assumed.thinking_tokens
    text = estimate_document_tokens(task) + assumed.response_tokens
    parts = [
        estimate_generation(
            name,
            count * share * (1 + assumed.retried),
            text + estimate_template_tokens(task, template, assumed),
            thinking + written,
            parameters,
            speed,
            assumed,
        )
        for template, share, written in (
            (QUESTION_PROMPT, 1.0, 1.0),
            (REVISION_PROMPT, 1 - assumed.accepted, assumed.edit_tokens),
        )
    ]
    return add_stages(name, parts)


def estimate_training(name: str, task: str, rows: float, method: str, assumed: Assumptions) -> Stage:
    """One training of one method on `rows` rows; a row is read once with both of its answers."""
    answers = assumed.edit_tokens + (0 if method == "sft" else assumed.response_tokens)
    tokens = rows * assumed.epochs * (estimate_document_tokens(task) + answers)
    flops = (4 + 2) * assumed.policy_parameters * 1e9 * tokens
    hours = flops / (assumed.peak * 1e12 * assumed.training_utilisation) / 3600
    return Stage(name, rows * assumed.epochs, tokens, 0, hours)


def estimate_reference(name: str, task: str, rows: float, assumed: Assumptions) -> Stage:
    """log π_ref of every row: one forward pass over a log, shared by all methods."""
    tokens = rows * (estimate_document_tokens(task) + assumed.edit_tokens + assumed.response_tokens)
    seconds = 2 * assumed.policy_parameters * 1e9 * tokens / (assumed.peak * 1e12 * assumed.prefill_utilisation)
    return Stage(name, rows, tokens, 0, seconds / 3600)


def add_stages(name: str, parts: Iterable[Stage]) -> Stage:
    """The sum of stages."""
    kept = list(parts)
    sums = (sum(getattr(one, column.name) for one in kept) for column in fields(Stage)[1:])
    return Stage(name, *sums)


def estimate_stages(run: Experiment, assumed: Assumptions) -> list[Stage]:
    """Every stage of the run, in its order."""
    seeds = run.seeds + assumed.grid_seeds
    policy = assumed.policy_parameters, assumed.policy_speed
    rows = {task: run.edits[task] + run.held_out_edits for task, _ in run.logs}
    tokens = {task: estimate_document_tokens(task) for task, _ in run.logs}
    return [
        add_stages(
            "Logs: responses of π_ref",
            (
                estimate_generation("", seeds * rows[task], tokens[task], assumed.response_tokens, *policy, assumed)
                for task, _ in run.logs
            ),
        ),
        add_stages(
            "Logs: edits of the users",
            (estimate_edits("", task, seeds * rows[task], user, assumed) for task, user in run.logs),
        ),
        add_stages(
            "Log-probabilities of π_ref",
            (estimate_reference("", task, seeds * rows[task], assumed) for task, _ in run.logs),
        ),
        add_stages(
            "Training: the grid",
            (
                estimate_training("", task, assumed.grid * assumed.grid_seeds * run.edits[task], method, assumed)
                for task, _ in run.logs
                for method in run.trained
            ),
        ),
        add_stages(
            "Training: the table's policies",
            (
                estimate_training("", task, run.seeds * run.edits[task], method, assumed)
                for task, _ in run.logs
                for method in run.trained
            ),
        ),
        add_stages(
            "Online: responses of the policies",
            (
                estimate_generation(
                    "",
                    run.seeds * run.rounds * len(run.methods),
                    tokens[task],
                    assumed.response_tokens,
                    *policy,
                    assumed,
                )
                for task, _ in run.logs
            ),
        ),
        *(
            add_stages(
                f"Online: edits of the {user} user",
                (
                    estimate_edits("", column.task, run.seeds * run.rounds * len(run.methods), user, assumed)
                    for column in run.columns
                    if column.online_user == user
                ),
            )
            for user in dict.fromkeys(column.online_user for column in run.columns)
        ),
    ]


def format_table(stages: Sequence[Stage]) -> str:
    """The stages and their sum as a Markdown table."""
    lines = [
        "| stage (estimated) | texts or rows | million tokens read | million tokens written | GPU-hours |",
        "|---|---:|---:|---:|---:|",
    ]
    for one in (*stages, add_stages("Sum", stages)):
        texts = "" if one.name == "Sum" else f"{one.requests:,.0f}"  # texts and rows do not add up
        read, written = one.prompt_tokens / 1e6, one.new_tokens / 1e6
        lines.append(f"| {one.name} | {texts} | {read:,.1f} | {written:,.1f} | {one.gpu_hours:,.1f} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=EXAMPLE, help="the settings of the run (examples/paper.toml)")
    parser.add_argument("--quick", action="store_true", help="estimate a small run: 100 edits, 20 rounds, one seed")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    for one in fields(Assumptions):
        flag, text = f"--{one.name.replace('_', '-')}", f"{one.metadata['help']} (%(default)s)"
        parser.add_argument(flag, type=float, default=one.default, help=text)
    args = parser.parse_args(argv)
    assumed = Assumptions(**{one.name: getattr(args, one.name) for one in fields(Assumptions)})
    run = Experiment.read(args.config)
    if args.quick:
        run = replace(run, seeds=1, rounds=20, edits=dict.fromkeys(run.edits, 100), held_out_edits=20)
    stages = estimate_stages(run, assumed)
    if args.json:
        every = [asdict(one) for one in (*stages, add_stages("Sum", stages))]
        print(json.dumps({"assumptions": asdict(assumed), "stages": every}, indent=2))
    else:
        print(format_table(stages))


if __name__ == "__main__":
    main()
