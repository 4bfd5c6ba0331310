"""`copydesk serve`: start the gateway."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from copydesk import embedded, model_registry
from copydesk.cli._options import options_from_config
from copydesk.cli._shared import StoreCostOptions, emit, log_to_stderr, parse_policy_args, resolve_spec
from copydesk.ensemble.config import EnsembleConfig
from copydesk.ensemble.ledger import Ledger
from copydesk.errors import InputError, Interrupted
from copydesk.gateway.config import GatewayConfig
from copydesk.policy_spec import PolicySpec
from copydesk.store import DEFAULT_STORE, EditStore
from copydesk.store.events import read_setup_events
from copydesk.utils.terminal import log_to_stream

logger = logging.getLogger(__name__)


@options_from_config(exclude=["cost", "metric", "max_messages", "allowed_hosts", "require_key"])
def serve_command(
    *,
    store: Annotated[
        str, typer.Option(help="Store: an SQLite file, or an sqlite:/// or postgresql:// URL.")
    ] = DEFAULT_STORE,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Policy to serve, as NAME=SPEC: a model, a policy's folder, MODEL@http://... or "
            "vllm:FOLDER@http://.... Repeat for several.",
            show_default="base=embedded in a new store",
        ),
    ] = None,
    demo: Annotated[Path | None, typer.Option("--from", help="Serve all policies of a demo run's folder.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; without an API key only a loopback address.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any free port.")] = 8040,
    ensemble: Annotated[dict[str, Any], EnsembleConfig],
    cost_options: StoreCostOptions,
    gateway: GatewayConfig,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as one JSON document.")] = False,
) -> None:
    """Serve policies behind OpenAI's API, record edits, and let the ensemble choose.

    POST /v1/chat/completions answers as OpenAI does; with the model "copydesk"
    the late ensemble chooses the policy. POST /v1/edits records the edited text
    of an answer. The web pages are at /, the API reference is at /docs.
    All state is in the store: a restart, or a second gateway on the same store,
    continues where the log ends.

    copydesk serve --from demo

    copydesk serve --store postgresql://localhost/edits --policy a=my-model@http://127.0.0.1:8000/v1
    """
    policies = {name: resolve_spec(spec) for name, spec in parse_policy_args("serve", policy or [], demo).items()}
    opened = EditStore.open(store)
    try:
        before = _read_ledger(opened)
        if not policies and not before.specs:
            policies = {"base": embedded.NAME}
        if ensemble.get("expiry") == 0:
            ensemble["expiry"] = None
        merged = (before.config or EnsembleConfig()).replace(**ensemble)
        # A new store takes the tokenizer of the first local policy.
        settings = before.config.cost if before.config else {"cap": 3.0, "tokenizer": _choose_tokenizer(policies)}
        cost = cost_options.make_cost(settings)
        try:
            from copydesk.gateway.server import serve as run_gateway
        except ModuleNotFoundError as exc:
            raise InputError(f"the gateway needs {exc.name}; install it with: pip install 'copydesk[serve]'") from None
        log_to_stderr("copydesk")
        log_to_stream("uvicorn", logging.WARNING, sys.stderr)
        if exposed := opened.find_exposed_files():
            files = " ".join(map(str, exposed))
            logger.warning("other users of this machine can read the log's texts; run: chmod 600 %s", files)

        def report_ready(url: str, names: list[str]) -> None:
            document = {"url": url, "store": opened.name, "policies": names}
            line = f"Copydesk is at {url} (API: {url}/docs). Policies: {', '.join(names)}. Ctrl-C stops it."
            emit(document, Text(line), as_json=as_json)
            sys.stdout.flush()

        try:
            config = gateway.replace(cost=cost)
            run_gateway(opened, policies, config, merged, host=host, port=port, on_ready=report_ready)
        except Interrupted:
            return  # a signal is the normal end of a gateway: open requests were answered before it stopped
    finally:
        opened.close()


def _read_ledger(store: EditStore) -> Ledger:
    """The arms and settings in a store, without its rounds."""
    with store.begin_read() as connection:
        return Ledger().fold(read_setup_events(connection))


def _choose_tokenizer(policies: dict[str, str]) -> str:
    for spec in policies.values():
        if PolicySpec.parse(spec).url is not None:
            continue
        on_the_hub = not Path(spec).exists() and spec.count("/") == 1 and spec[0] not in "./~"
        if spec in model_registry.PINNED_MODEL_NAMES or on_the_hub or (Path(spec) / "tokenizer.json").is_file():
            return spec
    return embedded.NAME
