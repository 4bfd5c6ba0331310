"""Open the policy that a spec names."""

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from copydesk.errors import InputError
from copydesk.gateway.backends.base import PolicyBackend
from copydesk.gateway.backends.proxy import ProxyBackend
from copydesk.gateway.backends.vllm import load_adapter
from copydesk.gateway.config import GatewayConfig
from copydesk.policy_spec import Origin, PolicySpec, UpstreamKeys
from copydesk.upstream import ReplyLimits

if TYPE_CHECKING:
    from copydesk.gateway.backends.local import LocalServer


logger = logging.getLogger(__name__)


class BackendOpener:
    """Opens the policies that `copydesk serve` takes; see `copydesk.policy_spec`. API keys are not logged.

    Args:
        settings: the gateway's settings.
        keys: the keys of servers; default: those of `settings.upstreams`.
    """

    def __init__(self, settings: GatewayConfig, keys: UpstreamKeys | None = None) -> None:
        self._config = settings
        self._keys = keys or UpstreamKeys({}, settings.upstreams, os.environ)
        self._warned: set[str] = set()
        self._local: LocalServer | None = None

    async def open(self, name: str, spec: str) -> PolicyBackend:
        """Open a policy; a model in this process is loaded.

        Raises:
            InputError: it cannot be opened.
        """
        settings = self._config
        parsed = PolicySpec.parse(spec)
        parsed.check_command("serve")
        if parsed.url is None:
            return await (await self._get_local_server()).open(name, spec)
        model, url, key = parsed.model, parsed.url, self._keys.find(name, parsed.url)
        if name not in self._warned and (variable := self._keys.find_unsent(name, url)):
            self._warned.add(name)
            logger.warning(
                "the key in %s is not sent for %s, which is not a policy of this command; to send it, start with "
                "--upstream %s=%s",
                variable,
                name,
                Origin.of(url),
                variable,
            )
        if parsed.form == "vllm":
            model = await asyncio.to_thread(load_adapter, name, model, url, key, settings.timeout)
        return ProxyBackend(
            name,
            model,
            url,
            api_key=key,
            timeout=settings.timeout,
            deadline=settings.deadline,
            retries=settings.retries,
            limits=ReplyLimits(settings.max_reply, settings.max_answer),
        )

    async def close(self) -> None:
        """Close the models of this process."""
        if self._local is not None:
            await self._local.close()

    async def _get_local_server(self) -> "LocalServer":
        if self._local is None:
            settings = self._config
            make = await asyncio.to_thread(_import_local_server)
            self._local = make(max_batch=settings.max_batch, max_new_tokens=settings.max_new_tokens)
        return self._local


def _import_local_server() -> "type[LocalServer]":
    """Import it with the first policy in this process: it needs torch and takes seconds."""
    try:
        from copydesk.gateway.backends.local import LocalServer
    except ModuleNotFoundError as exc:
        raise InputError(
            f"a policy in this process needs {exc.name}; install it with: pip install 'copydesk[train]', or name one "
            "behind a server: MODEL@http://..."
        ) from None
    return LocalServer
