// Follows the hub: when something changed, the marked parts of the page are asked for anew.
"use strict";
const parts = document.querySelectorAll("[data-live]");
const away = document.getElementById("away");
let busy = false;
let again = false;

async function refresh() {
  if (document.hidden) return;
  if (busy) { again = true; return; }
  busy = true;
  try {
    for (const part of parts) {
      const answer = await fetch(part.dataset.live, { headers: { accept: "text/html" } });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) throw new Error(String(answer.status));
      const text = await answer.text();
      // What somebody unfolded to read stays unfolded.
      const open = [...part.querySelectorAll("details[open]")].map((one) => one.id);
      part.innerHTML = text;
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    }
    away.hidden = true;
  } catch {
    away.hidden = false;
  } finally {
    busy = false;
    if (again) { again = false; setTimeout(refresh, 1000); }
  }
}

if (parts.length > 0) {
  const stream = new EventSource("/live");
  stream.addEventListener("change", refresh);
  stream.addEventListener("error", () => { away.hidden = false; });
  stream.addEventListener("open", () => { away.hidden = true; });
  document.addEventListener("visibilitychange", refresh);
  // Silence changes what is shown too: a room that says nothing becomes a lost one.
  setInterval(refresh, 20000);
}

for (const form of document.querySelectorAll("form[data-confirm]")) {
  form.addEventListener("submit", (event) => { if (!confirm(form.dataset.confirm)) event.preventDefault(); });
}
