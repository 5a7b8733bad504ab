// What pages do better with a script. Each is whole without it.

// Times stand in UTC; a reader's own is nicer.
function ownTimes(root) {
  for (const each of root.querySelectorAll("time[datetime]")) {
    const at = new Date(each.dateTime);
    if (!Number.isNaN(at.valueOf())) {
      each.title = each.textContent;
      each.textContent = at.toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
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
