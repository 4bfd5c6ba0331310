"""Signing in: an API key kept in a cookie that no script and no other site can use."""

import asyncio
import re
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from copydesk.gateway.access import COOKIE
from copydesk.gateway.depends import desk_of
from copydesk.gateway.desk import Desk
from copydesk.gateway.errors import ApiError
from copydesk.gateway.pages.page import page
from copydesk.log.store.keys import Key, find_key

router = APIRouter()

_LONGEST = 4096  # bytes of a form with a key and an address
# A path of this gateway: what a browser could read as the address of another site does not match.
_OWN = re.compile(r"/(?:[\w.%~-]+(?:/[\w.%~-]+)*)?(?:\?[!-\[\]-~]*)?", re.ASCII)


@router.get("/sign-in", response_model=None)
async def get_sign_in(
    request: Request, desk: Annotated[Desk, Depends(desk_of)], next: Annotated[str, Query(max_length=2048)] = "/"
) -> Response:
    """The form; where no key is needed there is nothing to sign in for."""
    if not await desk.authenticator.requires_key():
        return _go(own_path(next))
    return page(request, "sign_in.html", next=own_path(next), fault=None)


@router.post("/sign-in", response_model=None)
async def post_sign_in(request: Request, desk: Annotated[Desk, Depends(desk_of)]) -> Response:
    """Take a key and keep it in the cookie."""
    form = await _form(request)
    then, text = own_path(form.get("next", "/")), form.get("key", "").strip()
    if await asyncio.to_thread(_find, desk, text) is None:
        fault = "This key is unknown or was revoked." if text else "Enter a key."
        return page(request, "sign_in.html", status=401, next=then, fault=fault)
    response = _go(then)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, text, path="/", httponly=True, samesite="strict", secure=secure)
    return response


@router.post("/sign-out", response_model=None)
async def post_sign_out(request: Request) -> Response:
    """Forget the key."""
    await _form(request)
    response = _go("/sign-in")
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return response


def own_path(path: str) -> str:
    """A path of this gateway, or `/` in its place."""
    return path if _OWN.fullmatch(path) and not path.startswith(("/sign-in", "/sign-out")) else "/"


def _go(path: str) -> RedirectResponse:
    return RedirectResponse(path, 303, {"cache-control": "no-store"})


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form that one of our own pages sent."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise ApiError(403, "This form was sent by a page of another site.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise ApiError(415, "Send the form as application/x-www-form-urlencoded.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST:
            raise ApiError(413, "The form is too large.")
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=10)
    except ValueError:
        raise ApiError(400, "The form cannot be read.") from None
    return {name: values[0] for name, values in fields.items()}


def _find(desk: Desk, text: str) -> Key | None:
    with desk.store.begin_read() as connection:
        return find_key(connection, text)
