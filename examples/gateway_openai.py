"""Ask a Copydesk gateway with the official `openai` package, and post back what became of the answer.

Start the gateway with `copydesk serve`, then run `python examples/gateway_openai.py`.
"""

import json
import os
import urllib.request

from openai import OpenAI

URL = os.environ.get("COPYDESK_URL", "http://127.0.0.1:8040")
KEY = os.environ.get("COPYDESK_API_KEY", "none")  # any text while the gateway is open

client = OpenAI(base_url=f"{URL}/v1", api_key=KEY)
completion = client.chat.completions.create(
    model="copydesk",  # let the ensemble choose; a policy's name asks for it
    user="ann",  # who is going to edit
    messages=[{"role": "user", "content": "Write an email. Notes: thank Ann for the parcel."}],
    max_tokens=60,
)
draft = completion.choices[0].message.content or ""
print(f"{completion.model} wrote: {draft}")

edited = draft.replace("Dear", "Hi")  # in place of the person at the keyboard

request = urllib.request.Request(
    f"{URL}/v1/edits",
    data=json.dumps({"completion_id": completion.id, "edit": edited}).encode(),
    headers={"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
)
with urllib.request.urlopen(request) as answer:
    receipt = json.load(answer)
print(f"The edit cost {receipt['cost']:.2f}.")
