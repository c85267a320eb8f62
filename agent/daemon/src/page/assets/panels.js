// Small questions over the page: 补充课题, 提交认证, 删除这节, 一键报修. Each asks once and says what came of it.
"use strict";
let open = null;

// What each panel asks; `send` answers whether it went through.
const PANELS = {
  amend: {
    fields: (w) => ["subject", "class", "topic", "period", "teacher"].map((name) => text(name, w.fields[name], status.lesson.about[name] || "", 80)),
    send: (values) => ask(`/api/lessons/${open.lesson}`, { action: "amend", about: { ...status.lesson.about, ...values } }),
  },
  submit: {
    prepare: async () => (await fetch("/api/schemes")).json(),
    fields: (w, schemes) => schemes.length ? schemeFields(w, schemes) : null,
    send: (values) => ask(`/api/lessons/${open.lesson}`, { action: "submit", ...values }),
  },
  discard: { fields: () => [], send: () => ask(`/api/lessons/${open.lesson}`, { action: "discard" }), danger: true },
  repair: {
    fields: (w) => [text("text", w.repair.words, "", 400)],
    send: (values) => ask("/api/repair", { id: open.id, text: values.text }),
    thanks: true,
  },
};

function text(name, label, value, max) {
  return field(label, Object.assign(document.createElement("input"), { name, value, maxLength: max, autocomplete: "off" }));
}
function field(label, control) {
  const box = document.createElement("label");
  box.append(document.createTextNode(label), control);
  return box;
}
function choice(name, options) {
  const select = Object.assign(document.createElement("select"), { name });
  select.append(...options.map(([value, words]) => new Option(words, value)));
  return select;
}

// The points follow the scheme.
function schemeFields(w, schemes) {
  const scheme = choice("scheme", schemes.map((one) => [one.id, one.name]));
  const holder = field(w.submit.point, document.createElement("span"));
  const points = () => {
    const list = schemes.find((one) => one.id === scheme.value).points;
    holder.hidden = list.length === 0;
    holder.lastChild.replaceWith(list.length ? choice("point", list.map((one) => [one.code, `${one.code} ${one.name}`])) : document.createElement("span"));
  };
  scheme.onchange = points;
  points();
  return [field(w.submit.scheme, scheme), holder];
}

async function openPanel(name) {
  const w = WORDS[language], panel = PANELS[name], words = w[name];
  open = { panel, lesson: status && status.lesson && status.lesson.id, id: [...crypto.getRandomValues(new Uint8Array(8))].map((b) => b.toString(16).padStart(2, "0")).join("") };
  let fields = null;
  try { fields = panel.fields(w, panel.prepare ? await panel.prepare() : null); } catch { /* said below as not there */ }
  $("panel-title").textContent = words.title;
  $("panel-text").textContent = fields ? words.text : words.none || w.state.gone[0];
  $("panel-fields").replaceChildren(...(fields || []));
  $("panel-problem").textContent = "";
  $("panel-cancel").textContent = w.act.cancel;
  $("panel-go").textContent = words.go;
  $("panel-go").className = panel.danger ? "record" : "primary";
  $("panel-go").hidden = !fields;
  $("panel").showModal();
}

$("panel-form").onsubmit = async (event) => {
  event.preventDefault();
  const values = Object.fromEntries(new FormData($("panel-form")).entries());
  for (const key of Object.keys(values)) values[key] = values[key].trim();
  $("panel-go").disabled = true;
  const done = await open.panel.send(values);
  $("panel-go").disabled = false;
  if (!done) $("panel-problem").textContent = refusal;
  else if (open.panel.thanks) {
    $("panel-text").textContent = WORDS[language].repair.thanks;
    $("panel-fields").replaceChildren();
    $("panel-go").hidden = true;
    $("panel-cancel").textContent = WORDS[language].act.seen;
  } else $("panel").close();
};
$("panel-cancel").onclick = () => $("panel").close();
$("do-repair").onclick = () => openPanel("repair");
