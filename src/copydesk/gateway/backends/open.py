"""Opening the policy that a spec names."""

import asyncio
import os
import re
from typing import TYPE_CHECKING

from copydesk.errors import InputError
from copydesk.gateway.backends.base import PolicyBackend
from copydesk.gateway.backends.proxy import ProxyBackend
from copydesk.gateway.backends.vllm import load_adapter
from copydesk.gateway.config import GatewayConfig

if TYPE_CHECKING:
    from copydesk.gateway.backends.local import LocalServer

_REMOTE_SPEC = re.compile(r"(vllm:)?(.+)@(https?://[^\s@]+)")


class BackendOpener:
    """Opens policies. A spec is one of:

    - `MODEL@URL`: a model at an OpenAI-compatible server, such as `gpt-4o-mini@https://api.openai.com/v1`;
    - `vllm:FOLDER@URL`: a LoRA adapter's folder, loaded into the vLLM server there;
    - anything else is a model or policy in this process, as `copydesk train --model` takes it.

    A server's key is read from the environment: `COPYDESK_KEY_` and the policy's name in capitals, with `_` for all but
    letters and digits, else `COPYDESK_UPSTREAM_KEY`. It is never logged.
    """

    def __init__(self, settings: GatewayConfig) -> None:
        self._config = settings
        self._local: LocalServer | None = None

    async def open(self, name: str, spec: str) -> PolicyBackend:
        """Open a policy; this takes as long as loading a model does.

        Raises:
            InputError: it cannot be opened.
        """
        settings = self._config
        found = _REMOTE_SPEC.fullmatch(spec)
        if found is None:
            return await (await self._get_local_server()).open(name, spec)
        model, url, key = found[2], found[3], _read_api_key(name)
        if found[1]:
            model = await asyncio.to_thread(load_adapter, name, model, url, key, settings.timeout)
        return ProxyBackend(name, model, url, api_key=key, timeout=settings.timeout, retries=settings.retries)

    async def close(self) -> None:
        """Stop what runs in this process."""
        if self._local is not None:
            await self._local.close()

    async def _get_local_server(self) -> "LocalServer":
        if self._local is None:
            settings = self._config
            make = await asyncio.to_thread(_import_local_server)
            self._local = make(max_batch=settings.max_batch, max_new_tokens=settings.max_new_tokens)
        return self._local


def _import_local_server() -> "type[LocalServer]":
    """Imported when the first such policy is opened: it takes seconds, and torch."""
    try:
        from copydesk.gateway.backends.local import LocalServer
    except ModuleNotFoundError as exc:
        raise InputError(
            f"a policy in this process needs {exc.name}; install it with: pip install 'copydesk[train]', or name one "
            "behind a server: MODEL@http://..."
        ) from None
    return LocalServer


def _read_api_key(name: str) -> str | None:
    own = "COPYDESK_KEY_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
    return os.environ.get(own) or os.environ.get("COPYDESK_UPSTREAM_KEY")
