// The first page: sends what is on the card, says what came of it, and opens the teacher's page when it is there.
"use strict";

const WORDS = {
  zh: {
    language: "English", title: "这台电脑还没有登记", clone: "这块硬盘是从“{room}”克隆来的",
    small: "请填写登记卡上的两项", cloneSmall: "请用这间教室自己的登记卡登记",
    hub: "中心地址", code: "登记码", go: "登记", going: "正在登记……",
    help: "登记卡在中心的“设备登记”里打印，一间教室一张。有扫码枪时，点一下登记码再扫卡上的方块。",
    done: "登记好了，这里是{room}", doneSmall: "正在打开录课页面……",
    away: "这台电脑上的程序没有回应，请稍等再试。",
    problems: {
      code: "登记码不对，请看着卡再输入一次。", address: "中心地址不对，例如 10.0.0.5:8470，请看着卡再输入一次。",
      plain: "这个地址没有加密，请去掉开头的 http://。",
      unreachable: "找不到中心。请检查中心地址，再看看网线插好没有。",
      stranger: "回应的不是发这张卡的中心，什么也没有告诉它。请检查中心地址；地址没错的话，请告诉电教员。",
      code_unknown: "中心没有这张卡。请看着卡再输入一次，或者请电教员重做一张。",
      code_used: "这张卡已经用过了。请电教员重做一张；如果不是您用的，请告诉电教员。",
      code_expired: "这张卡过期了。请电教员重做一张。", too_many: "错得太多了，请 5 分钟后再试。",
      bad_proof: "登记码不对，请看着卡再输入一次。", garbled: "中心的回答看不懂，它的版本可能不一样。请告诉电教员。",
      already: "这台电脑已经登记过了。", keep: "登记的内容存不下来，请检查磁盘。",
    },
  },
  en: {
    language: "中文", title: "This computer is no room's yet", clone: "This disk was cloned from “{room}”",
    small: "Enter what is on the enrolment card", cloneSmall: "Enrol it with a card of this room's own",
    hub: "Hub address", code: "Code", go: "Enrol", going: "Enrolling …",
    help: "Cards are printed at the hub under 设备登记, one for each room. With a scanner, click into the code and scan the square.",
    done: "Done: this is {room}", doneSmall: "Opening the recording page …",
    away: "The program on this computer does not answer; wait a moment and try again.",
    problems: {},
  },
};

let words = WORDS.zh;
let cloned = null;
const at = (id) => document.getElementById(id);

function put() {
  document.documentElement.lang = words === WORDS.zh ? "zh-CN" : "en";
  at("language").textContent = words.language;
  at("big").textContent = cloned === null ? words.title : words.clone.replace("{room}", cloned);
  at("small").textContent = cloned === null ? words.small : words.cloneSmall;
  at("hub-label").textContent = words.hub;
  at("code-label").textContent = words.code;
  at("go").textContent = words.go;
  at("help").textContent = words.help;
}

async function opened() {
  // The daemon starts anew; its page is there when it can say how it stands.
  for (;;) {
    await new Promise((done) => setTimeout(done, 500));
    try {
      if ((await fetch("/api/status")).ok) { location.replace("/"); return; }
    } catch { /* not yet */ }
  }
}

at("language").addEventListener("click", () => { words = words === WORDS.zh ? WORDS.en : WORDS.zh; at("problem").textContent = ""; put(); });
at("card").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("go").disabled = true;
  at("go").textContent = words.going;
  at("problem").textContent = "";
  try {
    const answer = await fetch("/api/enrol", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Lectern": "page" },
      body: JSON.stringify({ hub: at("hub").value, code: at("code").value }),
    });
    const said = await answer.json();
    if (answer.ok) {
      document.body.dataset.state = "done";
      at("big").textContent = words.done.replace("{room}", said.room);
      at("small").textContent = words.doneSmall;
      opened();
      return;
    }
    at("problem").textContent = words.problems[said.code] ?? said.message;
  } catch {
    at("problem").textContent = words.away;
  }
  at("go").disabled = false;
  at("go").textContent = words.go;
});

put();
fetch("/api/enrol").then((answer) => answer.json()).then((said) => { cloned = said.cloned; put(); }).catch(() => { at("problem").textContent = words.away; });
at("hub").focus();
