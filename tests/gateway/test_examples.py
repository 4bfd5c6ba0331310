"""The example and the snippets of the docs do what they say."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.gateways import Scripted, app_of, arms_of, ask, running

ROOT = Path(__file__).parents[2]


def test_the_example_with_the_openai_package_alone(serve) -> None:
    client = serve(Scripted("a", lambda request: "Dear Ann, thank you for the parcel."))
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "gateway_openai.py")],
        env=os.environ | {"COPYDESK_URL": str(client.base_url).rstrip("/")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "a wrote: Dear Ann, thank you for the parcel." in done.stdout
    assert "The edit cost 0.11." in done.stdout  # one word of nine
    assert arms_of(client)["a"]["observed"] == 1
    assert "copydesk" not in [line.split()[1] for line in source("examples/gateway_openai.py") if "import" in line]


def source(name: str) -> list[str]:
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if re.match(r"(from|import) ", line)]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_javascript_snippet_posts_an_edit(serve) -> None:
    client = serve(Scripted("a", lambda request: "one two"))
    name = ask(client).json()["id"]
    (snippet,) = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "gateway.md").read_text(), re.DOTALL)
    snippet = snippet.replace("https://gateway.example", str(client.base_url).rstrip("/"))
    script = f'const EDIT_KEY = "none";\n{snippet}\npostEdit("{name}", "one 2").then(console.log)'
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0.5"
    missing = script.replace(name, "chatcmpl-x").replace(".then(console.log)", ".catch(e => console.log(e.message))")
    done = subprocess.run(["node", "-e", missing], capture_output=True, text=True, check=True)
    assert "there is no completion" in done.stdout


def test_a_gateway_of_remote_policies_needs_no_torch() -> None:
    code = (
        "import sys, copydesk.gateway.server, copydesk.gateway.backends.open, copydesk.cli.app, copydesk.client; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'matplotlib.pyplot')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_openapi_document_is_served_and_names_every_error(store) -> None:
    with running(app_of(store, Scripted("a"))) as url:
        import httpx

        document = httpx.get(f"{url}/openapi.json").json()
    assert document["info"]["title"] == "Copydesk"
    for path, methods in document["paths"].items():
        assert path.startswith("/v1/") or path in ("/healthz", "/readyz", "/metrics")
        for operation in methods.values():
            assert operation["summary"]
            assert "422" not in operation["responses"]
            assert {"400", "401", "403", "413", "503"} <= set(operation["responses"])
