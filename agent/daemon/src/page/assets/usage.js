// 使用记录: the periods of the last days as this room saw them, and a teacher's word about each.
"use strict";
const USAGE = {
  "zh-CN": {
    open: "使用记录", none: "还没有记录。每节下课后自动记一条。", today: "今天", days: ["一", "二", "三", "四", "五", "六", "日"], day: "{date} 星期{day}",
    used: { used: "使用", not: "未使用", unknown: "不明" }, minutes: "{n} 分钟", only: "（{minutes}）", unseen: "有 {n} 分钟没有看到", off: "没有开机", recorded: "录课 {n} 分钟",
    said: { confirmed: "{by} 已确认", corrected: "{by} 更正为：{used} {minutes}" }, confirm: "确认", correct: "更正", closed: "已过 7 天，不能再改；需要修改请找电教员。",
    unseenNote: "看不到有没有人在操作，这样的节次记为不明。请重新登录一次桌面，仍然这样请联系电教员。",
  },
  "en": {
    open: "Use of this room", none: "Nothing yet. A line is written after each period.", today: "Today", days: ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], day: "{day} {date}",
    used: { used: "Used", not: "Not used", unknown: "Unknown" }, minutes: "{n} min", only: " ({minutes})", unseen: "{n} min not seen", off: "switched off", recorded: "{n} min recorded",
    said: { confirmed: "Confirmed by {by}", corrected: "{by} says: {used} {minutes}" }, confirm: "Confirm", correct: "Correct", closed: "Closed after 7 days; please ask the technician.",
    unseenNote: "It cannot be seen whether somebody is at work here; such periods are unknown. Please log in to the desktop again, or ask the technician.",
  },
};
Object.assign(WORDS["zh-CN"], {
  usageConfirm: { title: "确认使用记录", text: "自动记录会保留，旁边写上您的确认。", go: "确认" },
  usageCorrect: { title: "更正使用记录", text: "自动记录会保留，旁边写上您的更正。", go: "保存" },
  usageFields: { used: "这节用了设备吗", yes: "使用", no: "未使用", minutes: "使用时长（分钟）", condition: "设备情况（可以不填）", fault: "故障说明（可以不填）", by: "确认人", by_id: "工号（可以不填）" },
});
Object.assign(WORDS["en"], {
  usageConfirm: { title: "Confirm this line", text: "What was noted stays; your word stands beside it.", go: "Confirm" },
  usageCorrect: { title: "Correct this line", text: "What was noted stays; your word stands beside it.", go: "Save" },
  usageFields: { used: "Was the equipment used", yes: "Used", no: "Not used", minutes: "Minutes", condition: "Equipment (may be empty)", fault: "What was wrong (may be empty)", by: "Your name", by_id: "Staff number (may be empty)" },
});
Object.assign(WORDS["zh-CN"].refuse, { usage_closed: USAGE["zh-CN"].closed, no_such_row: "没有这一节的记录" });
Object.assign(WORDS["en"].refuse, { usage_closed: USAGE["en"].closed, no_such_row: "There is no such line" });

let usageRow = null, usageDrawn = "";
const whole = (seconds) => Math.round(seconds / 60);

function usageFields(w, correct) {
  const f = w.usageFields, row = usageRow, said = row.said || row, list = [];
  if (correct) {
    const used = choice("used", [["yes", f.yes], ["no", f.no]]);
    used.value = said.used === "not" ? "no" : "yes";
    const minutes = Object.assign(document.createElement("input"), { name: "minutes", type: "number", min: 0, max: Math.floor((row.planned_end_ms - row.planned_start_ms) / 60000), value: whole(said.used_s) });
    const holder = field(f.minutes, minutes);
    used.onchange = () => { holder.hidden = used.value === "no"; };
    used.onchange();
    list.push(field(f.used, used), holder, text("condition", f.condition, said.condition_note || "", 200));
  }
  list.push(text("fault", f.fault, said.fault_note || "", 200), text("by", f.by, row.teacher || "", 80), text("by_id", f.by_id, row.teacher_id || "", 80));
  list.find((one) => one.querySelector("[name=by]")).querySelector("input").required = true;
  return list;
}

