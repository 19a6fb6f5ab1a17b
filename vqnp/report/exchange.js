// Exchange a code: a grid of the codes of an image, the nearest codes, and the map of the codebook.
"use strict";

function startExchange(view) {
  const {
    find, spec, decoder, books, K, M, rows, columns, height, width, area, count, names, totals, element, number,
    options, paint, difference, rms, stretched, partOf, original, codesOf, share, useOf, place, colourOf,
    nearest, where, makeGrid, fill,
  } = view;
  const NEAREST = 8, MOST_POINTS = 4096;
  const middle = Math.min(M - 1, Math.floor(rows / 2) * columns + Math.floor(columns / 2));
  const state = { example: 0, position: middle, codes: [], start: [], past: [], batch: 0, mapped: -1 };

  const picture = find("picture"), frame = element("span", { class: "frame", hidden: "" });
  const holder = element("div", { class: "over" });
  picture.replaceWith(holder);
  holder.append(picture, frame);

  const cells = makeGrid(find("grid"), { role: "row" }, (m) => {
    const cell = element("button", { type: "button", role: "gridcell" });
    cell.addEventListener("click", () => choose(m));
    return cell;
  });

  function begin(i) {
    const start = codesOf(i);
    Object.assign(state, { example: i, start, codes: start.slice(), past: [], first: decoder.decode(start) });
    if (count) paint(find("original"), original(i), `Original: ${names[i]}`);
    show();
  }

  function choose(position) {
    state.position = position;
    show();
  }

  function exchange(k) {
    const { codes, position, past } = state;
    if (!Number.isInteger(k) || k < 0 || k >= K) return show();
    if (k !== codes[position]) past.push([position, codes[position]]);
    codes[position] = k;
    show();
  }

  function undo() {
    const [position, k] = state.past.pop();
    state.position = position;
    state.codes[position] = k;
    show();
  }

  function onKey(event) {
    const at = cells.indexOf(document.activeElement), k = state.codes[state.position];
    const to = {
      ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + columns, ArrowUp: at - columns, Home: 0, End: M - 1,
    }[event.key];
    const step = { "+": 1, "=": 1, "-": -1 }[event.key];
    if (at < 0 || (to === undefined && !step)) return;
    event.preventDefault();
    if (step) exchange((k + step + K) % K);
    else if (to >= 0 && to < M) {
      choose(to);
      cells[to].focus();
    }
  }

  function onPicture(event) {
    if (!area) return;
    const box = picture.getBoundingClientRect(), [h, w] = area;
    const i = Math.min(h - 1, Math.floor((event.clientY - box.top) / box.height * h));
    const j = Math.min(w - 1, Math.floor((event.clientX - box.left) / box.width * w));
    choose((i * w + j) * books);
    cells[state.position].focus({ preventScroll: true });
  }

  function show() {
    const { codes, position, start, first } = state, k = codes[position], book = position % books;
    const image = (state.image = decoder.decode(codes));
    const others = codes.filter((code, m) => code !== start[m]).length;
    paint(picture, image, `Image decoded from ${M} codes; ${where(position)} has code ${k}`);
    paint(find("change"), stretched(image, first), "Where the image has changed, brightest where most");
    find("changed").textContent = others
      ? `${others} code${others > 1 ? "s" : ""} exchanged: the image has changed by `
        + `${number(rms(difference(image, first)))} (root mean square; pixels are from ${spec.low} to ${spec.high}).`
      : `No code exchanged. Selected: ${where(position)}, code ${k}.`;
    cells.forEach((cell, m) => {
      const other = codes[m] !== start[m];
      fill(cell, m, codes[m]);
      cell.setAttribute("aria-selected", m === position);
      cell.setAttribute("aria-label", `${where(m)}: code ${codes[m]}${other ? ", exchanged" : ""}`);
      cell.classList.toggle("other", other);
      cell.tabIndex = m === position ? 0 : -1;
    });
    if (area) {
      const [top, left, h, w] = partOf(position).map((value) => `${100 * value}%`);
      frame.hidden = false;
      Object.assign(frame.style, { top, left, height: h, width: w });
    }
    find("back").disabled = !state.past.length;
    find("reset").disabled = !others;
    find("code").value = k;
    const of = books > 1 ? ` in codebook ${book + 1}` : "";
    find("use").textContent = `of 0 to ${K - 1}${of}${useOf(book, k)}`;
    const near = nearest(book, k).slice(0, NEAREST);
    showNear(book, near);
    showMap(book, k, new Set(near.map(([code]) => code)));
  }

  // A button for each of the nearest codes, with the image that it would give, decoded one after the other.
  function showNear(book, near) {
    const batch = ++state.batch, list = find("near");
    const made = near.map(([code, d]) => {
      const canvas = element("canvas", { "aria-hidden": "true" }), chip = element("span", { class: "chip" });
      chip.style.background = colourOf(book, code);
      const away = element("small", {}, ` ${number(d)} away`);
      const button = element("button", { type: "button" }, canvas, chip,
        element("span", {}, `code ${code}`, element("br"), away));
      button.addEventListener("click", () => {
        exchange(code);
        list.querySelector("button")?.focus();
      });
      return [code, canvas, element("li", {}, button)];
    });
    list.replaceChildren(...made.map(([, , item]) => item));
    const next = () => {
      if (!made.length || batch !== state.batch) return;
      const [code, canvas] = made.shift();
      cut(canvas, decoder.decode(state.codes.with(state.position, code)));
      setTimeout(next);
    };
    setTimeout(next);
  }

  // The part of an image at the position and around it; all of it where latents have no place.
  function cut(canvas, image) {
    if (!area || spec.signals) return paint(canvas, image);
    const whole = document.createElement("canvas"), [top, left, h, w] = partOf(state.position);
    paint(whole, image);
    const high = Math.min(height, 3 * h * height), wide = Math.min(width, 3 * w * width);
    const y = Math.min(height - high, Math.max(0, (top - h) * height));
    const x = Math.min(width - wide, Math.max(0, (left - w) * width));
    canvas.width = wide;
    canvas.height = high;
    canvas.getContext("2d").drawImage(whole, x, y, wide, high, 0, 0, wide, high);
  }

  function showMap(book, k, near) {
    const svg = find("map");
    if (K > MOST_POINTS) {
      svg.style.display = "none";
      find("map-note").textContent = `A codebook of ${K} codes is not drawn; the list has the nearest.`;
      return;
    }
    if (state.mapped !== book) drawMap(svg, book);
    svg.setAttribute("aria-label",
      `Map of ${K} codes; code ${k} is marked, and the ${near.size} nearest, which the list has`);
    Array.from(svg.children).forEach((point, j) => {
      point.classList.toggle("own", j === k);
      point.classList.toggle("close", near.has(j));
    });
  }

  function drawMap(svg, book) {
    state.mapped = book;
    const codes = Array.from({ length: K }, (_, j) => j), most = Math.max(...codes.map((j) => share(book, j)), 1e-9);
    const ends = [0, 1].map((axis) => {
      const values = codes.map((j) => place(book, j)[axis]);
      return [Math.min(...values), Math.max(...values)];
    });
    const span = Math.max(...ends.map(([low, high]) => high - low), 1e-9);
    svg.replaceChildren(...codes.map((j) => {
      const [x, y] = place(book, j).map((value, i) => 50 + 92 * (value - (ends[i][0] + ends[i][1]) / 2) / span);
      const r = 1 + 1.6 * Math.sqrt(share(book, j) / most);
      const point = element("circle", { cx: x.toFixed(2), cy: (100 - y).toFixed(2), r: r.toFixed(2) },
        element("title", {}, `code ${j}${useOf(book, j)}`));
      point.style.fill = colourOf(book, j);
      point.addEventListener("click", () => exchange(j));
      return point;
    }));
    const part = (100 * spec.explained[book]).toFixed(0);
    find("map-note").textContent = `The two directions in which the codes differ most, with ${part} % of their `
      + `variance. ${totals[book] ? "Larger points are codes used more often. " : ""}`
      + "A click puts a code at the position.";
  }

  options(find("example"), names);
  find("code").max = K - 1;
  if (!count) find("original").closest("figure").hidden = true;
  if (area) picture.classList.add("pointed");
  find("example").addEventListener("change", (event) => begin(Number(event.target.value)));
  find("code").addEventListener("change", (event) => exchange(Number(event.target.value)));
  find("reset").addEventListener("click", () => begin(state.example));
  find("back").addEventListener("click", undo);
  find("grid").addEventListener("keydown", onKey);
  picture.addEventListener("click", onPicture);
  begin(0);
  return state;
}
