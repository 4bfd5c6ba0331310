"""The page API, and the files of all pages."""

import re
from importlib.resources import files

import pytest
from tests.support.gateways import Scripted

from copydesk.gateway.web.api_docs import describe_endpoints, find_common_errors
from copydesk.gateway.web.templating import get_colour_class
from copydesk.report.style import METHOD_STYLES, get_css_variable, method_styles
from copydesk.store.api_keys import create_key


def test_every_endpoint_is_described_with_an_example(serve, seen) -> None:
    client = serve(Scripted("a"))
    response = client.get("/docs")
    page = seen(response)
    document = client.get("/openapi.json").json()
    count = sum(len(methods) for methods in document["paths"].values())
    assert len(page.all("article")) == len(page.all("pre")) == count
    anchors = {str(article["id"]) for article in page.all("article")}
    assert {f"#{anchor}" for anchor in anchors} <= {str(a["href"]) for a in page.all("a")}
    assert "POST" in page.text
    assert "lets the ensemble choose" in page.text
    assert page.text.count("The API key does not allow this") == 1  # what every endpoint can answer is told once
    assert page.text.count("It does not.") == 1
    assert f"curl {str(client.base_url).rstrip('/')}/v1/models" in page.text
    assert "Authorization: Bearer $" not in page.text


def test_with_keys_it_stays_open_and_its_examples_send_one(serve, store, seen) -> None:
    client = serve(Scripted("a"))
    with store.begin_write() as tx:
        create_key(tx.connection, "k")
    page = seen(client.get("/docs"))
    assert 'curl -H "Authorization' not in page.text
    assert '-H "Authorization: Bearer $COPYDESK_KEY"' in page.text


def test_examples_are_what_a_shell_takes() -> None:
    schema = {
        "properties": {"edit": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "Text."}},
        "required": ["edit"],
        "additionalProperties": False,
        "example": {"edit": "it's"},
    }
    operation = {
        "tags": ["edits"],
        "summary": "Post",
        "description": "One\nline.\n\nTwo.",
        "parameters": [{"name": "n", "in": "query", "schema": {"type": "array", "items": {"type": "integer"}}}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/E"}}}},
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {}}},
            "400": {"description": "No."},
        },
    }
    document = {"paths": {"/v1/x": {"put": operation}}, "components": {"schemas": {"E": schema}}}
    [one] = describe_endpoints(document, "http://h", True)["edits"]
    assert one.about == ["One line.", "Two."]
    assert [(field.name, field.kind, field.required) for field in one.fields] == [("edit", "string", True)]
    assert (one.parameters[0].kind, one.parameters[0].place) == ("array of integer", "query")
    assert find_common_errors(document) == [("400", "No.", "")]
    assert one.answers == [("200", "Done.", "application/json")]
    assert one.anchor == "put-v1-x"
    assert not one.more
    assert one.example.splitlines()[0] == "curl -X PUT http://h/v1/x \\"
    assert one.example.endswith("""-d '{"edit": "it'"'"'s"}'""")


def test_the_style_sheet_knows_every_look() -> None:
    sheet = files("copydesk.gateway.web").joinpath("static/page.css").read_text(encoding="utf-8")
    light, dark = sheet.split("@media (prefers-color-scheme: dark)", 1)
    for look in method_styles([*METHOD_STYLES, "w", "x", "y", "z"]).values():
        variable = get_css_variable(look.light.removeprefix("#"))
        assert f"{variable}: {look.light};" in light
        assert f"{variable}: {look.dark};" in dark
        assert f".{get_colour_class(look)} {{ color: var({variable}); }}" in sheet


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("place", "dark"), [(0, False), (1, True)])
def test_everything_can_be_read(place: int, dark: bool) -> None:
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


def test_files_are_served_and_asked_about_anew(serve) -> None:
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
