// The chart of the last hour, its legend and its table.
"use strict";

let history = null;

function niceTop(max) {
  for (const step of [15, 30, 60, 120, 180, 240, 300, 600, 900, 1800, 3600]) if (max <= step) return step;
  return Math.ceil(max / 3600) * 3600;
}

function emotionTotals() {
  return history.emotions.map((name, place) => ({
    name, place, total: history.intervals.reduce((sum, interval) => sum + interval.seconds[place], 0),
  }));
}

function intervalText(interval) {
  const end = clock(ago(Math.max(0, interval.ended_ago_s)), false);
  const begin = clock(ago(interval.ended_ago_s + history.interval_s), false);
  if (interval.watched_s < 1) return `${begin}–${end}: not watching`;
  const parts = history.emotions.map((name, place) => [name, interval.seconds[place]]).filter(([, s]) => s >= 0.5)
    .map(([name, s]) => `${name} ${Math.round(s)} s`);
  return `${begin}–${end}: ${parts.join(", ") || "no faces"}`;
}

function drawChart() {
  if (!history) return;
  const box = byId("chart");
  const width = Math.max(200, box.clientWidth), height = box.clientHeight;
  const left = 40, bottom = 24, top = 10;
  const plotWidth = width - left, plotHeight = height - bottom - top;
  const span = Math.max(3600, history.interval_s);
  const slots = Math.round(span / history.interval_s);
  const step = plotWidth / slots, gap = step > 4 ? 1.5 : 0.5;
  const max = niceTop(Math.max(1, ...history.intervals.map((one) => one.seconds.reduce((a, b) => a + b, 0))));
  const y = (seconds) => top + plotHeight * (1 - seconds / max);
  const svg = makeSvg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": hourText() });
  for (const share of [0, 0.5, 1]) {
    const at = Math.round(y(max * share)) + 0.5;
    svg.append(makeSvg("line", { class: "rule", x1: left, x2: width, y1: at, y2: at }));
    const label = makeSvg("text", { x: left - 8, y: at + 4, "text-anchor": "end" });
    label.textContent = share === 0 ? "0" : max >= 120 ? `${max * share / 60} min` : `${max * share} s`;
    svg.append(label);
  }
  history.intervals.slice(-slots).forEach((interval, place, shown) => {
    const x = left + (slots - shown.length + place) * step;
    if (interval.watched_s < 1) svg.append(makeSvg("rect", { class: "gap", x, y: top, width: step, height: plotHeight }));
    let base = 0;
    interval.seconds.forEach((seconds, number) => {
      if (seconds <= 0) return;
      const bar = { class: colour(history.emotions[number]), x: x + gap / 2, width: Math.max(1, step - gap) };
      svg.append(makeSvg("rect", { ...bar, y: y(base + seconds), height: Math.max(0.5, y(base) - y(base + seconds)) }));
      base += seconds;
    });
    const title = makeSvg("title", {});
    title.textContent = intervalText(interval);
    svg.append(makeSvg("rect", { class: "hit", x, y: top, width: step, height: plotHeight }, title));
  });
  for (const share of width < 480 ? [1, 0.5, 0] : [1, 0.75, 0.5, 0.25, 0]) {
    const anchor = share === 1 ? "start" : share ? "middle" : "end";
    const label = makeSvg("text", { x: left + plotWidth * (1 - share), y: height - 5, "text-anchor": anchor });
    label.textContent = share ? `${Math.round(share * span / 60)} min ago` : "now";
    svg.append(label);
  }
  box.replaceChildren(svg);
}

function hourText() {
  const seen = emotionTotals().filter((one) => one.total >= 1).sort((a, b) => b.total - a.total);
  if (!seen.length) return "No faces in this time.";
  const all = seen.reduce((sum, one) => sum + one.total, 0);
  const shares = seen.slice(0, 3).map((one) => `${one.name} ${percent(one.total / all)}`);
  return `Faces for ${duration(all)}: ${shares.join(", ")}`;
}

function updateHistory() {
  drawChart();
  setText(byId("hour-title"), history.interval_s > 3600 ? `The last ${duration(history.interval_s)}` : "The last hour");
  setText(byId("hour-sum"), hourText());
  const shown = emotionTotals().filter((one) => one.total > 0);
  updateHistoryTable(shown);
}

function updateLegend() {
  const legend = [...labels, "uncertain"].map((name) => ({ name: capital(name), kind: colour(name) }));
  legend.push({ name: "Not watching", kind: "off" });
  list(byId("legend"), legend, (one) => one.name, (one) => make("li", "", make("span", `swatch ${one.kind}`), one.name), () => {});
}

function updateHistoryTable(shown) {
  const table = byId("hour-table");
  if (!table.closest("details").open) return;
  const names = [`From`, ...shown.map((one) => capital(one.name)), "Watched"];
  const head = make("tr", "", ...names.map((name) => {
    const cell = make("th", "", name);
    cell.scope = "col";
    return cell;
  }));
  table.tHead.replaceChildren(head);
  table.tBodies[0].replaceChildren(...[...history.intervals].reverse().map((interval) => {
    const begin = make("th", "", clock(ago(interval.ended_ago_s + history.interval_s), false));
    begin.scope = "row";
    const values = [...shown.map((one) => interval.seconds[one.place]), interval.watched_s];
    return make("tr", "", begin, ...values.map((seconds) => make("td", "", `${Math.round(seconds)} s`)));
  }));
}
