// A form that stays on the page after it was sent is a new wish the next time: it gets a new key.
document.addEventListener("htmx:after:request", (event) => {
  const key = event.target.querySelector?.('input[name="key"]');
  if (!key) return;
  const dice = crypto.getRandomValues(new Uint8Array(12));
  key.value = Array.from(dice, (each) => each.toString(16).padStart(2, "0")).join("");
});
