// The status page: asks /api/status again and again, and puts what has changed into the page.
"use strict";

const POLL_MS = 1000;
const HIDDEN_POLL_MS = 15000;
const SLOWEST_POLL_MS = 5000;
const HISTORY_MS = 10000;
const ANSWER_MS = 6000;
const PICTURE_MS = 250;
const STAGES = {
  frame: "Whole frame", follow: "Follow known faces", plan: "Plan the search", detect_full: "Search the picture",
  detect_region: "Search around a face", track: "Track", crop: "Crop", classify: "Classify", events: "Tell events",
  age: "From light to result", age_at_event: "From light to event",
};
const STATES = {
  opening: ["Opening", ""], watching: ["Watching", "good"], dark: ["Dark", ""], stalled: ["Stalled", "bad"], lost: ["Lost", "bad"],
  ended: ["Ended", ""],
};
const DELIVERS = new Set(["watching", "dark"]);

// ---- cameras

const PICTURES = new Map();

function newCamera(source) {
  const card = make("article", "card camera");
  const title = make("h3", "", source.name);
  title.id = `camera-${encodeURIComponent(source.name)}`;
  card.setAttribute("aria-labelledby", title.id);
  const pill = make("p", "pill");
  const dot = make("span", "dot");
  dot.setAttribute("aria-hidden", "true");
  pill.append(dot, make("span", "text"));
  const outage = make("p", "outage bad", make("strong"), make("span"));
  const picture = make("img", "picture");
  picture.alt = `What ${source.name} sees, with boxes around faces`;
  const nothing = make("p", "picture nothing", "No picture");
  const facts = make("dl", "facts");
  const faces = make("ul", "faces");
  faces.setAttribute("aria-label", "Faces in sight");
  card.append(make("div", "head", title, pill), make("div", "inside", outage, picture, nothing, facts, faces));
  return card;
}

function fact(name, value, unit) {
  return { name, value, unit };
}

function putFacts(parent, facts) {
  list(parent, facts, (item) => item.name, (item) => {
    const value = make("dd", "", make("span"), make("span", "unit"));
    return make("div", "", make("dt", "", item.name), value);
  }, (element, item) => {
    const [value, unit] = element.querySelector("dd").children;
    say(value, item.value);
    dress(value, item.className || "");
    say(unit, item.unit ? ` ${item.unit}` : "");
  });
}

function outageText(source) {
  const since = clock(ago(source.since_s));
  const words = { lost: "No frames", stalled: "Frames stand still", opening: "Opening", ended: "Ended" };
  return `${words[source.state]} since ${since}, for ${duration(source.since_s)}`;
}

function outageWhy(source) {
  const tries = source.attempts && source.state === "lost" ? `Tried again ${count(source.attempts)} times.` : "";
  const reason = source.reason ? `${source.reason.replace(/[.\s]+$/, "")}.` : "";
  return [reason, tries].filter(Boolean).join(" ");
}

function updateCamera(card, source, status) {
  const [word, kind] = STATES[source.state] || [source.state, ""];
  const pill = card.querySelector(".pill");
  dress(pill, `pill ${kind}`);
  say(pill.querySelector(".text"), word);
  const out = !DELIVERS.has(source.state);
  const outage = card.querySelector(".outage");
  show(outage, out);
  dress(outage, `outage ${kind || "warn"}`);
  if (out) {
    say(outage.children[0], outageText(source));
    say(outage.children[1], outageWhy(source));
  }
  const age = source.last_frame_age_s;
  putFacts(card.querySelector(".facts"), [
    fact("Frames/s", out ? "–" : source.fps.toFixed(1)),
    fact("Picture", source.size ? `${source.size[0]} × ${source.size[1]}` : "–"),
    fact("Newest frame", age === null ? "–" : age < 10 ? `${age.toFixed(1)} s` : duration(age), age === null ? "" : "ago"),
  ]);
  show(card.querySelector(".faces"), !out);
  updateFaces(card.querySelector(".faces"), source, status);
  updatePicture(card.querySelector("img"), source, status.preview && !out);
  show(card.querySelector(".nothing"), status.preview && out);
}

function updateFaces(parent, source, status) {
  const faces = source.faces || [];
  const nobody = status.privacy === "aggregate" ? "Nothing is told of single faces."
    : source.state === "dark" ? "Too dark to see anybody." : source.state === "watching" ? "Nobody in sight." : "";
  const items = faces.length ? faces : nobody ? [{ track: "none", text: nobody }] : [];
  list(parent, items, (face) => face.track, (face) => {
    if (face.text) return make("li", "quiet none", face.text);
    const bar = make("span", "bar", make("i"));
    bar.setAttribute("aria-hidden", "true");
    return make("li", "", make("span", "id", `#${face.track}`), make("span", "name"), bar, make("span", "share"));
  }, (item, face) => {
    if (face.text) return say(item, face.text);
    say(item.children[1], capital(face.emotion));
    item.children[2].className = `bar ${colour(face.emotion)}`;
    item.children[2].firstChild.style.width = `${face.confidence * 100}%`;
    say(item.children[3], percent(face.confidence));
  });
}

