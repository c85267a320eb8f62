// The one-button page. It shows the status it is sent and asks; it decides nothing.
"use strict";
const $ = (id) => document.getElementById(id);
let status = null, heardAt = 0, refusal = "", refusedAt = 0, drawn = "", filled = "";
// What the teacher has read and put aside: verdicts by their time, little space by its minutes.
const seen = new Set();
let language = new URLSearchParams(location.search).get("lang") || localStorage.getItem("language") || "zh-CN";
if (!WORDS[language]) language = "zh-CN";
const say = (text, values = {}) => text.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");

function length(ms) {
  const w = WORDS[language], s = Math.max(1, Math.round(ms / 1000)), m = Math.round(s / 60);
  if (s < 60) return say(w.seconds, { n: s });
  return m < 60 ? say(w.minutes, { n: m }) : say(w.hours, { h: Math.floor(m / 60), n: m % 60 });
}
function time(ms) {
  const s = Math.floor(ms / 1000), two = (n) => String(n).padStart(2, "0");
  return `${two(Math.floor(s / 3600))}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}
const gigabytes = (bytes) => bytes < 1e9 ? `${Math.max(1, Math.round(bytes / 1e6))} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
const mib = (bytes) => `${(bytes / 1048576).toFixed(bytes < 1e8 ? 1 : 0)} MB`;

// Before a lesson: what the sources' check found, and what else a teacher should know before the press.
const EYES = ["screen", "camera", "test"], CHECK_LASTS = 15 * 60000, SHORT_OF_SPACE = 55;
function beforehand() {
  const found = status.preflight, fresh = found && found.age_ms + performance.now() - heardAt < CHECK_LASTS;
  if (fresh && !seen.has(found.at_boot_ms)) {
    const blind = found.sources.find((one) => EYES.includes(one.kind) && one.state !== "good");
    if (blind) return blind.kind === "camera" ? "noCamera" : "noScreen";
    const mute = (one) => one.state === "failed" || (one.state === "silent" && (one.peak_dbfs ?? -100) < -90);
    if (found.sources.some((one) => one.kind === "microphone" && mute(one))) return "noSound";
  }
  if (status.disk_free_minutes != null && status.disk_free_minutes < SHORT_OF_SPACE && !seen.has("space")) return "littleSpace";
  return status.speech ? "speech" : "idle";
}

// Which row of the table of states holds.
function situation() {
  if (!status) return "connecting";
  if (performance.now() - heardAt > 20000) return "gone";
  const lesson = status.lesson;
  if (!lesson) return beforehand();
  if (lesson.state === "discarded" && lesson.thrown_away) return "thrownAway";
  if (lesson.bell && lesson.bell.counts_down && ["recording", "paused", "interrupted"].includes(lesson.state)) return "bell";
  if (lesson.state === "sealed") {
    if (!status.upload.configured) return "local";
    return status.upload.reachable === false ? "offline" : "sealed";
  }
  // A lesson whose bytes here made room at once is stored as well as any.
  if (["stored", "reclaimed"].includes(lesson.state)) return status.safe_to_switch_off ? "stored" : "storedWaiting";
  return lesson.state;
}

// Elapsed picture: what is durable, and what must have come since.
function elapsed() {
  const lesson = status.lesson;
  if (!lesson) return 0;
  const since = lesson.state === "recording" ? Math.min(lesson.media_age_ms + performance.now() - heardAt, 2500) : 0;
  return lesson.media_ms + since;
}

const ENDED = ["sealed", "local", "offline", "stored", "storedWaiting"];
const ACTIONS = {
  idle: ["start"], speech: ["start"], noCamera: ["anyway", "check"], noScreen: ["anyway", "check"], noSound: ["goOn", "cancel"], littleSpace: ["seen"],
  stored: ["next"], storedWaiting: ["next"], sealed: ["next"], local: ["next"], offline: ["seen", "next"], discarded: ["next"], thrownAway: ["next"],
  recording: ["pause", "mark", "stop"], paused: ["resume", "stop"], interrupted: ["stop"], preparing: ["stop"], bell: ["extend", "stopNow"],
};
// Quieter ones, below: what can be done with a lesson that has ended.
const MORE = {
  stored: ["clip", "submit", "amend", "discard"], storedWaiting: ["clip", "submit", "amend", "discard"],
  sealed: ["amend", "discard"], local: ["clip", "amend", "discard"], offline: ["amend", "discard"],
};
const RED = ["start", "next", "anyway", "goOn", "again"];
// What a button does, where it is more than asking for what it is called.
const DO = {
  next: () => order("start", { about: {} }), anyway: () => order("start", { about: about() }), goOn: () => order("start", { about: about() }),
  again: () => order("start", { about: status.lesson.about }), keep: () => order("dismiss"), stopNow: () => order("stop"),
  start: () => order("start", { about: about() }), startLive: () => order("start", { about: about(), live: true }),
  liveOn: () => order("live", { live: true }), liveOff: () => order("live", { live: false }), check: () => ask("/api/preflight", {}),
  cancel: putAside, seen: () => status.lesson ? order("dismiss") : putAside(),
  clip: () => { $("clip-box").open = true; $("clip-box").scrollIntoView({ behavior: "smooth" }); },
  amend: () => openPanel("amend"), submit: () => openPanel("submit"), discard: () => openPanel("discard"),
};

function putAside() {
  if (status.preflight) seen.add(status.preflight.at_boot_ms);
  if (status.disk_free_minutes < SHORT_OF_SPACE) seen.add("space");
  draw();
}

function draw() {
  const w = WORDS[language], now = situation(), lesson = status && status.lesson;
  document.documentElement.lang = language;
  const looks = { storedWaiting: "sealed", bell: lesson && lesson.state, noCamera: "warned", noScreen: "warned", noSound: "warned", littleSpace: "warned", speech: "warned" };
  document.body.dataset.state = looks[now] || now;
  document.body.toggleAttribute("data-live", ["recording", "paused", "interrupted", "bell"].includes(now));
  $("language").textContent = w.other;
  $("room").textContent = status ? status.room : "";
  const values = lesson ? {
    time: time(elapsed()), length: length(lesson.media_ms), after: length(lesson.stored_after_ms || 0),
    n: status.upload.waiting_lessons, what: lesson.submitted,
    left: lesson.bell ? length(Math.max(1000, lesson.bell.ends_in_ms - (performance.now() - heardAt))) : "",
  } : { minutes: status && status.disk_free_minutes };
  let [big, small] = w.state[now];
  if (now === "stored" && lesson.stored_after_ms == null) small = small.split(/[，,]/)[0];
  const short = lesson && lesson.cut_short && ENDED.includes(now);
  document.body.dataset.row = short ? "cut" : now;
  if (short) {
    small = `${say(w.cut.small, { length: values.length, cause: w.cut[lesson.cut_short] })} · ${say(big, values)}`;
    big = w.cut.big;
  }
  const named = (one) => [one.period, one.subject, one.class].filter(Boolean).join(" · ");
  let title = lesson ? named(lesson.about) : "";
  if (now === "idle" && status.slot) {
    // The period that is on, by the timetable: the press needs no typing.
    [big, small, title] = [named(status.slot.about), small, [status.slot.about.teacher, status.slot.times].filter(Boolean).join(" ")];
  } else if (!lesson) title = now === "idle" && status && status.suggestion ? say(w.planned, status.suggestion) : "";
  $("big-text").textContent = say(big, values);
  $("small").textContent = refusal && performance.now() - refusedAt < 8000 ? refusal : [title, say(small, values)].filter(Boolean).join(" · ");
  document.title = `${say(big, values)} · Lectern 讲台`;
  if (now === "stored" && lesson.submitted) $("small").textContent += ` · ${say(w.submitted, values)}`;
  if (now === "recording" && lesson.marks > 0 && !refusal) $("small").textContent += ` · ${say(w.marked, { n: lesson.marks })}`;
  // Whoever is in the room can see that something is kept, even before the press.
  $("ring").textContent = status && status.ring_s ? say(w.ring, { n: status.ring_s }) : "";
  // Its own sign: whoever is in the room can see that the lesson is seen elsewhere.
  const live = status ? status.live.state : "off";
  $("live").textContent = w.live[live] || "";
  $("live").dataset.live = live;
  $("key").textContent = keyHint(w, now);
  desk(w);
  warnings(w);
  actions(w, now, short);
  fill(now);
  layouts(w, now);
  upload(w, now);
  profiles(w, now);
  destinations(w);
  meter(w);
  $("about-name").textContent = w.about;
  $("about-box").hidden = !["idle", "speech", "recording", "paused", "bell", ...ENDED].includes(now);
  for (const label of $("about").children) label.firstChild.textContent = w.fields[label.dataset.field];
  $("repair-name").textContent = w.repair.ask;
  $("do-repair").textContent = w.repair.act;
  const kept = status && status.keeping, room = status && status.disk_free_minutes != null;
  // What waits takes space that nothing may free: it is named beside the space that is left.
  $("disk").textContent = [
    room ? say(w.disk, { length: length(status.disk_free_minutes * 60000) }) : "",
    kept && status.upload.configured && kept.waiting > 0 ? say(w.keeping, { n: kept.waiting, size: gigabytes(kept.waiting_bytes) }) : "",
  ].filter(Boolean).join(" · ");
  const safe = status && status.safe_to_switch_off;
  $("lamp").textContent = status ? (safe ? w.safe : w.wait) : "";
  $("lamp").className = safe ? "safe" : "wait";
  const time24 = new Date();
  $("clock").textContent = `${String(time24.getHours()).padStart(2, "0")}:${String(time24.getMinutes()).padStart(2, "0")}`;
}

// What a physical key does now, where there is one; why its last press did nothing, for a while.
function keyHint(w, now) {
  const key = status && status.key, since = performance.now() - heardAt;
  if (!key) return "";
  if (!key.there) return w.key.away;
  if (key.refusal && key.refusal.age_ms + since < 8000) {
    return w.refuse[key.refusal.code] || say(w.refuse.other, { message: key.refusal.message });
  }
  const lesson = status.lesson, row = now === "bell" ? lesson.state : lesson ? now : "idle";
  return say(w.key[row] || "", { s: key.hold_ms / 1000 });
}

// A technician's note, or the machine about to go off: above everything, and always with an answer.
function desk(w) {
  const power = status && status.power, note = status && status.note;
  $("desk").hidden = !power && !note;
  if (power) {
    const left = Math.max(0, power.in_ms - (performance.now() - heardAt));
    $("desk-text").textContent = say(power.off ? w.desk.off : w.desk.reboot, { left: length(left) });
    $("desk-act").textContent = w.desk.putOff;
    $("desk-act").onclick = () => ask("/api/command", { action: "put_off" });
  } else if (note) {
    $("desk-text").textContent = say(w.desk.note, note);
    $("desk-act").textContent = w.act.seen;
    $("desk-act").onclick = () => ask("/api/command", { action: "seen" });
  }
}

function warnings(w) {
  const list = status ? status.warnings.map((one) => say(w.warn[one.kind], { ...one, why: w.gap[one.code] || "" })) : [];
  if (status && status.home) list.push(status.home.code === "read_only" ? w.read_only : say(w.restored, { why: status.home.detail }));
  if (status && !status.clock_plausible) list.push(w.warn.clock);
  if (status && !status.lesson && status.upload.configured && status.upload.reachable === false) list.push(w.warn.no_hub);
  const encoder = status && !status.lesson && status.preflight && status.preflight.encoder;
  if (encoder && encoder.state === "failed") list.push(say(w.warn.no_encoder, { why: encoder.problem }));
  if (status && !status.lesson && status.preflight && status.preflight.problem) list.push(say(w.warn.unchecked, { why: status.preflight.problem }));
  if (status && status.upload.blocked) list.push(say(w.blocked, { why: status.upload.blocked }));
  const box = $("warnings");
  if (box.dataset.shown === list.join("\n")) return;
  box.dataset.shown = list.join("\n");
  box.replaceChildren(...list.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

function actions(w, now, short) {
  const live = status && status.live, wanted = short ? ["keep", "again"] : [...ACTIONS[now] || []], more = (MORE[now] || []).filter((one) => one !== "clip" || status.lesson.state !== "reclaimed");
  if (live && live.can && ["idle", "speech"].includes(now)) wanted.push("startLive");
  if (live && live.can && ["recording", "paused", "bell"].includes(now)) more.push(live.state === "off" ? "liveOn" : "liveOff");
  const key = [wanted, more, language].join();
  if (drawn === key) return;
  drawn = key;
  const make = (name, n) => {
    const button = document.createElement("button");
    button.type = "button";
    button.id = `do-${name}`;
    button.textContent = w.act[name];
    button.className = RED.includes(name) ? "record" : n === 0 ? "primary" : "";
    button.onclick = DO[name] || (() => order(name));
    return button;
  };
  $("actions").replaceChildren(...wanted.map(make));
  $("more").replaceChildren(...more.map((name) => make(name)));
  const first = $("actions").firstChild;
  if (first && (document.activeElement === document.body || !document.activeElement)) first.focus({ preventScroll: true });
}

// The form shows the lesson it belongs to; before one, what the timetable would fill in.
function fill(now) {
  const lesson = status && status.lesson, key = lesson ? lesson.id : "";
  const slot = !lesson && status && status.slot ? { ...status.slot.about } : {};
  // A calendar's title is only proposed; what is typed counts.
  if (!lesson && status && status.suggestion && !slot.topic) slot.topic = status.suggestion.topic;
  for (const label of $("about").children) {
    const input = label.lastChild, field = label.dataset.field;
    input.placeholder = slot[field] || "";
    if (filled !== key && document.activeElement !== input) input.value = lesson ? lesson.about[field] || "" : "";
  }
  filled = key;
}

// Only where there is a choice, and only while something is recorded.
function layouts(w, now) {
  const choice = status && ["recording", "paused", "bell"].includes(now) && status.layouts.length > 1 ? status.layouts : [];
  const shown = choice.join() + language + (status && status.lesson ? status.lesson.layout : "");
  const box = $("layouts");
  if (box.dataset.shown === shown) return;
  box.dataset.shown = shown;
  box.replaceChildren(...choice.map((name) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = w.layouts[name];
    button.setAttribute("aria-pressed", name === status.lesson.layout);
    button.onclick = () => order("layout", { layout: name });
    return button;
  }));
}

// What the finished lesson is fit for, and why not.
function profiles(w, now) {
  const list = ENDED.includes(now) ? status.lesson.profiles : [];
  const box = $("profiles"), shown = JSON.stringify(list) + language;
  if (box.dataset.shown === shown) return;
  box.dataset.shown = shown;
  box.replaceChildren(...list.map((one) => {
    const row = document.createElement("li"), name = document.createElement("b");
    const why = one.reasons.map((reason) => say(w.reason[reason.kind], reason)).join("，");
    row.className = one.fits ? "fits" : "not";
    name.textContent = one.name;
    row.append(name, ` ${one.fits ? w.fits : say(w.not, { why })}`);
    return row;
  }));
}

// Where lessons go beside the hub, each with what it lacks.
function destinations(w) {
  const list = status ? status.destinations : [], box = $("destinations"), shown = JSON.stringify(list) + language;
  if (box.dataset.shown === shown) return;
  box.dataset.shown = shown;
  box.replaceChildren(...list.map((one) => {
    const words = one.problem && one.waiting > 0 ? w.destination.problem : one.waiting > 0 ? w.destination.waits : w.destination.has;
    // Why is for the technician: it stands behind the words.
    return Object.assign(document.createElement("li"), { textContent: say(words, { name: one.name, n: one.waiting }), title: one.problem || "" });
  }));
}

function upload(w, now) {
  const u = status && status.upload, busy = u && u.configured && ["sealed", "storedWaiting"].includes(now);
  document.body.toggleAttribute("data-upload", !!busy);
  if (!busy) return;
  const all = u.sent_bytes + u.pending_bytes;
  const left = u.rate > 0 && u.pending_bytes > 0 ? say(w.uploadLeft, { left: length(Math.max(1000, u.pending_bytes / u.rate * 1000)) }) : "";
  const hold = u.hold ? w.hold[u.hold] : left;
  $("upload-text").textContent = say(w.upload, { sent: mib(u.sent_bytes), all: mib(all) }) + hold;
  $("upload").value = all ? u.sent_bytes / all : 0;
}

// Green below −18 dBFS, yellow to −9, red above; the scale runs from −60 to 0.
function meter(w) {
  $("meter-name").textContent = w.meter;
  const level = status && status.level, place = (db) => Math.max(0, Math.min(100, (db + 60) / 60 * 100));
  const now = level ? place(level.rms_dbfs) : 0;
  $("meter-bar").style.right = `${100 - now}%`;
  $("meter-bar").style.setProperty("--full", now > 0 ? `${10000 / now}%` : "100%");
  $("meter-peak").style.left = `${level ? place(level.peak_dbfs) : 0}%`;
  $("meter").setAttribute("aria-valuenow", level ? Math.round(level.rms_dbfs) : -60);
  $("meter-value").textContent = level && level.rms_dbfs > -100 ? `${level.rms_dbfs.toFixed(0)} dB` : "";
}

function about() {
  const out = {};
  for (const label of $("about").children) {
    const text = label.lastChild.value.trim();
    if (text) out[label.dataset.field] = text;
  }
  return out;
}

const order = (action, more = {}) => ask("/api/record", { action, ...more });

// Asks for something; true when it is being done. A refusal stands in the small line for a while.
async function ask(path, what) {
  const w = WORDS[language], buttons = document.querySelectorAll("#actions button, #more button");
  for (const button of buttons) button.disabled = true;
  let done = false;
  try {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json", "X-Lectern": "page" }, body: JSON.stringify(what) });
    done = answer.ok;
    refusal = "";
    if (!done) {
      const problem = await answer.json();
      refusal = w.refuse[problem.code] || say(w.refuse.other, { message: problem.message });
    }
  } catch {
    refusal = w.state.gone[0];
  }
  refusedAt = performance.now();
  for (const button of buttons) button.disabled = false;
  draw();
  return done;
}

function listen() {
  const live = new EventSource("/api/live");
  live.onmessage = (event) => { status = JSON.parse(event.data); heardAt = performance.now(); draw(); };
  live.onopen = () => { heardAt = performance.now(); };
  live.onerror = () => { if (live.readyState === EventSource.CLOSED) { live.close(); setTimeout(listen, 1000); } };
}

// The preview is asked for only while somebody can see it.
async function look() {
  if (document.body.hasAttribute("data-live") && document.visibilityState === "visible") {
    try {
      const answer = await fetch("/api/preview.jpg");
      const there = answer.status === 200;
      if (there) {
        const old = $("preview").src;
        $("preview").src = URL.createObjectURL(await answer.blob());
        if (old) URL.revokeObjectURL(old);
      }
      $("preview").classList.toggle("there", there);
    } catch { $("preview").classList.remove("there"); }
  } else $("preview").classList.remove("there");
  $("preview").alt = WORDS[language].preview;
  $("preview-none").textContent = WORDS[language].noPreview;
  setTimeout(look, 1000);
}

// A word about the lesson: into the recording while it lasts, beside it afterwards.
function said() {
  const lesson = status && status.lesson;
  if (!lesson) return;
  const now = situation(), words = { ...lesson.about, ...Object.fromEntries([...$("about").children].map((label) => [label.dataset.field, label.lastChild.value.trim()])) };
  if (["recording", "paused"].includes(lesson.state)) order("describe", { about: words });
  else if (ENDED.includes(now)) ask(`/api/lessons/${lesson.id}`, { action: "amend", about: words });
}
for (const field of ["subject", "class", "topic", "period", "teacher"]) {
  const label = document.createElement("label"), input = document.createElement("input");
  label.dataset.field = field;
  input.maxLength = 80;
  input.name = field;
  input.onchange = said;
  label.append(document.createTextNode(""), input);
  $("about").append(label);
}
$("about").onsubmit = (event) => event.preventDefault();
$("language").onclick = () => {
  language = language === "en" ? "zh-CN" : "en";
  localStorage.setItem("language", language);
  drawn = "";
  draw();
};
// Server-sent events keep the connection warm every 15 s; a dead one shows within 20.
setInterval(async () => {
  if (performance.now() - heardAt > 10000) {
    try { status = await (await fetch("/api/status")).json(); heardAt = performance.now(); } catch { /* shown as gone */ }
  }
}, 5000);
setInterval(draw, 250);
listen();
look();
draw();
