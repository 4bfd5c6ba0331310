// The page Write: request a draft, show the diff and the edit cost while it is edited, send the edit.

import { diff } from "./diff.js";
import { ask, stream } from "./gateway.js";

const $ = (id) => document.getElementById(id);
const form = $("ask"), request = $("request"), editor = $("editor"), draft = $("draft"), sent = $("sent");
const PAUSE = 250; // milliseconds without a keystroke before the diff is drawn and the cost requested

let phase = "asking"; // writing, editing, sending, sent
let answer = null; // the completion under edit: { id, text, policy, propensity, round }
let stopper = null; // aborts the running draft
let costing = null; // aborts the running request for the cost
let timer = 0;
let posted = null; // the text that was last sent

// Text areas drop carriage returns; they are put back into a draft that has them, or every line would count as changed.
const lines = (text) => text.replace(/\r\n?/g, "\n");
const edited = () => (/\r\n/.test(answer.text) ? draft.value.replace(/\n/g, "\r\n") : draft.value);
const changed = () => draft.value !== lines(answer.text);
const unsent = () => (phase === "editing" || phase === "sending") && draft.value !== (posted ?? lines(answer.text));

function go(to, said = "") {
  phase = to;
  form.hidden = to !== "asking";
  editor.hidden = to === "asking" || to === "sent";
  sent.hidden = to !== "sent";
  draft.readOnly = to !== "editing";
  draft.setAttribute("aria-busy", String(to === "writing"));
  editor.dataset.phase = to;
  $("stop").hidden = to !== "writing";
  $("send").hidden = to === "writing";
  $("again").hidden = to === "writing";
  $("send").disabled = $("again").disabled = to === "sending";
  $("status").textContent = said;
  $("error").textContent = "";
}

const fail = (message) => ($("error").textContent = message);

async function write() {
  const text = request.value, user = $("user").value.trim();
  if (!text.trim()) return request.focus();
  answer = { id: "", text: "", policy: "", propensity: 1, round: null };
  posted = null;
  draft.value = "";
  $("asked").textContent = text;
  $("changes").replaceChildren();
  price(0);
  go("writing", "Writing the draft…");
  $("stop").focus();
  stopper = new AbortController();
  try {
    const body = { model: $("policy").value, messages: [{ role: "user", content: text }] };
    for await (const chunk of stream(user ? { ...body, user } : body, stopper.signal)) {
      answer.id ||= chunk.id;
      if (chunk.copydesk) Object.assign(answer, chunk.copydesk);
      const more = chunk.choices?.[0]?.delta?.content;
      if (more) draft.value = answer.text += more;
      draft.scrollTop = draft.scrollHeight;
    }
  } catch (error) {
    const stopped = error.name === "AbortError";
    go("asking", stopped ? "Stopped. The draft was discarded." : "");
    if (!stopped) fail(error.message);
    return request.focus();
  }
  draft.value = lines(answer.text);
  edit("The draft is ready. Edit it, then send it.");
}

function edit(said) {
  go("editing", said);
  compare();
  draft.focus();
  draft.setSelectionRange(0, 0);
  draft.scrollTop = 0;
}

/** Show the diff and the edit cost. */
async function compare() {
  costing?.abort();
  const differs = changed();
  $("send").textContent = differs ? "Send edit" : "Accept unchanged";
  $("changes").replaceChildren(
    ...diff(lines(answer.text), draft.value).map(([kind, text]) => {
      if (kind === "equal") return document.createTextNode(text);
      const mark = document.createElement(kind === "delete" ? "del" : "ins");
      mark.textContent = text;
      return mark;
    }),
  );
  if (!differs) return price(0);
  costing = new AbortController();
  const { signal } = costing;
  try {
    const { cost } = await ask("/write/cost", { completion_id: answer.id, edit: edited() }, signal);
    if (!signal.aborted) price(cost);
  } catch (error) {
    if (error.name !== "AbortError" && phase === "editing") price(null);
  }
}

function price(cost) {
  $("cost").textContent = cost === null ? "unknown" : cost.toFixed(2);
  $("meter").value = cost ?? 0;
}

async function send() {
  if (phase !== "editing") return;
  const body = changed() ? { edit: edited() } : { accepted: true };
  const text = draft.value;
  go("sending", "Sending…");
  try {
    const done = await ask("/v1/edits", { completion_id: answer.id, ...body });
    posted = text;
    confirmSent(done, Boolean(body.accepted));
  } catch (error) {
    go("editing");
    fail(error.message);
    draft.focus();
  }
}

/** Only now show which policy wrote the draft: known earlier, it would bias the edits. */
function confirmSent(done, accepted) {
  $("sent-title").textContent = accepted ? "Accepted unchanged" : "Your edit is logged";
  $("sent-cost").textContent = done.cost.toFixed(2);
  $("sent-propensity").textContent = answer.round ? answer.propensity.toPrecision(3).replace(/\.?0+$/, "") : "requested by name";
  const all = [...$("sent-policy").children];
  const mine = all.find((one) => one.dataset.policy === answer.policy) ?? all.at(-1);
  if (mine === all.at(-1)) mine.textContent = answer.policy; // it was added after the page was loaded
  for (const one of all) one.hidden = one !== mine;
  $("sent-note").textContent = done.counted
    ? "The ensemble has learned from it."
    : answer.round
      ? "The ensemble does not learn from this edit: there were too many in a short time."
      : "You chose the policy, so the ensemble does not learn from this edit.";
  $("sent-link").href = `/edits/${encodeURIComponent(done.completion_id)}`;
  go("sent");
  sent.focus();
}

function startOver() {
  if (unsent() && !confirm("Discard your changes?")) return;
  clearTimeout(timer);
  costing?.abort();
  go("asking");
  request.focus();
  request.select();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  write();
});
draft.addEventListener("input", () => {
  clearTimeout(timer);
  $("send").textContent = changed() ? "Send edit" : "Accept unchanged";
  timer = setTimeout(compare, PAUSE);
});
$("stop").addEventListener("click", () => stopper?.abort());
$("send").addEventListener("click", send);
$("again").addEventListener("click", startOver);
$("next").addEventListener("click", startOver);
$("revise").addEventListener("click", () => edit("Edit it again; the latest version counts."));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  if (phase === "asking") form.requestSubmit();
  else send();
});
addEventListener("beforeunload", (event) => {
  if (unsent()) event.preventDefault();
});