async function usageSend(values) {
  const body = { date: usageRow.date, period: usageRow.period, condition: values.condition || "", fault: values.fault, by: values.by, by_id: values.by_id };
  if (values.used) Object.assign(body, { used: values.used === "yes", minutes: values.used === "yes" ? Math.max(0, Math.floor(Number(values.minutes) || 0)) : 0 });
  const done = await ask("/api/usage", body);
  usageLook();
  return done;
}
PANELS.usageConfirm = { fields: (w) => usageFields(w, false), send: usageSend };
PANELS.usageCorrect = { fields: (w) => usageFields(w, true), send: usageSend };

function usageLine(row) {
  const w = USAGE[language], line = document.createElement("li"), said = row.said, minutes = (of) => of.used_s >= 30 ? say(w.minutes, { n: whole(of.used_s) }) : "";
  const put = (name, words, to = line) => to.append(Object.assign(document.createElement("span"), { className: name, textContent: words }));
  line.dataset.used = row.used;
  put("period", row.period);
  put("times", row.times);
  const seen = minutes(row);
  put("verdict", row.used === "used" ? `${w.used.used} ${seen}` : w.used[row.used] + (seen ? say(w.only, { minutes: seen }) : ""));
  const length = (row.planned_end_ms - row.planned_start_ms) / 1000, unseen = length - row.known_s;
  const off = row.powered_s === 0 && row.known_s > 0 && unseen < 120;
  put("what", [[row.class, row.subject, row.teacher].filter(Boolean).join(" "), off ? w.off : "", unseen >= 60 && row.used !== "used" ? say(w.unseen, { n: whole(unseen) }) : "", row.recorded_s >= 30 ? say(w.recorded, { n: whole(row.recorded_s) }) : ""].filter(Boolean).join(" · "));
  if (said) put("said", say(w.said[said.source] || "", { by: said.by || said.by_id, used: w.used[said.used], minutes: minutes(said) }));
  const acts = Object.assign(document.createElement("span"), { className: "acts" });
  const button = (words, panel) => {
    const one = Object.assign(document.createElement("button"), { type: "button", textContent: words });
    one.onclick = () => { usageRow = row; openPanel(panel); };
    acts.append(one);
  };
  if (row.open) {
    if (row.used !== "unknown" && !said) button(w.confirm, "usageConfirm");
    button(w.correct, "usageCorrect");
  } else put("closed", w.closed, acts);
  line.append(acts);
  return line;
}

// Asked for only while it is open.
async function usageLook() {
  const w = USAGE[language];
  $("usage-name").textContent = w.open;
  if (!$("usage-box").open) return;
  let all = null;
  try { all = await (await fetch("/api/usage")).json(); } catch { return; /* the page says that nobody answers */ }
  const now = JSON.stringify(all) + language;
  if (now === usageDrawn || !all.rows) return;
  usageDrawn = now;
  const days = new Map();
  for (const row of all.rows) days.set(row.date, [...(days.get(row.date) || []), row]);
  const box = [...days].reverse().map(([date, rows]) => {
    const day = document.createElement("section"), list = document.createElement("ul");
    const words = say(w.day, { date: date.slice(5), day: w.days[rows[0].weekday - 1] });
    day.append(Object.assign(document.createElement("h3"), { textContent: date === all.today ? `${w.today} · ${words}` : words }), list);
    list.append(...rows.map(usageLine));
    return day;
  });
  if (all.why) box.unshift(Object.assign(document.createElement("p"), { className: "note", textContent: w.unseenNote }));
  if (days.size === 0) box.push(Object.assign(document.createElement("p"), { textContent: w.none }));
  $("usage").replaceChildren(...box);
}
$("usage-box").ontoggle = usageLook;
setInterval(usageLook, 5000);
usageLook();
