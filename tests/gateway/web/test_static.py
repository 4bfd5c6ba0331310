"""The page API, and the files of all pages."""

import re
from importlib.resources import files

import pytest
from tests.support.gateways import Scripted

from copydesk.gateway.web import DOCUMENTATION_URL
from copydesk.gateway.web.templating import get_colour_class, render_colour_sheet
from copydesk.report.style import METHOD_STYLES, get_css_variable, method_styles
from copydesk.store.api_keys import create_key


def test_the_api_page_lists_every_endpoint_and_links_to_its_description(serve, seen) -> None:
    client = serve(Scripted("a"))
    page = seen(client.get("/docs"))
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            assert f"{method.upper()} {path}" in page.text and operation["summary"] in page.text
    links = {str(link["href"]) for link in page.all("a")}
    assert {"/openapi.json", DOCUMENTATION_URL} <= links
    assert f"{str(client.base_url).rstrip('/')}/v1" in page.text
    assert "No API key is needed" in page.text


def test_with_api_keys_the_api_page_stays_open_and_says_how_to_send_one(serve, store, seen) -> None:
    client = serve(Scripted("a"))
    with store.begin_write() as tx:
        create_key(tx.connection, "k")
    page = seen(client.get("/docs"))
    assert "Authorization: Bearer ck-" in page.text and "No API key is needed" not in page.text


def test_the_generated_style_sheet_has_every_colour(serve) -> None:
    answer = serve(Scripted("a")).get("/static/colours.css")
    assert answer.headers["content-type"].startswith("text/css") and answer.headers["cache-control"] == "no-cache"
    assert answer.text == render_colour_sheet()
    light, dark = answer.text.split("@media (prefers-color-scheme: dark)", 1)
    names = [
        *METHOD_STYLES,
        "own",
        "shared",
        "oracle",
        "late-thompson",
        "icl-1",
        "icl-3",
        "cipher-5",
        "w",
        "x",
        "y",
        "z",
    ]
    for look in method_styles(names).values():
        variable = get_css_variable(look.light.removeprefix("#"))
        assert f"{variable}: {look.light};" in light
        assert f"{variable}: {look.dark};" in dark
        assert f".{get_colour_class(look)} {{ color: var({variable}); }}" in dark


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("place", "dark"), [(0, False), (1, True)])
def test_colours_have_enough_contrast(place: int, dark: bool) -> None:
    sheet = files("copydesk.gateway.web").joinpath("static/page.css").read_text(encoding="utf-8")
    colours = dict(
        re.findall(r"--([\w-]+): (#[0-9a-f]{6});", sheet.split("@media (prefers-color-scheme: dark)", 1)[place])
    )
    assert (luminance(colours["text"]) > luminance(colours["page"])) == dark

    def contrast(over: str, under: str) -> float:
        high, low = sorted((luminance(colours[over]), luminance(colours[under])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    texts = [(text, ground) for text in ("text", "soft", "accent", "deleted") for ground in ("page", "card")]
    texts += [
        ("deleted", "deleted-ground"),
        ("inserted", "inserted-ground"),
        ("accent-text", "accent"),
        ("soft", "tint"),
    ]
    for text, ground in texts:
        assert contrast(text, ground) >= 4.5, (text, ground)
    for ground in ("page", "card"):
        assert contrast("edge", ground) >= 3, ground


def test_static_files_are_served_and_revalidated(serve) -> None:
    client = serve(Scripted("a"))
    kinds = {
        "page.css": "text/css",
        "write.js": "text/javascript",
        "diff.js": "text/javascript",
        "icon.svg": "image/svg",
    }
    for name, kind in kinds.items():
        answer = client.get(f"/static/{name}")
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["cache-control"] == "no-cache"
        again = client.get(f"/static/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
    assert client.get("/static/../page.py").status_code == 404
    assert client.get("/static/%2e%2e/page.py").status_code == 404
