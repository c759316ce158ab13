// Elements. Text only ever becomes text here: there is no way from a string to markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with properties and children; strings become text. */
export function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** One of the icons that stand in index.html. */
export function icon(name) {
  const image = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  image.setAttribute("class", "icon");
  image.setAttribute("aria-hidden", "true");
  image.append(use);
  return image;
}

/** A button with an icon and a name; with `word` the name is shown beside it. */
export function button(name, iconName, onClick, { word = false, className = "ghost" } = {}) {
  const node = make("button", { type: "button", className, onclick: onClick }, icon(iconName));
  if (word) node.append(make("span", {}, name));
  else {
    node.setAttribute("aria-label", name);
    node.title = name;
  }
  return node;
}

export const find = (id) => document.getElementById(id);
