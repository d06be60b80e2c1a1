// The status page: polls /api/status and updates the parts of the page that have changed.
"use strict";

const POLL_MS = 1000;
const HIDDEN_POLL_MS = 15000;
const MAX_POLL_MS = 5000;
const HISTORY_POLL_MS = 10000;
const REQUEST_TIMEOUT_MS = 6000;
const PREVIEW_MS = 250;
const STAGES = {
  frame: "Whole frame", follow: "Follow faces", plan: "Plan search", detect_full: "Detect in frame",
  detect_region: "Detect near a face", track: "Track", crop: "Crop", classify: "Classify", events: "Emit events",
  verify: "Verify face", age: "Capture to result", age_at_event: "Capture to event",
};
const STATES = {
  opening: ["Opening", ""], watching: ["Watching", "good"], dark: ["Dark", ""], stalled: ["Stalled", "bad"], paused: ["Paused", ""], lost: ["Lost", "bad"],
  ended: ["Ended", ""],
};
const DELIVERS = new Set(["watching", "dark"]);

// ---- cameras

const PREVIEWS = new Map();

function newCamera(source) {
  const card = make("article", "card camera");
  const title = make("h3", "", source.name);
  title.id = `camera-${encodeURIComponent(source.name)}`;
  card.setAttribute("aria-labelledby", title.id);
  const pill = make("p", "pill");
  const dot = make("span", "dot");
  dot.setAttribute("aria-hidden", "true");
  pill.append(dot, make("span", "text"));
  const picture = make("img", "picture");
  picture.alt = `Image of ${source.name} with boxes around faces`;
  const noImage = make("p", "picture nothing", "No image");
  const facts = make("dl", "facts");
  const zones = make("dl", "facts zones");
  // One of the three is shown. They have one place and one size, so that cards side by side have the same layout.
  const faces = make("ul", "panel faces");
  faces.setAttribute("aria-label", `Faces of ${source.name}`);
  const message = make("p", "panel message quiet");
  const outage = make("p", "panel outage", make("strong"), make("span"));
  card.append(make("div", "head", title, pill), make("div", "inside", picture, noImage, make("div", "numbers", facts, zones), faces, message, outage));
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
    setText(value, item.value);
    setClass(value, item.className || "");
    setText(unit, item.unit ? ` ${item.unit}` : "");
  });
}

function outageText(source) {
  const since = clock(ago(source.since_s));
  const words = { lost: "No frames", stalled: "No new frames", opening: "Opening", paused: "Paused", ended: "Ended" };
  return `${words[source.state]} since ${since} (${duration(source.since_s)})`;
}

function outageWhy(source) {
  if (source.state === "paused") return "The camera is closed, on request.";
  const tries = source.attempts && source.state === "lost" ? `Attempts to reopen: ${count(source.attempts)}.` : "";
  const said = (source.reason || "").replace(/[.\s]+$/, "");
  const reason = said && !/[?!]$/.test(said) ? `${said}.` : said;
  return [reason, tries].filter(Boolean).join(" ");
}

function updateCamera(card, source, status) {
  const [word, kind] = STATES[source.state] || [source.state, ""];
  const pill = card.querySelector(".pill");
  setClass(pill, `pill ${kind}`);
  setText(pill.querySelector(".text"), word);
  const out = !DELIVERS.has(source.state);
  const outage = card.querySelector(".outage");
  show(outage, out);
  setClass(outage, `panel outage ${kind || "warn"}`);
  if (out) {
    setText(outage.children[0], outageText(source));
    setText(outage.children[1], outageWhy(source));
  }
  const age = source.last_frame_age_s;
  putFacts(card.querySelector(".facts"), [
    fact("Frames/s", out ? "–" : source.fps.toFixed(1)),
    fact("Resolution", source.size ? `${source.size[0]} × ${source.size[1]}` : "–"),
    fact("Last frame", age === null ? "–" : age < 10 ? `${age.toFixed(1)} s` : brief(age), age === null ? "" : "ago"),
  ]);
  const zones = out ? [] : source.zones || [];
  show(card.querySelector(".zones"), zones.length > 0);
  putFacts(card.querySelector(".zones"), zones.map((zone) => fact(zone.name, count(zone.faces), `now, ${count(zone.entered)} in all`)));
  const text = out ? "" : messageOf(source, status);
  show(card.querySelector(".message"), text !== "");
  setText(card.querySelector(".message"), text);
  show(card.querySelector(".faces"), !out && text === "");
  updateFaces(card.querySelector(".faces"), source);
  const image = card.querySelector("img");
  updatePicture(image, source, status.preview && !out);
  show(card.querySelector(".nothing"), status.preview && image.hidden);
}

// What is said instead of a list of faces; empty where there are faces.
function messageOf(source, status) {
  if (status.privacy === "aggregate") return "Individual faces are not shown.";
  if (source.faces && source.faces.length) return "";
  return source.state === "dark" ? "Too dark to detect faces." : "No faces.";
}

