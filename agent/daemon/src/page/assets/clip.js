// 制作片段: a panel in the page of a finished lesson. It asks, shows how far the file is, and where it is.
"use strict";
const CLIP = {
  "zh-CN": {
    open: "制作片段", from: "从", to: "到", profile: "规格", title: "加片头", make: "开始制作", cancel: "取消", remove: "删除", get: "下载", hint: "例如 12:00",
    state: { waiting: "排队中", making: "正在制作 {n}%", paused: "正在录课，先停一下，下课后继续", done: "做好了，{size}", failed: "没有做成：{why}", cancelled: "已取消" },
    where: "文件在本机：{path}", bad: "时间请写成 12:00 这样", report: "已逐段检查：画面 {picture}，声音 {sound}", dropped: "，少了 {n} 帧", loudness: "，响度 {n} LUFS", edition: "教材版本", volume: "册次", part: "第几课时",
  },
  "en": {
    open: "Make a clip", from: "From", to: "To", profile: "Profile", title: "With a title", make: "Make it", cancel: "Cancel", remove: "Remove", get: "Download", hint: "such as 12:00",
    state: { waiting: "waiting", making: "being made, {n}%", paused: "stands still during the lesson", done: "ready, {size}", failed: "failed: {why}", cancelled: "cancelled" },
    where: "On this machine: {path}", bad: "Write times as 12:00", report: "Checked: picture {picture}, sound {sound}", dropped: ", {n} pictures missing", loudness: ", loudness {n} LUFS", edition: "Edition", volume: "Volume", part: "Part",
  },
};
let clipDrawn = "", clipProfiles = "";

function clipTime(text) {
  const parts = text.trim().split(":");
  if (parts.length > 3 || !parts.every((part) => /^\d{1,5}$/.test(part))) return null;
  return parts.reduce((sum, part) => sum * 60 + Number(part), 0) * 1000;
}

async function clipAsk(body) {
  const w = CLIP[language];
  try {
    const answer = await fetch("/api/clips", { method: "POST", headers: { "Content-Type": "application/json", "X-Lectern": "page" }, body: JSON.stringify(body) });
    $("clip-problem").textContent = answer.ok ? "" : say(w.state.failed, { why: (await answer.json()).message });
  } catch { $("clip-problem").textContent = WORDS[language].state.gone[0]; }
  clipLook();
}

function clipWords() {
  const w = CLIP[language];
  $("clip-name").textContent = w.open;
  for (const label of $("clip").querySelectorAll("label")) label.firstChild.textContent = w[label.dataset.word];
  $("clip-make").textContent = w.make;
  for (const name of ["from", "to"]) $("clip").elements[name].placeholder = w.hint;
}

function clipTitle() {
  const chosen = $("clip").elements.profile.selectedOptions[0];
  const allowed = !!chosen && chosen.dataset.title === "true";
  for (const label of $("clip").querySelectorAll("[data-title]")) label.hidden = !allowed || (label.dataset.title === "words" && !$("clip").elements.title.checked);
}

function clipRows(clips) {
  const w = CLIP[language];
  return clips.map((clip) => {
    const row = document.createElement("li"), words = document.createElement("span");
    const n = clip.of_ms ? Math.floor(clip.done_ms / clip.of_ms * 100) : 0;
    words.textContent = `${clip.name} · ${say(w.state[clip.state], { n, why: clip.problem, size: mib(clip.bytes || 0) })}`;
    row.dataset.state = clip.state;
    row.append(words);
    if (["making", "paused"].includes(clip.state)) row.append(Object.assign(document.createElement("progress"), { max: 100, value: n }));
    const button = (text, body) => {
      const one = Object.assign(document.createElement("button"), { type: "button", textContent: text });
      one.onclick = () => clipAsk(body);
      row.append(one);
    };
    if (clip.state === "done") {
      row.append(Object.assign(document.createElement("a"), { href: `/api/clips/${clip.id}/file`, textContent: w.get, download: clip.name }));
      row.append(Object.assign(document.createElement("small"), { textContent: say(w.where, { path: clip.path }) }));
    }
    if (["waiting", "making", "paused"].includes(clip.state)) button(w.cancel, { action: "cancel", id: clip.id });
    else button(w.remove, { action: "remove", id: clip.id });
    return row;
  });
}

// What was decoded of the finished lesson, in one line.
function clipReport(lesson) {
  const w = CLIP[language], takes = lesson.reports || [];
  if (takes.length === 0) return "";
  const sum = (key) => takes.reduce((all, take) => all + take[key], 0), dropped = sum("dropped_pictures");
  const loudest = Math.max(...takes.map((take) => take.loudness_clufs));
  return say(w.report, { picture: time(sum("picture_ms")), sound: time(sum("sound_ms")) })
    + (dropped ? say(w.dropped, { n: dropped }) : "") + (loudest > -7000 ? say(w.loudness, { n: (loudest / 100).toFixed(1) }) : "");
}

// Asked for only while the panel can be used.
async function clipLook() {
  const lesson = status && status.lesson, usable = !!lesson && ENDED.includes(situation());
  $("clip-box").hidden = !usable;
  $("report").textContent = usable ? clipReport(lesson) : "";
  if (!usable) return;
  clipWords();
  if (!$("clip-box").open) return;
  try {
    const all = await (await fetch("/api/clips")).json();
    const profiles = JSON.stringify(all.profiles);
    if (profiles !== clipProfiles) {
      clipProfiles = profiles;
      const select = $("clip").elements.profile;
      select.replaceChildren(...all.profiles.map((one) => {
        const option = new Option(one.name, one.id);
        option.dataset.title = one.title;
        return option;
      }));
      if (all.profiles.some((one) => one.id === "clip")) select.value = "clip";
    }
    clipTitle();
    const drawn = JSON.stringify(all.clips) + language;
    if (drawn === clipDrawn) return;
    clipDrawn = drawn;
    $("clips").replaceChildren(...clipRows(all.clips));
  } catch { /* the page says that nobody answers */ }
}

$("clip").onchange = clipTitle;
$("clip-box").ontoggle = clipLook;
$("clip").onsubmit = (event) => {
  event.preventDefault();
  const form = $("clip").elements, value = (name) => form[name].value.trim();
  const from = clipTime(value("from") || "0"), to = value("to") ? clipTime(value("to")) : undefined;
  if (from === null || to === null) return void ($("clip-problem").textContent = CLIP[language].bad);
  const title = form.title.checked && !form.title.parentElement.hidden;
  clipAsk({ action: "make", lesson: status.lesson.id, wish: { from_ms: from, to_ms: to, profile: value("profile"), title, edition: value("edition"), volume: value("volume"), part: value("part") } });
};
setInterval(clipLook, 1000);
