"use strict";

// left returns the same text as String of the Go package timeleft.
function left(ms) {
  const s = Math.floor(ms / 1000), min = Math.floor(s / 60), h = Math.floor(min / 60), d = Math.floor(h / 24);
  if (ms <= 0) return "expired";
  if (min < 1) return s + " s left";
  if (h < 1) return min + " min " + (s % 60) + " s left";
  if (d < 1) return h + " h " + (min % 60) + " min left";
  return d + " d " + (h % 24) + " h left";
}

function tick() {
  for (const time of document.querySelectorAll("time[data-expires]")) {
    const ms = Number(time.dataset.expires) - Date.now();
    time.textContent = left(ms);
    time.className = ms <= 0 ? "gone" : ms < 60000 ? "soon" : "";
  }
}
tick();
setInterval(tick, 1000);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});

// The key / moves to the search field, j and k move down and up the list, Escape moves to the first line of the list.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const search = document.querySelector("input[type=search]");
  const keys = Array.from(document.querySelectorAll(".keys a"));
  const current = keys.indexOf(document.activeElement);
  if (event.key === "Escape") {
    (keys[0] || document.body).focus();
  } else if (event.target.tagName === "INPUT") {
    return;
  } else if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key === "j" && keys.length) {
    keys[Math.min(current + 1, keys.length - 1)].focus();
  } else if (event.key === "k" && keys.length) {
    keys[Math.max(current - 1, 0)].focus();
  }
});
