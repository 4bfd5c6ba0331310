// Requests to the gateway. Every failure becomes an Error with a message for people.

async function post(path, body, signal) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The gateway cannot be reached. Is it running?");
  }
  if (response.ok) return response;
  const document = await response.json().catch(() => null);
  throw new Error(sentence(document?.error?.message ?? `The gateway answered ${response.status}.`));
}

/** Post JSON and return the JSON that comes back. */
export const ask = async (path, body, signal) => (await post(path, body, signal)).json();

/** The chunks of a streamed completion, one by one; returns after the last, throws if it broke off. */
export async function* stream(body, signal) {
  const response = await post("/v1/chat/completions", { ...body, stream: true }, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The draft broke off. Try again.");
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(sentence(chunk.error.message));
      yield chunk;
    }
  }
}

function sentence(text) {
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : upper + ".";
}
