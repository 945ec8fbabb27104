// Keeps a page's living parts up to date without touching what somebody types.
// Parts are elements with data-live: "list" is renewed child by child, anything else as a whole.
"use strict";

const EVERY = 2000; // milliseconds between two looks
const seen = new Map(); // id -> the HTML that the server last gave for it
let tag = "";
let left = false; // something was in use, so it must be looked at again

const parts = (root) => [...root.querySelectorAll("[data-live]")];
const children = (part) => [...part.children].filter((child) => child.id);
const units = (part) => (part.dataset.live === "list" ? children(part) : [part]);

function remember(root) {
  for (const part of parts(root)) for (const unit of units(part)) seen.set(unit.id, unit.outerHTML);
}

function inUse(element) {
  return [...element.querySelectorAll("textarea, input, select")].some(
    (box) =>
      box === document.activeElement ||
      (box.matches("textarea, [type=text]") && box.value !== box.defaultValue),
  );
}

function keepChoices(old, fresh) {
  for (const choice of old.querySelectorAll("select")) {
    const same = fresh.querySelector(`select[name="${choice.name}"]`);
    if (same) same.value = choice.value;
  }
  const before = [...old.querySelectorAll("details")];
  [...fresh.querySelectorAll("details")].forEach((details, n) => {
    const same = before[n] && before[n].firstElementChild?.textContent;
    if (same === details.firstElementChild?.textContent) details.open = before[n].open;
  });
}

function renew(old, fresh) {
  const html = fresh.outerHTML;
  if (seen.get(fresh.id) === html) return;
  if (inUse(old)) {
    left = true;
    return;
  }
  seen.set(fresh.id, html);
  keepChoices(old, fresh);
  fresh.classList.add("renewed");
  old.replaceWith(fresh);
}

function renewList(old, fresh) {
  const wanted = children(fresh);
  const ids = new Set(wanted.map((child) => child.id));
  for (const child of children(old)) if (!ids.has(child.id) && !inUse(child)) child.remove();
  let last = null;
  for (const child of wanted) {
    const there = document.getElementById(child.id);
    if (there) {
      renew(there, child);
    } else {
      seen.set(child.id, child.outerHTML);
      child.classList.add("renewed");
      if (last) last.after(child);
      else old.prepend(child);
    }
    last = document.getElementById(child.id);
  }
}

async function look() {
  const address = new URL(location.href);
  address.hash = "";
  address.searchParams.set("fragment", "1");
  const answer = await fetch(address, { headers: tag ? { "If-None-Match": tag } : {} });
  if (answer.status !== 200) return;
  left = false;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of parts(page)) {
    const old = document.getElementById(part.id);
    if (old) (part.dataset.live === "list" ? renewList : renew)(old, part);
  }
  tag = left ? "" : answer.headers.get("ETag") || "";
}

async function watch() {
  if (!document.hidden) await look().catch(() => {}); // the hub is away: look again later
  setTimeout(watch, EVERY);
}

document.addEventListener("keydown", (event) => {
  const form = event.target.form;
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || !form) return;
  if (event.target.matches("textarea")) form.requestSubmit(form.querySelector("button.main"));
});

if (parts(document).length) {
  remember(document);
  setTimeout(watch, EVERY);
}
