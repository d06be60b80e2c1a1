// Create and update elements; format numbers, times and names. Never builds markup from strings: names and reasons are
// untrusted.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function makeSvg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Assigning an unchanged value would trigger screen readers and a new layout.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setClass(element, className) {
  if (element.className !== className) element.className = className;
}

function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

// Give `parent` one child per item, identified by its key, in the order of the items.
function list(parent, items, key, create, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = null;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    known.delete(name);
    if (!child) {
      child = create(item);
      child.dataset.key = name;
    }
    const wanted = place ? place.nextSibling : parent.firstChild;
    if (child !== wanted) parent.insertBefore(child, wanted);
    update(child, item);
    place = child;
  }
  for (const child of known.values()) child.remove();
}

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

// One unit is enough for an age.
const brief = (seconds) => duration(seconds).split(" ").slice(0, 2).join("\u00a0");

function clock(date, withSeconds = true) {
  const parts = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (withSeconds) parts.second = "2-digit";
  return date.toLocaleTimeString([], parts);
}

const ago = (seconds) => new Date(Date.now() - seconds * 1000);
const count = (number) => number.toLocaleString("en-GB");
// A number and its unit stay on one line.
const percent = (share) => `${Math.round(share * 100)}\u00a0%`;
const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1).replaceAll("_", " ");

let labels = [];

function colour(emotion) {
  const place = labels.indexOf(emotion);
  return place < 0 ? "eu" : `e${place % 7}`;
}
