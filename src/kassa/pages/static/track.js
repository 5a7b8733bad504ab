// The tracking page: while somebody looks at it, it shows the order as it is. The server says that something changed; what, is read anew.
(() => {
  const box = document.getElementById("track");
  const news = document.getElementById("news");
  const TICK_MS = 10000;
  let source = null;
  let waits = 0; // seconds before the next try after a refusal
  let timer = 0;
  let reading = false;
  let stale = false;
  let lastTick = Date.now();

  const stamp = () => box.firstElementChild.dataset.stamp;

  function put(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html").querySelector("[data-stamp]");
    if (!fresh || fresh.dataset.stamp === stamp()) return;
    const held = box.contains(document.activeElement) ? document.activeElement.id : "";
    box.replaceChildren(document.adoptNode(fresh));
    ownTimes(box);
    if (held) document.getElementById(held)?.focus();
    news.textContent = document.getElementById("state").textContent;
  }

  async function refresh() {
    stale = true;
    if (reading) return;
    reading = true;
    try {
      while (stale) {
        stale = false;
        const answer = await fetch(location.href, { headers: { "HX-Request": "true" } });
        if (answer.ok) put(await answer.text());
        else if (answer.status >= 500 || answer.status === 429) throw new Error(String(answer.status));
      }
    } catch {
      setTimeout(refresh, 3000);
    } finally {
      reading = false;
    }
  }

  function hush() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function listen() {
    hush();
    const address = new URL(box.dataset.events, location.href);
    address.searchParams.set("seen", stamp());
    source = new EventSource(address);
    source.addEventListener("open", () => { waits = 0; });
    source.addEventListener("order", refresh);
    source.addEventListener("error", () => {
      // A connection that broke is taken up by the browser itself; one that was refused is not.
      if (source?.readyState === EventSource.CLOSED) {
        waits = Math.min(60, 2 * waits || 2);
        timer = setTimeout(listen, waits * 1000);
      }
    });
  }

  // After sleep, in a tab that comes to the front, or with the network back, a stream may look alive and be dead.
  function wake() {
    if (document.hidden) return hush();
    refresh();
    listen();
  }
  document.addEventListener("visibilitychange", wake);
  addEventListener("online", wake);
  addEventListener("pagehide", hush);
  addEventListener("pageshow", (event) => { if (event.persisted) wake(); });
  setInterval(() => {
    const slept = Date.now() - lastTick > 3 * TICK_MS;
    lastTick = Date.now();
    if (slept) wake();
  }, TICK_MS);
  if (!document.hidden) listen();
})();
