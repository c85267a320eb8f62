// Plays a lesson: hls.js where the browser has media source extensions, else the browser itself.
"use strict";
const video = document.getElementById("player");
const fault = document.getElementById("player-fault");
const start = document.getElementById("player-start");
const playlist = video.dataset.playlist;

let begun = false;

// Opening the page is not watching: the lesson is asked for at the first press.
function begin() {
  if (begun) return;
  begun = true;
  start.hidden = true;
  if (window.Hls && Hls.isSupported()) {
    const hls = new Hls({ maxBufferLength: 60 });
    hls.on(Hls.Events.ERROR, (_, data) => { if (data.fatal) fault.hidden = false; });
    hls.loadSource(playlist);
    hls.attachMedia(video);
  } else if (video.canPlayType("application/vnd.apple.mpegurl")) {
    video.src = playlist;
  } else {
    fault.hidden = false;
  }
}

// A new source pauses the player, so it is told to play once more.
function play() {
  begin();
  video.play().catch(() => {});
}

// Without a source the browser's own controls are dead, so the first press is taken here.
start.addEventListener("click", play);
video.addEventListener("pointerdown", () => { if (!begun) play(); });
video.addEventListener("keydown", (key) => { if (!begun && [" ", "Enter"].includes(key.key)) play(); });
video.addEventListener("play", () => { if (!begun) play(); });

for (const button of document.querySelectorAll("[data-seek]")) {
  button.addEventListener("click", () => {
    begin();
    video.currentTime = Number(button.dataset.seek);
    play();
  });
}
for (const button of document.querySelectorAll("[data-rate]")) {
  button.addEventListener("click", () => { video.playbackRate = video.defaultPlaybackRate = Number(button.dataset.rate); });
}