function updatePicture(image, source, wanted) {
  show(image, wanted);
  if (source.size) [image.width, image.height] = source.size;
  if (!wanted || PICTURES.has(source.name)) return;
  // The next one is asked for when this one is there, so that a slow network gets as many as it can take.
  const next = () => setTimeout(() => {
    PICTURES.delete(source.name);
    if (!image.hidden && image.isConnected && !document.hidden) updatePicture(image, source, true);
  }, PICTURE_MS);
  PICTURES.set(source.name, image);
  image.onload = next;
  image.onerror = () => setTimeout(next, 2000);
  image.src = `/preview/${encodeURIComponent(source.name)}.jpg?${Date.now()}`;
}

// ---- the other cards

function overall(status) {
  const out = status.sources.filter((source) => source.state === "lost" || source.state === "stalled").length;
  const total = status.sources.length;
  const fails = status.sinks.filter((sink) => !sink.working).length;
  if (out && total === 1) return ["Camera out", "bad"];
  if (out) return [`${out} of ${total} cameras out`, out === total ? "bad" : "warn"];
  const begins = (source) => source.state === "opening" || (DELIVERS.has(source.state) && source.last_frame_age_s === null);
  if (!status.ready || status.sources.some(begins)) return ["Starting", ""];
  if (fails) return [fails === 1 ? "An output fails" : `${fails} outputs fail`, "warn"];
  return status.healthy ? ["All well", "good"] : ["No frames", "bad"];
}

function putOverall(text, kind) {
  const pill = byId("overall");
  dress(pill, `pill ${kind}`);
  say(pill.querySelector(".text"), text);
  const title = `${kind === "good" ? "" : `${text} – `}FER-Edge${host ? ` · ${host}` : ""}`;
  if (document.title !== title) document.title = title;
}

function updateDevice(status) {
  const { chip, model } = status;
  const facts = [];
  if (chip.temperature_c !== null) facts.push(fact("Temperature", chip.temperature_c.toFixed(1), "°C"));
  const slowed = chip.throttled.length > 0;
  const before = chip.throttled_before.map(capital).join(", ");
  facts.push({ name: "Slowed down by", value: slowed ? chip.throttled.map(capital).join(", ") : "Nothing", className: slowed ? "hot" : "" });
  if (before) facts.push(fact("Slowed down before by", before));
  const share = chip.budget_share;
  facts.push({ name: "Budget for searches", value: percent(share), className: share < 1 ? "warm" : "" });
  if (status.memory_bytes !== null) facts.push(fact("Memory", (status.memory_bytes / 1048576).toFixed(0), "MiB"));
  facts.push(fact("Running for", duration(status.uptime_s)));
  if (model.name) facts.push(fact("Model", `${model.name} ${model.version}, ${model.variant}`));
  if (status.interpreter) facts.push(fact("Run by", `${status.interpreter.name} ${status.interpreter.version}`));
  facts.push(fact("FER-Edge", status.version));
  putFacts(byId("device"), facts);
}

function updateOutputs(status) {
  show(byId("no-outputs"), status.sinks.length === 0);
  list(byId("outputs"), status.sinks, (sink) => sink.name, () => {
    const dot = make("span", "dot");
    return make("li", "", dot, make("span", "name"), make("span", "more"), make("span", "problem"));
  }, (item, sink) => {
    const [dot, name, more, problem] = item.children;
    dress(dot, `dot ${sink.working ? "works" : "fails"}`);
    say(name, sink.name);
    const parts = [sink.working ? "Works" : "Fails", `${count(sink.sent)} sent`];
    if (sink.waiting) parts.push(`${count(sink.waiting)} waiting`);
    if (sink.dropped) parts.push(`${count(sink.dropped)} dropped`);
    say(more, parts.join(" · "));
    show(problem, Boolean(sink.problem));
    say(problem, sink.problem || "");
  });
}

function eventText(event) {
  const who = event.track === null ? "" : `Face #${event.track}`;
  const sure = event.confidence === null ? "" : `, ${percent(event.confidence)}`;
  switch (event.kind) {
    case "appeared": return [`${who} appeared: ${event.emotion}${sure}`, ""];
    case "changed": return [`${who} ${event.previous} → ${event.emotion}${sure}`, ""];
    case "left": return [`${who} left`, ""];
    case "heartbeat": return [`${who || "Heartbeat"}: still ${event.emotion}${sure}`, ""];
    case "source_lost": return [`Lost${event.reason ? `: ${event.reason}` : ""}`, "out"];
    case "counts": return [countsText(event.counts), ""];
    case "source_back": return ["Back", "back"];
    default: return [capital(event.kind), ""];
  }
}

function countsText({ interval_s: interval, appeared, most_at_once: most, emotion_s: seconds }) {
  const faces = appeared || most ? `${count(appeared)} faces appeared, ${count(most)} at once at most` : "nobody in sight";
  const shown = Object.entries(seconds).filter(([, s]) => s >= 0.5).map(([name, s]) => `${name} ${Math.round(s)}\u00a0s`);
  return `In ${duration(interval)}: ${[faces, ...shown].join(", ")}`;
}

