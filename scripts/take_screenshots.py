"""Take the screenshots of the gateway's pages in docs/img, with a simulated user and the policies of a demo.

    make demo && .venv/bin/python scripts/take_screenshots.py --demo demo

Needs Chromium. The user answers through the HTTP API as an application would; the draft on the Write page is edited in
the browser.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright
from tqdm import tqdm

from copydesk import Client
from copydesk.simulate.tasks import EMAIL
from copydesk.simulate.users import STRONG

IMAGES = Path(__file__).parents[1] / "docs" / "img"
PENDING = 8  # requests whose edit is still awaited
CHANGES = {"Dear ": "Hi ", "It will": "It'll", "for 30 minutes": "half an hour", "Best regards": "With many thanks"}
REQUEST = (
    "Write an email from these notes.\nto: Clara\nfrom: Robert\nnews: our work is at the workshop\nplace: Lisbon\n"
)


def collect_edits(url: str, rounds: int) -> None:
    """Request drafts, and edit all of them except the last few."""
    rng = np.random.default_rng(0)
    with Client(url) as client:
        for number in tqdm(range(rounds), desc="rounds"):
            document = EMAIL.draw_document(rng)
            reply = client.complete(document.context, user=f"user-{number % 5}", seed=number)
            if number < rounds - PENDING:
                client.edit(reply.id, STRONG.edit_response(EMAIL, document, reply.text, rng))


def edit_draft(page: Page, url: str) -> None:
    """Request a draft of the untrained policy on the Write page, and edit it as the user does."""
    rng = np.random.default_rng(1)
    document = EMAIL.draw_document(rng)
    page.goto(url)
    page.fill("#request", document.context)
    page.select_option("#policy", "base")
    page.click("text=Write a draft")
    page.wait_for_selector("#draft:not([readonly])")
    page.fill("#draft", STRONG.edit_response(EMAIL, document, page.input_value("#draft"), rng))
    page.wait_for_timeout(500)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="The folder of a demo run.")
    parser.add_argument("--rounds", type=int, default=300, help="Requests to make.")
    parser.add_argument("--out", type=Path, default=IMAGES, help="The folder for the pictures.")
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("Chromium is not installed; apt install chromium")
    copydesk = [sys.executable, "-m", "copydesk"]
    serve = ["serve", "--policy", "base=embedded", "--from", str(args.demo.resolve()), "--rule", "thompson"]
    with tempfile.TemporaryDirectory() as folder:
        gateway = subprocess.Popen(
            [*copydesk, *serve, "--port", "0", "--json"], cwd=folder, stdout=subprocess.PIPE, text=True
        )
        try:
            assert gateway.stdout is not None
            lines = []
            while (line := gateway.stdout.readline()) and line != "}\n":
                lines.append(line)
            url = json.loads("".join(lines) + "}")["url"]
            collect_edits(url, args.rounds)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
                page = browser.new_page(viewport={"width": 1200, "height": 800}, device_scale_factor=1.5)
                edit_draft(page, url)
                page.screenshot(path=args.out / "gateway-write.png", full_page=True)
                for name in ("edits", "ensemble"):
                    page.goto(f"{url}/{name}")
                    page.wait_for_load_state("networkidle")
                    height = {"edits": 1082}.get(name)
                    clip = None if height is None else {"x": 0, "y": 0, "width": 1200, "height": height}
                    page.screenshot(path=args.out / f"gateway-{name}.png", full_page=True, clip=clip)  # type: ignore[arg-type]
                browser.close()
        finally:
            gateway.terminate()
            gateway.wait()


if __name__ == "__main__":
    main()