function updateFaces(parent, source) {
  list(parent, source.faces || [], (face) => face.track, (face) => {
    const bar = make("span", "bar", make("i"));
    bar.setAttribute("aria-hidden", "true");
    return make("li", "", make("span", "id", `#${face.track}`), make("span", "name"), bar, make("span", "share"));
  }, (item, face) => {
    setText(item.children[1], capital(face.emotion || "face"));
    item.children[2].className = `bar ${colour(face.emotion)}`;
    item.children[2].firstChild.style.width = `${face.confidence * 100}%`;
    setText(item.children[3], face.emotion === null ? "" : percent(face.confidence));
  });
}

function updatePicture(image, source, wanted) {
  image.dataset.wanted = wanted ? "yes" : "";
  // Until the first image has arrived, the place says that there is none.
  show(image, wanted && image.naturalWidth > 0);
  if (source.size) [image.width, image.height] = source.size;
  if (!wanted || PREVIEWS.has(source.name)) return;
  // The next image is requested after this one has arrived, so that a slow network is not overloaded.
  const next = () => setTimeout(() => {
    PREVIEWS.delete(source.name);
    if (image.dataset.wanted && image.isConnected && !document.hidden) updatePicture(image, source, true);
  }, PREVIEW_MS);
  PREVIEWS.set(source.name, image);
  image.onload = next;
  image.onerror = () => setTimeout(next, 2000);
  image.src = `/preview/${encodeURIComponent(source.name)}.jpg?${Date.now()}`;
}

// ---- the other cards

function overall(status) {
  const out = status.sources.filter((source) => source.state === "lost" || source.state === "stalled").length;
  const total = status.sources.length;
  const failing = status.sinks.filter((sink) => !sink.working).length;
  if (out && total === 1) return ["Camera down", "bad"];
  if (out) return [`${out} of ${total} cameras down`, out === total ? "bad" : "warn"];
  const isStarting = (source) => source.state === "opening" || (DELIVERS.has(source.state) && source.last_frame_age_s === null);
  if (!status.ready || status.sources.some(isStarting)) return ["Starting", ""];
  if (total && status.sources.every((source) => source.state === "paused")) return ["Paused", ""];
  if (failing) return [failing === 1 ? "1 output failing" : `${failing} outputs failing`, "warn"];
  return status.healthy ? ["OK", "good"] : ["No frames", "bad"];
}

function putOverall(text, kind) {
  const pill = byId("overall");
  setClass(pill, `pill ${kind}`);
  setText(pill.querySelector(".text"), text);
  const title = `${kind === "good" ? "" : `${text} – `}FER-Edge${host ? ` · ${host}` : ""}`;
  if (document.title !== title) document.title = title;
}

function updateDevice(status) {
  const { chip, model } = status;
  const facts = [];
  if (chip.temperature_c !== null) facts.push(fact("Temperature", chip.temperature_c.toFixed(1), "°C"));
  const slowed = chip.throttled.length > 0;
  const before = chip.throttled_before.map(capital).join(", ");
  facts.push({ name: "Throttling", value: slowed ? chip.throttled.map(capital).join(", ") : "None", className: slowed ? "hot" : "" });
  if (before) facts.push(fact("Throttling since boot", before));
  const share = chip.budget_share;
  facts.push({ name: "Detection budget", value: percent(share), className: share < 1 ? "warm" : "" });
  if (status.memory_bytes !== null) facts.push(fact("Memory", (status.memory_bytes / 1048576).toFixed(0), "MiB"));
  facts.push(fact("Uptime", duration(status.uptime_s)));
  if (model.name) facts.push(fact("Model", `${model.name} ${model.version}, ${model.variant}`));
  if (status.update) facts.push(fact("Update", updateText(status.update)));
  if (status.interpreter) facts.push(fact("Interpreter", `${status.interpreter.name} ${status.interpreter.version}`));
  facts.push(fact("FER-Edge", status.version));
  putFacts(byId("device"), facts);
}

function updateText({ phase, candidate, agreement, problem }) {
  const words = { verified: "verified", checked: "passed its self-check", shadow: "is compared" };
  const agreed = agreement === null ? "" : `, agrees on ${percent(agreement)}`;
  if (candidate) return `${candidate} ${words[phase]}${agreed}`;
  return `${phase === "probation" ? "On probation" : "None in progress"}${problem ? `; ${problem}` : ""}`;
}

function updateOutputs(status) {
  show(byId("no-outputs"), status.sinks.length === 0);
  list(byId("outputs"), status.sinks, (sink) => sink.name, () => {
    const dot = make("span", "dot");
    return make("li", "", dot, make("span", "name"), make("span", "more"), make("span", "problem"));
  }, (item, sink) => {
    const [dot, name, more, problem] = item.children;
    setClass(dot, `dot ${sink.working ? "works" : "fails"}`);
    setText(name, sink.name);
    const parts = [sink.working ? "Working" : "Failing", `${count(sink.sent)} sent`];
    if (sink.waiting) parts.push(`${count(sink.waiting)} waiting`);
    if (sink.dropped) parts.push(`${count(sink.dropped)} dropped`);
    setText(more, parts.join(" · "));
    show(problem, Boolean(sink.problem));
    setText(problem, sink.problem || "");
  });
}

