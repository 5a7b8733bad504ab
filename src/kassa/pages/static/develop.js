// What the developers' corner does better with a script: copy a command by a button, and show events as they happen.

for (const each of document.querySelectorAll("pre[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(each.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  each.before(button);
}

const live = document.querySelector("#events[data-live]");

async function lookAgain() {
  if (document.hidden || live.contains(document.activeElement)) return; // nothing moves under whoever reads it by keyboard
  const answer = await fetch(location.href).catch(() => null);
  if (!answer || !answer.ok) return;
  const found = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#events");
  if (found && found.innerHTML !== lookAgain.last) {
    lookAgain.last = found.innerHTML;
    live.replaceChildren(...found.childNodes);
    ownTimes(live);
  }
}
if (live) setInterval(lookAgain, 2000);
