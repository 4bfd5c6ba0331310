"""Sign in to the pages: an API key in a cookie that no script and no other site can read."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from copydesk.gateway.auth import KEY_COOKIE, Caller, is_same_origin
from copydesk.gateway.dependencies import get_gateway_state, lookup_gateway_state
from copydesk.gateway.errors import ApiError
from copydesk.gateway.state import GatewayState
from copydesk.gateway.web.templating import render_page

router = APIRouter()

_MAX_FORM_BYTES = 4096  # of a form with a key and a path
# A path of this gateway; nothing that a browser could read as the address of another site matches.
_LOCAL_PATH = re.compile(r"/(?:[\w.%~-]+(?:/[\w.%~-]+)*)?(?:\?[!-\[\]-~]*)?", re.ASCII)


@router.get("/sign-in", response_model=None)
async def get_sign_in(
    request: Request,
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    next: Annotated[str, Query(max_length=2048)] = "/",
) -> Response:
    """The form; a redirect if the request needs no key."""
    if await state.authenticator.accepts_anonymous(request):
        return _redirect(sanitize_redirect_path(next))
    return render_page(request, "sign_in.html", next=sanitize_redirect_path(next), error=None)


@router.post("/sign-in", response_model=None)
async def post_sign_in(request: Request, state: Annotated[GatewayState, Depends(get_gateway_state)]) -> Response:
    """Check a key and set the cookie."""
    form = await _read_form(request)
    then, text = sanitize_redirect_path(form.get("next", "/")), form.get("key", "").strip()
    if await state.authenticator.find_key(text) is None:
        error = "This key is unknown or was revoked." if text else "Enter a key."
        return render_page(request, "sign_in.html", status=401, next=then, error=error)
    response = _redirect(then)
    response.set_cookie(KEY_COOKIE, text, path="/", httponly=True, samesite="strict", secure=_is_https(request))
    return response


@router.post("/sign-out", response_model=None)
async def post_sign_out(request: Request) -> Response:
    """Delete the cookie."""
    await _read_form(request)
    response = _redirect("/sign-in")
    response.delete_cookie(KEY_COOKIE, path="/", httponly=True, samesite="strict", secure=_is_https(request))
    return response


def sanitize_redirect_path(path: str) -> str:
    """The path if it is one of this gateway, else `/`."""
    return path if _LOCAL_PATH.fullmatch(path) and not path.startswith(("/sign-in", "/sign-out")) else "/"


def _is_https(request: Request) -> bool:
    """Whether the browser used HTTPS, as a proxy in front reports it; this only makes the cookie stricter."""
    reported = f"{request.headers.get('x-forwarded-proto', '')},{request.headers.get('forwarded', '')}".lower()
    return request.url.scheme == "https" or reported.startswith("https") or "proto=https" in reported.replace('"', "")


def _redirect(path: str) -> RedirectResponse:
    return RedirectResponse(path, 303, {"cache-control": "no-store"})


async def _read_form(request: Request) -> dict[str, str]:
    """The fields of a form, which must come from a page of this gateway."""
    of_this_site = request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    if not of_this_site or not is_same_origin(request.headers):
        raise ApiError(403, "This form was sent by a page of another site.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise ApiError(415, "Send the form as application/x-www-form-urlencoded.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM_BYTES:
            raise ApiError(413, "The form is too large.")
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=10)
    except ValueError:
        raise ApiError(400, "The form cannot be read.") from None
    return {name: values[0] for name, values in fields.items()}


class SignInRequired(Exception):
    """A page needs a key, and nobody is signed in."""


def require_signed_in(*scopes: str) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency like `require_scope` for pages: it redirects to the sign-in page if nobody is signed in."""

    async def caller(request: Request) -> Caller:
        try:
            return await lookup_gateway_state(request).authenticator.authenticate(request, *scopes)
        except ApiError as exc:
            if exc.status == 401:
                raise SignInRequired from None
            raise

    return caller