function eventText(event) {
  const who = event.track === null ? "" : `Face #${event.track}`;
  const sure = event.confidence === null ? "" : `, ${percent(event.confidence)}`;
  switch (event.kind) {
    case "appeared": return [event.emotion === null ? `${who} appeared` : `${who} appeared: ${event.emotion}${sure}`, ""];
    case "changed": return [`${who} ${event.previous} → ${event.emotion}${sure}`, ""];
    case "left": return [`${who} left`, ""];
    case "heartbeat": return [`${who || "Heartbeat"}: still ${event.emotion || "there"}${sure}`, ""];
    case "presence": return [`${count(event.faces)} ${event.faces === 1 ? "face" : "faces"}${event.zone ? ` in ${event.zone}` : ""}`, ""];
    case "source_lost": return [`Camera lost${event.reason ? `: ${event.reason}` : ""}`, "out"];
    case "counts": return [countsText(event.counts), ""];
    case "source_back": return ["Camera delivers frames again", "back"];
    default: return [capital(event.kind), ""];
  }
}

function countsText({ interval_s: interval, appeared, max_at_once: most, emotion_s: seconds }) {
  const faces = appeared || most ? `${count(appeared)} faces appeared, at most ${count(most)} at once` : "no faces";
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
    // Stages that have not run yet have rows too, so that the layout does not shift when a face appears.
    const known = status.privacy === "aggregate" ? [] : Object.keys(STAGES);
    const names = new Set([...known, ...Object.keys(source.stages)]);
    const rows = Object.keys(source.stages).length ? [...names].map((name) => ({ name, values: source.stages[name] })) : [];
    // The first row of each camera has its name.
    list(bodies[number], rows, (row) => row.name, (row) => {
      const head = make("th");
      head.scope = "row";
      return make("tr", row.name === "frame" ? "whole" : "", head, make("td"), make("td"), make("td"), make("td"));
    }, (element, row) => {
      const name = STAGES[row.name] || capital(row.name);
      setText(element.cells[0], several && row === rows[0] ? `${source.name}: ${name.toLowerCase()}` : name);
      const { p50_ms: p50, p95_ms: p95, p99_ms: p99, calls } = row.values || { calls: 0 };
      [p50, p95, p99].forEach((ms, place) => setText(element.cells[place + 1], milliseconds(ms)));
      setText(element.cells[4], count(calls));
    });
  });
}

// ---- polling

let host = "";
let version = null;
let failures = 0;
let lastResponse = Date.now();
let timer = 0;
let polling = false;
let lastHistory = -Infinity;

function privacyOf(status) {
  if (status.recording) return "Camera images are stored in a film on the device.";
  return status.privacy === "aggregate" ? "Only counts are published, nothing about individuals." : "No images are stored.";
}

function update(status) {
  if (version !== null && version !== status.version) return location.reload();
  version = status.version;
  host = status.host;
  labels = status.model.labels;
  setText(byId("host"), host);
  putOverall(...overall(status));
  show(byId("pictures"), status.preview);
  show(byId("recording"), status.recording);
  show(byId("no-cameras"), status.sources.length === 0);
  list(byId("cameras"), status.sources, (source) => source.name, newCamera, (card, source) => updateCamera(card, source, status));
  updateDevice(status);
  updateOutputs(status);
  updateEvents(status);
  updateStages(status);
  updateLegend();
  setText(byId("privacy"), privacyOf(status));
  // Until then there is nothing to show, and the layout would shift.
  if (status.ready || status.sources.length) document.body.classList.remove("waiting");
}

async function request(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  if (response.status === 401) location.assign("/login");
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

function putConnection(connected) {
  document.body.classList.toggle("offline", !connected);
  show(byId("offline"), !connected);
  if (connected) return;
  putOverall("No connection", "bad");
  setText(byId("offline"), `No connection since ${clock(new Date(lastResponse))}. The values shown are from then; reconnecting.`);
}

async function poll() {
  if (polling) return;
  polling = true;
  clearTimeout(timer);
  try {
    const status = await request("/api/status");
    failures = 0;
    lastResponse = Date.now();
    putConnection(true);
    update(status);
    if (Date.now() - lastHistory >= HISTORY_POLL_MS) {
      history = await request("/api/history");
      lastHistory = Date.now();
      updateHistory();
    }
  } catch (error) {
    failures += 1;
    // A single late response does not mean that the connection is lost.
    if (failures > 1) putConnection(false);
    if (!(error instanceof TypeError || error instanceof DOMException)) console.warn(error.message);
  }
  polling = false;
  const wait = failures ? Math.min(POLL_MS * 2 ** (failures - 1), MAX_POLL_MS) : POLL_MS;
  timer = setTimeout(poll, document.hidden ? HIDDEN_POLL_MS : wait);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) poll();
});
// A phone shows the table of times on request. The page is not shown yet, so nothing moves.
byId("timings").open = !matchMedia("(max-width: 34rem)").matches;
byId("hour-table").closest("details").addEventListener("toggle", () => {
  if (history) updateHistory();
});
new ResizeObserver(drawChart).observe(byId("chart"));
poll();
