"""HTTP client of the gateway: requests completions and posts their edits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import quote

from copydesk.errors import InputError


@dataclass(frozen=True)
class CompletionReply:
    """A completion.

    Attributes:
        id: the id that an edit of it refers to.
        text: the text of the completion.
        policy: the policy that answered.
        propensity: the probability with which it was chosen.
    """

    id: str
    text: str
    policy: str
    propensity: float


@dataclass(frozen=True)
class EditReceipt:
    """An edit that the gateway has stored.

    Attributes:
        id: the id of this revision.
        cost: the edit cost.
        revision: the number of the revision; 1 unless the same completion was edited before.
        counted: whether the ensemble learns from it.
    """

    id: str
    cost: float
    revision: int
    counted: bool


class Client:
    """A client with a pool of open connections; safe to share between threads.

    Args:
        url: the address of the gateway.
        api_key: an API key, where the gateway requires one.
        timeout: seconds to wait for a response.

    Raises:
        InputError: from every method, when the gateway cannot be reached or refuses, with the gateway's message.
    """

    def __init__(self, url: str = "http://127.0.0.1:8040", api_key: str | None = None, timeout: float = 120.0) -> None:
        try:
            import httpx
        except ModuleNotFoundError:
            raise InputError("the client needs httpx; install it with: pip install 'copydesk[client]'") from None
        self._url = url
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)
        self._http_error = httpx.HTTPError

    def complete(
        self,
        context: str | Sequence[Mapping[str, Any]],
        *,
        model: str = "copydesk",
        user: str | None = None,
        **parameters: Any,
    ) -> CompletionReply:
        """Request a completion.

        Args:
            context: a text, or the messages of a chat.
            model: the name of a policy; `copydesk` lets the ensemble choose.
            user: the user who will edit the completion.
            parameters: further parameters of OpenAI's API, such as `temperature`.
        """
        messages = [{"role": "user", "content": context}] if isinstance(context, str) else list(context)
        body = {"model": model, "messages": messages, **parameters} | ({} if user is None else {"user": user})
        answer = self._send("POST", "/v1/chat/completions", body)
        try:
            text = answer["choices"][0]["message"]["content"] or ""
            return CompletionReply(answer["id"], text, answer["copydesk"]["policy"], answer["copydesk"]["propensity"])
        except (LookupError, TypeError):
            raise self._make_stranger_error() from None

    def edit(self, completion_id: str, edit: str) -> EditReceipt:
        """Post the edit of a completion. It is durable when this returns; posting it again does no harm."""
        return self._post_edit({"completion_id": completion_id, "edit": edit})

    def accept(self, completion_id: str) -> EditReceipt:
        """Post that a completion was accepted unchanged."""
        return self._post_edit({"completion_id": completion_id, "accepted": True})

    def get_ensemble(self, user: str | None = None) -> dict[str, Any]:
        """The state of the ensemble, or its view for one user; see `GET /v1/ensemble`."""
        return self._send("GET", "/v1/ensemble", query={} if user is None else {"user": user})

    def add_policy(self, name: str, spec: str, *, user: str | None = None, group: str | None = None) -> dict[str, Any]:
        """Add a policy for everyone, one user or one group; see `POST /v1/policies`."""
        audience = {"user": user, "group": group}
        given = {scope: name for scope, name in audience.items() if name is not None}
        return self._send("POST", "/v1/policies", {"name": name, "spec": spec, **given})

    def retire_policy(self, name: str) -> dict[str, Any]:
        """Retire a policy; see `DELETE /v1/policies/{name}`."""
        return self._send("DELETE", f"/v1/policies/{quote(name, safe='')}")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _post_edit(self, body: dict[str, Any]) -> EditReceipt:
        done = self._send("POST", "/v1/edits", body)
        try:
            return EditReceipt(done["id"], done["cost"], done["revision"], done["counted"])
        except LookupError:
            raise self._make_stranger_error() from None

    def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, json=body, params=query)
            document = answer.json()
        except self._http_error as exc:
            raise InputError(
                f"{self._url}: the gateway cannot be reached ({exc}); is `copydesk serve` running?"
            ) from None
        except ValueError:
            raise self._make_stranger_error() from None
        if answer.is_success and isinstance(document, dict):
            return document
        error = document.get("error") if isinstance(document, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        raise InputError(f"{self._url}: {message or f'the gateway answered {answer.status_code}'}")

    def _make_stranger_error(self) -> InputError:
        return InputError(f"{self._url}: this is not a Copydesk gateway; check the address")
