// Word-by-word diff of a response and its edit. It mirrors copydesk/report/diff.py: change both together;
// tests/gateway/web/test_browser.py compares them.

const TOKEN = /[\p{L}\p{N}_]+|\s+|[^\p{L}\p{N}_\s]/gu;
const MOST = 30_000_000; // cells of the table; beyond, the middle counts as rewritten as a whole

/** Segments [kind, text] with kind "equal", "delete" or "insert" that lead from `before` to `after`. */
export function diff(before, after) {
  const blocks = merged(steps(before.match(TOKEN) ?? [], after.match(TOKEN) ?? []));
  const found = [];
  let old = "", fresh = "";
  const flush = () => {
    if (old) found.push(["delete", old]);
    if (fresh) found.push(["insert", fresh]);
    old = fresh = "";
  };
  blocks.forEach(([same, was, is], i) => {
    // A space alone between two changes counts as changed; a line break does not.
    const gap = same && !was.trim() && !was.includes("\n") && i > 0 && i < blocks.length - 1;
    if (same && !gap) {
      flush();
      found.push(["equal", was]);
    } else {
      old += was;
      fresh += is;
    }
  });
  flush();
  return found;
}

/** Steps [same, old, new] in neighbouring pairs joined: what is the same, and what is not. */
function merged(all) {
  const found = [];
  for (const [same, was, is] of all) {
    const last = found.at(-1);
    if (last && last[0] === same) {
      last[1] += was;
      last[2] += is;
    } else found.push([same, was, is]);
  }
  return found;
}

/** Steps along a longest common subsequence of two lists of tokens. */
function steps(a, b) {
  let head = 0, tail = 0;
  const shorter = Math.min(a.length, b.length);
  while (head < shorter && a[head] === b[head]) head++;
  while (tail < shorter - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const same = (token) => [true, token, token];
  return [
    ...a.slice(0, head).map(same),
    ...middle(a.slice(head, a.length - tail), b.slice(head, b.length - tail)),
    ...a.slice(a.length - tail).map(same),
  ];
}

function middle(a, b) {
  const gone = a.map((token) => [false, token, ""]), come = b.map((token) => [false, "", token]);
  const width = b.length + 1;
  if (!a.length || !b.length || (a.length + 1) * width > MOST) return [...gone, ...come];
  const ids = new Map();
  const id = (token) => ids.get(token) ?? (ids.set(token, ids.size), ids.size - 1);
  const x = Int32Array.from(a, id), y = Int32Array.from(b, id);
  const table = new Uint16Array((a.length + 1) * width); // lengths of the subsequences of what is left of both
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1, at = i * width + j; j >= 0; j--, at--)
      table[at] = x[i] === y[j] ? table[at + width + 1] + 1 : Math.max(table[at + width], table[at + 1]);
  const found = [];
  let i = 0, j = 0;
  while (i < a.length && j < b.length) {
    const at = i * width + j;
    if (x[i] === y[j]) found.push([true, a[i++], b[j++]]);
    else if (table[at + width] >= table[at + 1]) found.push(gone[i++]);
    else found.push(come[j++]);
  }
  return [...found, ...gone.slice(i), ...come.slice(j)];
}
