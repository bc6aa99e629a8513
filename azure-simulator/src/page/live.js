// Keeps a page as it is now, without a reload: asks for the same document again and changes what
// differs, so that what was scrolled, opened, selected or focused stays so.
"use strict";

const EVERY_MILLISECONDS = 1000;

/** Makes `shown`, a node of this document, what `wanted`, one of the new document, is. */
function become(shown, wanted) {
  if (shown.nodeType !== wanted.nodeType || shown.nodeName !== wanted.nodeName) {
    shown.replaceWith(wanted);
  } else if (shown.nodeType !== Node.ELEMENT_NODE) {
    if (shown.nodeValue !== wanted.nodeValue) shown.nodeValue = wanted.nodeValue;
  } else if (!shown.isEqualNode(wanted)) {
    attributesBecome(shown, wanted);
    childrenBecome(shown, wanted);
  }
}

function attributesBecome(shown, wanted) {
  // Whether details are open is for who reads them to say.
  const theirs = (name) => shown.nodeName === "DETAILS" && name === "open";
  for (const { name } of [...shown.attributes]) {
    if (!wanted.hasAttribute(name) && !theirs(name)) shown.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (shown.getAttribute(name) !== value && !theirs(name)) shown.setAttribute(name, value);
  }
}

/** Children with an id are known by it, wherever they stand; the others by their place. */
function childrenBecome(shown, wanted) {
  const named = new Map([...shown.children].filter((child) => child.id).map((child) => [child.id, child]));
  let place = shown.firstChild;
  for (const child of [...wanted.childNodes]) {
    const known = child.id ? named.get(child.id) : undefined;
    if (known) {
      named.delete(child.id);
      if (known === place) place = place.nextSibling;
      else shown.insertBefore(known, place);
      become(known, child);
    } else if (place && !place.id && !child.id) {
      const next = place.nextSibling;
      become(place, child);
      place = next;
    } else {
      shown.insertBefore(child, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

/** Logs that somebody reads elsewhere than at their end: the others follow it. */
function readElsewhere() {
  const atItsEnd = (log) => log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  return new Set([...document.querySelectorAll("pre.log")].filter((log) => !atItsEnd(log)));
}

function showTheEnd(others = new Set()) {
  for (const log of document.querySelectorAll("pre.log")) {
    if (!others.has(log)) log.scrollTop = log.scrollHeight;
  }
}

async function refresh() {
  const answer = await fetch(location.href, { cache: "no-store" });
  const wanted = new DOMParser().parseFromString(await answer.text(), "text/html");
  const others = readElsewhere();
  document.title = wanted.title;
  become(document.querySelector("main"), wanted.querySelector("main"));
  become(document.getElementById("as-of"), wanted.getElementById("as-of"));
  document.body.classList.remove("stale");
  showTheEnd(others);
}

function tellThatItIsOld() {
  if (document.body.classList.contains("stale")) return;
  document.body.classList.add("stale");
  document.getElementById("as-of").prepend("The simulator does not answer; this is ");
}

async function keepRefreshing() {
  if (!document.hidden) await refresh().catch(tellThatItIsOld);
  setTimeout(keepRefreshing, EVERY_MILLISECONDS);
}

showTheEnd();
setTimeout(keepRefreshing, EVERY_MILLISECONDS);
