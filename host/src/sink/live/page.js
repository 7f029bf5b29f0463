
"use strict";
(() => {
  const MOST = 500;
  const LONGEST = 20000;
  const at = (id) => document.getElementById(id);
  const list = at("messages"), empty = at("empty"), state = at("state"), filter = at("filter"), pause = at("pause");
  let count = 0, recent = 0, paused = false, held = [], incoming = [], drawing = false;

  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const readable = (message) => {
    if (message.base64 !== undefined) return "(no text; base64) " + message.base64;
    const text = message.body;
    return text.length > LONGEST ? text.slice(0, LONGEST) + "\n… " + (text.length - LONGEST) + " more characters" : text;
  };

  const matches = (item) => !filter.value || item.dataset.text.includes(filter.value.toLowerCase());

  const card = (message) => {
    const item = element("li", "new");
    const head = element("div", "head");
    head.append(element("span", "", "#" + message.sequence), element("time", "", message.time));
    if (message.id !== null) head.append(element("span", "id", message.id));
    const text = readable(message);
    item.dataset.text = (text + " " + (message.id ?? "")).toLowerCase();
    item.append(head, element("pre", "", text));
    item.hidden = !matches(item);
    return item;
  };

  const draw = () => {
    drawing = false;
    const items = incoming.splice(0).slice(-MOST);
    items.forEach((item) => list.prepend(item.missed ? element("li", "gap", item.missed + " messages went by too fast to be shown") : card(item)));
    while (list.children.length > MOST) list.lastElementChild.remove();
    empty.hidden = list.children.length > 0;
    at("count").textContent = count.toLocaleString("en");
  };

  const show = (item) => {
    const queue = paused ? held : incoming;
    queue.push(item);
    if (queue.length > 2 * MOST) queue.splice(0, MOST);
    if (!paused && !drawing) {
      drawing = true;
      requestAnimationFrame(draw);
    }
  };

  const say = (name, text) => {
    state.dataset.state = name;
    state.textContent = text;
  };

  const events = new EventSource("/events");
  events.onopen = () => say("open", "live");
  events.onerror = () => say("lost", "disconnected, trying again");
  events.onmessage = (event) => {
    count += 1;
    recent += 1;
    show(JSON.parse(event.data));
  };
  events.addEventListener("lagged", (event) => show(JSON.parse(event.data)));

  setInterval(() => {
    at("rate").textContent = recent.toLocaleString("en");
    recent = 0;
  }, 1000);

  pause.onclick = () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    if (!paused) held.splice(0).forEach(show);
  };
  at("clear").onclick = () => {
    list.replaceChildren();
    empty.hidden = false;
  };
  filter.oninput = () => {
    for (const item of list.children) item.hidden = item.dataset.text !== undefined && !matches(item);
  };
})();