function updateEvents(status) {
  show(byId("no-events"), status.events.length === 0);
  const several = status.sources.length > 1;
  const seen = new Map();
  const key = (event) => {
    const name = `${event.at}|${event.source}|${event.track}|${event.kind}`;
    const times = seen.get(name) || 0;
    seen.set(name, times + 1);
    return `${name}|${times}`;
  };
  list(byId("events"), status.events, key, (event) => {
    const [text, kind] = eventText(event);
    const at = new Date(event.at);
    const time = make("time", "", clock(at));
    time.dateTime = event.at;
    time.title = at.toLocaleString();
    const where = several || kind ? make("span", "where", ` · ${event.source}`) : "";
    return make("li", "", time, make("span", "", make("span", kind, text), where));
  }, () => {});
}

const milliseconds = (ms) => (ms === undefined || ms === null ? "–" : ms < 10 ? ms.toFixed(2) : ms.toFixed(0));

function updateStages(status) {
  const table = byId("stages");
  const several = status.sources.length > 1;
  let bodies = [...table.tBodies];
  while (bodies.length > status.sources.length) bodies.pop().remove();
  while (bodies.length < status.sources.length) bodies.push(table.createTBody());
  status.sources.forEach((source, number) => {
    // Rows of stages that did not run yet stand there from the start, so that nothing jumps when a face comes.
    const known = status.privacy === "aggregate" ? [] : Object.keys(STAGES);
    const names = new Set([...known, ...Object.keys(source.stages)]);
    const rows = Object.keys(source.stages).length ? [...names].map((name) => ({ name, values: source.stages[name] })) : [];
    if (several && rows.length) rows.unshift({ name: "", group: source.name });
    list(bodies[number], rows, (row) => row.name, (row) => {
      const head = make("th", row.group ? "group" : "", row.group || STAGES[row.name] || capital(row.name));
      head.scope = row.group ? "rowgroup" : "row";
      if (row.group) head.colSpan = 5;
      const cells = row.group ? [] : [make("td"), make("td"), make("td"), make("td")];
      return make("tr", row.name === "frame" ? "whole" : "", head, ...cells);
    }, (element, row) => {
      if (row.group) return say(element.cells[0], row.group);
      const { p50_ms: p50, p95_ms: p95, p99_ms: p99, calls } = row.values || { calls: 0 };
      [p50, p95, p99].forEach((ms, place) => say(element.cells[place + 1], milliseconds(ms)));
      say(element.cells[4], count(calls));
    });
  });
}

// ---- asking

let host = "";
let version = null;
let failures = 0;
let lastAnswer = Date.now();
let timer = 0;
let asking = false;
let lastHistory = -Infinity;

function update(status) {
  if (version !== null && version !== status.version) return location.reload();
  version = status.version;
  host = status.host;
  labels = status.model.labels;
  say(byId("host"), host);
  putOverall(...overall(status));
  show(byId("pictures"), status.preview);
  show(byId("no-cameras"), status.sources.length === 0);
  list(byId("cameras"), status.sources, (source) => source.name, newCamera, (card, source) => updateCamera(card, source, status));
  updateDevice(status);
  updateOutputs(status);
  updateEvents(status);
  updateStages(status);
  updateLegend();
  say(byId("privacy"), status.privacy === "aggregate" ? "Counts alone are told, nothing of single people." : "No picture is stored.");
  // Before that there is nothing to show, and what comes would push what stands there.
  if (status.ready || status.sources.length) document.body.classList.remove("waiting");
}

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function putConnection(connected) {
  document.body.classList.toggle("offline", !connected);
  show(byId("offline"), !connected);
  if (connected) return;
  putOverall("No connection", "bad");
  say(byId("offline"), `No connection since ${clock(new Date(lastAnswer))}. What is shown is from then; trying again.`);
}

async function poll() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  try {
    const status = await ask("/api/status");
    failures = 0;
    lastAnswer = Date.now();
    putConnection(true);
    update(status);
    if (Date.now() - lastHistory >= HISTORY_MS) {
      history = await ask("/api/history");
      lastHistory = Date.now();
      updateHistory();
    }
  } catch (error) {
    failures += 1;
    // One answer that is late says nothing yet.
    if (failures > 1) putConnection(false);
    if (!(error instanceof TypeError || error instanceof DOMException)) console.warn(error.message);
  }
  asking = false;
  const wait = failures ? Math.min(POLL_MS * 2 ** (failures - 1), SLOWEST_POLL_MS) : POLL_MS;
  timer = setTimeout(poll, document.hidden ? HIDDEN_POLL_MS : wait);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) poll();
});
byId("hour-table").closest("details").addEventListener("toggle", () => {
  if (history) updateHistory();
});
new ResizeObserver(drawChart).observe(byId("chart"));
poll();
