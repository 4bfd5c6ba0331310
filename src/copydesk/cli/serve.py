"""`copydesk serve`: the gateway."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from copydesk import embedded, model_registry
from copydesk.cli._shared import emit, log_to_stderr, parse_policy_args, resolve_spec
from copydesk.data.cost import CostNormalization, CostUnit, EditCost
from copydesk.ensemble.config import EnsembleConfig, EnsembleScope, RuleName
from copydesk.ensemble.ledger import Ledger
from copydesk.errors import InputError, Interrupted
from copydesk.store import DEFAULT_STORE, EditStore
from copydesk.store.events import read_setup_events

_ENSEMBLE_PANEL, _COST_PANEL = (
    "Ensemble (kept in the store; what is not given stays as it was)",
    "Edit cost (set by the first start)",
)
_LIMITS_PANEL = "Limits"


def serve_command(
    store: Annotated[str, typer.Option(help="An SQLite file, or sqlite:/// or postgresql:// URL.")] = DEFAULT_STORE,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=SPEC: a model, a policy's folder, MODEL@http://... or vllm:FOLDER@http://.... Give several.",
            show_default="base=embedded in a new store",
        ),
    ] = None,
    demo: Annotated[
        Path | None, typer.Option("--from", help="Serve all policies that a demo run left in this folder.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; without a key only this machine's own.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any that is free.")] = 8040,
    rule: Annotated[
        RuleName | None,
        typer.Option(help="How the ensemble chooses.", show_default="ucb", rich_help_panel=_ENSEMBLE_PANEL),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            help="How much it explores, in units of the cost.", show_default="0.42", rich_help_panel=_ENSEMBLE_PANEL
        ),
    ] = None,
    discount: Annotated[
        float | None,
        typer.Option(
            help="discounted-ucb: weight a pull keeps with each later one.",
            show_default="0.995",
            rich_help_panel=_ENSEMBLE_PANEL,
        ),
    ] = None,
    share: Annotated[
        list[str] | None,
        typer.Option(
            help="fixed: NAME=SHARE. Give several.", show_default="all alike", rich_help_panel=_ENSEMBLE_PANEL
        ),
    ] = None,
    scope: Annotated[
        EnsembleScope | None,
        typer.Option(
            help="Whose edits decide: everyone's, each user's, or those of the user's group.",
            show_default="global",
            rich_help_panel=_ENSEMBLE_PANEL,
        ),
    ] = None,
    prior: Annotated[
        float | None,
        typer.Option(
            help="user, group: most pulls of others that count for a new one.",
            show_default="10",
            rich_help_panel=_ENSEMBLE_PANEL,
        ),
    ] = None,
    expiry: Annotated[
        float | None,
        typer.Option(
            help="Seconds an edit is awaited; 0 for ever.",
            show_default="604800, a week",
            rich_help_panel=_ENSEMBLE_PANEL,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Decides what is random.", show_default="0", rich_help_panel=_ENSEMBLE_PANEL)
    ] = None,
    cost_unit: Annotated[
        CostUnit | None,
        typer.Option(help="What an edit's cost counts.", show_default="subtoken", rich_help_panel=_COST_PANEL),
    ] = None,
    cost_normalize: Annotated[
        CostNormalization | None,
        typer.Option(help="Whose length it is divided by.", show_default="response", rich_help_panel=_COST_PANEL),
    ] = None,
    c_max: Annotated[
        float | None, typer.Option(help="The largest cost there is.", show_default="3", rich_help_panel=_COST_PANEL)
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="Whose sub-tokens: a model's folder, a hub id, 'embedded' or 'smollm2'.",
            show_default="the first policy's in this process, else embedded",
            rich_help_panel=_COST_PANEL,
        ),
    ] = None,
    max_body: Annotated[int, typer.Option(help="Largest request, in bytes.", rich_help_panel=_LIMITS_PANEL)] = 1 << 20,
    max_text: Annotated[
        int, typer.Option(help="Longest context or edit, in characters.", rich_help_panel=_LIMITS_PANEL)
    ] = 100_000,
    timeout: Annotated[
        float, typer.Option(help="Seconds an upstream server may be silent.", rich_help_panel=_LIMITS_PANEL)
    ] = 120.0,
    retries: Annotated[
        int, typer.Option(help="How often a request is sent upstream again.", rich_help_panel=_LIMITS_PANEL)
    ] = 2,
    rest: Annotated[
        float, typer.Option(help="Seconds an arm rests after a failure; doubles.", rich_help_panel=_LIMITS_PANEL)
    ] = 5.0,
    max_batch: Annotated[
        int, typer.Option(help="Requests a local model answers side by side.", rich_help_panel=_LIMITS_PANEL)
    ] = 16,
    max_new_tokens: Annotated[
        int, typer.Option(help="Where a local answer without a limit ends.", rich_help_panel=_LIMITS_PANEL)
    ] = 512,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Web sites whose pages may call the gateway (CORS). Give several.", rich_help_panel=_LIMITS_PANEL
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say where it is as one JSON document.")] = False,
) -> None:
    """Serve policies behind OpenAI's API, take the edits, and let the ensemble choose.

    POST /v1/chat/completions answers as OpenAI does; with the model "copydesk"
    the late ensemble chooses the policy. POST /v1/edits takes what a person made
    of the answer. People find pages at /, programs the API's description at /docs.
    Everything is in the store: a restart, or a second gateway on the same store,
    goes on where the log ends.

    copydesk serve --from demo

    copydesk serve --store postgresql://localhost/edits --policy a=my-model@http://127.0.0.1:8000/v1
    """
    given = {name: resolve_spec(spec) for name, spec in parse_policy_args(policy or [], demo).items()}
    opened = EditStore.open(store)
    try:
        before = _read_ledger(opened)
        if not given and not before.specs:
            given = {"base": embedded.NAME}
        ensemble = _merge_ensemble_config(
            before.config or EnsembleConfig(),
            rule=rule,
            alpha=alpha,
            discount=discount,
            shares=_parse_shares(share),
            scope=scope,
            prior=prior,
            expiry=expiry,
            seed=seed,
        )
        cost = _resolve_edit_cost(
            before.config, given, unit=cost_unit, normalize=cost_normalize, cap=c_max, tokenizer=tokenizer
        )
        try:
            from copydesk.gateway.config import GatewayConfig
            from copydesk.gateway.server import serve as run
        except ModuleNotFoundError as exc:
            raise InputError(f"the gateway needs {exc.name}; install it with: pip install 'copydesk[serve]'") from None
        settings = GatewayConfig(
            cost=cost,
            max_body=max_body,
            max_text=max_text,
            timeout=timeout,
            retries=retries,
            cooldown=rest,
            max_batch=max_batch,
            max_new_tokens=max_new_tokens,
            cors_origins=tuple(origin or ()),
        )
        log_to_stderr("copydesk")

        def ready(url: str, names: list[str]) -> None:
            document = {"url": url, "store": opened.name, "policies": names}
            said = f"Copydesk is at {url} (API: {url}/docs). Policies: {', '.join(names)}. Ctrl-C stops it."
            emit(document, Text(said), as_json=as_json)
            sys.stdout.flush()

        try:
            run(opened, given, settings, ensemble, host=host, port=port, on_ready=ready)
        except Interrupted:
            return  # told to stop, it answered what was asked and stopped: that is how a gateway ends well
    finally:
        opened.close()


def _read_ledger(store: EditStore) -> Ledger:
    """The arms and settings a store has; its rounds do not matter here."""
    with store.begin_read() as connection:
        return Ledger().fold(read_setup_events(connection))


def _parse_shares(words: list[str] | None) -> dict[str, float] | None:
    if words is None:
        return None
    shares = {}
    for word in words:
        name, _, number = word.partition("=")
        try:
            shares[name] = float(number)
        except ValueError:
            raise InputError(f"--share {word}: write NAME=NUMBER, such as base=0.1") from None
    return shares


def _merge_ensemble_config(before: EnsembleConfig, **given: Any) -> EnsembleConfig:
    chosen = {name: value for name, value in given.items() if value is not None}
    if chosen.get("expiry") == 0:
        chosen["expiry"] = None
    return replace(before, **chosen)


def _resolve_edit_cost(before: EnsembleConfig | None, policies: dict[str, str], **given: Any) -> EditCost:
    """The store's edit cost; in a new store the usual one, of the first local policy's tokenizer."""
    settings: dict[str, Any] = dict(before.cost) if before else {"cap": 3.0, "tokenizer": _choose_tokenizer(policies)}
    return EditCost(**(settings | {name: value for name, value in given.items() if value is not None}))


def _choose_tokenizer(policies: dict[str, str]) -> str:
    for spec in policies.values():
        if "@http" in spec:
            continue
        on_the_hub = not Path(spec).exists() and spec.count("/") == 1 and spec[0] not in "./~"
        if spec in model_registry.PINNED_MODEL_NAMES or on_the_hub or (Path(spec) / "tokenizer.json").is_file():
            return spec
    return embedded.NAME
