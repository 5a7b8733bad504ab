// What pages do better with a script. Each is whole without it.

// Not every browser knows every language: without the names of months it writes "M11", and numbers are better then.
function shownTime(at) {
  const text = at.toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  return /\bM\d\d\b/.test(text) ? at.toLocaleString("ru", { dateStyle: "short", timeStyle: "short" }) : text;
}

// Times stand in UTC; a reader's own is nicer.
function ownTimes(root) {
  for (const each of root.querySelectorAll("time[datetime]")) {
    const at = new Date(each.dateTime);
    if (!Number.isNaN(at.valueOf())) {
      each.title = each.textContent;
      each.textContent = shownTime(at);
    }
  }
}

// A button that was pressed is not pressed again while its answer is on the way. Going back finds it as it was.
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (button && !event.defaultPrevented) setTimeout(() => { button.disabled = true; }, 0);
});
addEventListener("pageshow", () => {
  for (const each of document.querySelectorAll("form button[disabled]:not([data-off])")) each.disabled = false;
});
document.addEventListener("htmx:after:swap", () => ownTimes(document));
ownTimes(document);
