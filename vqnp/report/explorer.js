// The live part of a report: exchange a code, walk between two images, draw from the prior.
"use strict";

(function () {
  const run = JSON.parse(document.getElementById("run").textContent);
  const find = (id) => document.getElementById(id);
  const { Decoder, PRIORS, array, unpack, softmax, guide, draw, random, distance } = vqnp;
  const explorer = { run };
  window.explorer = explorer; // for the tests, and for whoever opens the console
  if (!run.decoder) return;

  const spec = run.decoder, decoder = new Decoder(spec), { books, size: K } = decoder;
  const [rows, columns] = spec.grid_shape, counts = unpack(run.counts).data, map = unpack(spec.map).data;
  const latents = spec.latent_shape.reduce((a, b) => a * b, 1), M = latents * books;
  const pixels = unpack(run.examples.pixels), exampleCodes = unpack(run.examples.codes).data;
  const NEAREST = 8, LIKELIEST = 10;
  Object.assign(explorer, { decoder, vqnp });

  function element(name, attributes = {}, ...children) {
    const svg = ["circle", "rect", "title", "line"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const number = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(3));

  // Images.

  const [height, width, channels] = spec.view;
  const area = areaOf();

  // Which part of an image belongs to a latent: the number of rows and columns; null if to all of it.
  function areaOf() {
    const shape = spec.latent_shape;
    if (spec.signals) return shape.length === 1 && width % shape[0] === 0 ? [1, shape[0]] : null;
    if (shape.length !== 2 || height % shape[0] || width % shape[1]) return null;
    return shape;
  }

  // [top, left, height, width] of a latent's part of the image, in fractions
  function partOf(position) {
    const [h, w] = area, m = Math.floor(position / books);
    return [Math.floor(m / w) / h, (m % w) / w, 1 / h, 1 / w];
  }

  function paint(canvas, image, label) {
    if (label) canvas.setAttribute("aria-label", label);
    if (spec.signals) return paintCurve(canvas, image);
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d"), out = context.createImageData(width, height);
    for (let i = 0; i < height * width; i++) {
      const at = (c) => 255 * (image.data[i * channels + c] - spec.low) / (spec.high - spec.low);
      let colour = channels === 3 ? [at(0), at(1), at(2)] : null;
      if (!colour) {
        let mean = 0;
        for (let c = 0; c < channels; c++) mean += at(c) / channels;
        colour = [mean, mean, mean];
      }
      out.data.set([...colour, 255], 4 * i);
    }
    context.putImageData(out, 0, 0);
  }

  // A curve for each channel; long signals are drawn at every point of time.
  function paintCurve(canvas, image) {
    canvas.width = 600;
    canvas.height = 240;
    canvas.classList.add("curve");
    const context = canvas.getContext("2d"), colours = ["#56b4e9", "#e69f00", "#cc79a7", "#009e73"];
    context.fillStyle = "#000";
    context.fillRect(0, 0, 600, 240);
    context.lineWidth = 2;
    for (let c = 0; c < channels; c++) {
      context.strokeStyle = colours[c % colours.length];
      context.beginPath();
      for (let t = 0; t < width; t++) {
        const y = (image.data[t * channels + c] - spec.low) / (spec.high - spec.low);
        context.lineTo((t + 0.5) / width * 600, 235 - 230 * y);
      }
      context.stroke();
    }
  }

  const original = (i) => {
    const P = height * width * channels;
    const x = Float32Array.from(pixels.data.subarray(i * P, (i + 1) * P),
      (value) => spec.low + (spec.high - spec.low) * value / 255);
    return array(spec.data_shape, x);
  };
  const difference = (a, b) => array(a.shape, a.data.map((value, i) => Math.abs(value - b.data[i])));
  const rms = (x) => Math.sqrt(x.data.reduce((sum, value) => sum + value * value, 0) / x.data.length);
  // |a - b|, as bright as an image where it is largest
  function stretched(a, b) {
    const d = difference(a, b), top = d.data.reduce((x, y) => Math.max(x, y), 0) || 1;
    return array(a.shape, d.data.map((value) => spec.low + (spec.high - spec.low) * value / top));
  }

  // Codes.

  const codesOf = (i) => Array.from(exampleCodes.subarray(i * M, (i + 1) * M));
  const count = run.examples.names.length;
  const names = count ? run.examples.names.map((name) => "test image " + name) : ["codes at random"];

  function startCodes(i) {
    if (count) return codesOf(i);
    const u = random(run.seed);
    return Array.from({ length: M }, () => Math.floor(u() * K));
  }

  // A colour by the place of the code on the map: the angle is the hue, the distance from the centre the chroma.
  const reach = Array.from({ length: books }, (_, book) => {
    let most = 1e-9;
    for (let k = 0; k < K; k++) most = Math.max(most, Math.hypot(...place(book, k)));
    return most;
  });

  function place(book, k) {
    const i = 2 * (book * K + k);
    return [map[i], map[i + 1]];
  }

  function colourOf(book, k) {
    const [x, y] = place(book, k), chroma = 0.11 * Math.sqrt(Math.hypot(x, y) / reach[book]);
    return `oklch(var(--code) ${chroma.toFixed(3)} ${(Math.atan2(y, x) * 180 / Math.PI + 360).toFixed(0)})`;
  }

  const where = (m) => (rows > 1 ? `row ${Math.floor(m / columns) + 1}, column ${m % columns + 1}` : `position ${m + 1}`);

  // Cells of a grid; with `chosen`, buttons among which the arrow keys move.
  function makeGrid(parent, chosen, exchanged) {
    parent.style.setProperty("--columns", columns);
    const cells = [];
    for (let r = 0; r < rows; r++) {
      const line = chosen ? element("div", { role: "row", class: "row" }) : element("div", { class: "row" });
      for (let c = 0; c < columns && r * columns + c < M; c++) {
        const m = r * columns + c;
        const cell = chosen ? element("button", { type: "button", role: "gridcell", tabindex: m ? -1 : 0 }) : element("span");
        if (chosen) cell.addEventListener("click", () => chosen(m));
        line.append(cell);
        cells.push(cell);
      }
      parent.append(line);
    }
    if (!chosen) return cells;
    parent.addEventListener("keydown", (event) => {
      const at = cells.indexOf(document.activeElement);
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
      const ends = { Home: 0, End: M - 1 };
      const turn = { "+": 1, "=": 1, "-": -1 };
      if (at < 0) return;
      if (event.key in turn) exchanged(turn[event.key]);
      else if (event.key in steps || event.key in ends) {
        const to = event.key in ends ? ends[event.key] : at + steps[event.key];
        if (to >= 0 && to < M) {
          chosen(to);
          cells[to].focus();
        }
      } else return;
      event.preventDefault();
    });
    return cells;
  }

  function fill(cell, m, k) {
    cell.textContent = k ?? "";
    cell.style.background = k === undefined ? "" : colourOf(m % books, k);
  }

  function options(select, words) {
    select.append(...words.map((word, i) => element("option", { value: i }, word)));
  }

  // 1. Exchange a code.

  const state = { example: 0, position: Math.min(M - 1, Math.floor(rows / 2) * columns + Math.floor(columns / 2)), codes: [], start: [], past: [], thumbnails: 0 };
  explorer.state = state;
  const cells = makeGrid(find("grid"), choose, turnCode);
  const frame = element("span", { class: "frame", hidden: "" });
  const holder = element("div", { class: "over" });
  find("picture").replaceWith(holder);
  const picture = element("canvas", { id: "picture", role: "img" });
  holder.append(picture, frame);
  options(find("example"), names);
  find("code").max = K - 1;
  if (!count) find("original").closest("figure").hidden = true;

  function begin(i) {
    state.example = i;
    state.start = startCodes(i);
    state.codes = state.start.slice();
    state.past = [];
    state.first = decoder.decode(state.start);
    if (count) paint(find("original"), original(i), `Original: ${names[i]}`);
    show();
  }

  function choose(position) {
    state.position = position;
    show();
  }

  function exchange(k) {
    if (!Number.isInteger(k) || k < 0 || k >= K) return;
    if (k !== state.codes[state.position]) {
      state.past.push([state.position, state.codes[state.position]]);
      state.codes[state.position] = k;
    }
    show();
  }

  function turnCode(step) {
    exchange((state.codes[state.position] + step + K) % K);
  }

  function show() {
    const { codes, position, start } = state, k = codes[position], book = position % books;
    state.image = decoder.decode(codes);
    const others = codes.filter((code, m) => code !== start[m]).length;
    paint(picture, state.image, `Image decoded from ${M} codes; ${where(position)} has code ${k}`);
    paint(find("change"), stretched(state.image, state.first), "Where the image has changed, brightest where most");
    find("changed").textContent = others
      ? `${others} code${others > 1 ? "s" : ""} exchanged: the image has changed by ${number(rms(difference(state.image, state.first)))} (root mean square; pixels are from ${spec.low} to ${spec.high}).`
      : `No code exchanged. Position: ${where(position)}, code ${k}.`;
    cells.forEach((cell, m) => {
      fill(cell, m, codes[m]);
      cell.setAttribute("aria-selected", m === position);
      cell.setAttribute("aria-label", `${where(m)}: code ${codes[m]}${codes[m] !== start[m] ? ", exchanged" : ""}`);
      cell.classList.toggle("other", codes[m] !== start[m]);
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
    find("use").textContent = `of 0 to ${K - 1}${books > 1 ? ` in codebook ${book + 1}` : ""}${useOf(book, k)}`;
    showNear(book, k);
    showMap(book, k);
  }

  const totals = Array.from({ length: books }, (_, book) => {
    let total = 0;
    for (let k = 0; k < K; k++) total += counts[book * K + k];
    return total;
  });

  function useOf(book, k) {
    if (!totals[book]) return "";
    return `; ${(100 * counts[book * K + k] / totals[book]).toFixed(2)} % of all codes`;
  }

  // The codes in the order of their distance from code k: [[code, distance], ...]
  function nearest(book, k) {
    const own = decoder.vector(k, book), found = [];
    for (let j = 0; j < K; j++) if (j !== k) found.push([j, distance(own, decoder.vector(j, book))]);
    return found.sort((a, b) => a[1] - b[1]);
  }
  explorer.nearest = nearest;

  function showNear(book, k) {
    const near = nearest(book, k).slice(0, NEAREST), batch = ++state.thumbnails, list = find("near");
    const made = near.map(([code, d]) => {
      const canvas = element("canvas", { "aria-hidden": "true" });
      const chip = element("span", { class: "chip" });
      chip.style.background = colourOf(book, code);
      const words = element("span", {}, `code ${code}`, element("br"), element("small", {}, `${number(d)} away`));
      const button = element("button", { type: "button" }, canvas, chip, words);
      button.setAttribute("aria-label", `Put code ${code} here, at distance ${number(d)}`);
      button.addEventListener("click", () => {
        exchange(code);
        list.querySelector("button")?.focus();
      });
      return [code, canvas, element("li", {}, button)];
    });
    list.replaceChildren(...made.map(([, , item]) => item));
    const next = () => {
      if (!made.length || batch !== state.thumbnails) return;
      const [code, canvas] = made.shift(), codes = state.codes.slice();
      codes[state.position] = code;
      cut(canvas, decoder.decode(codes));
      setTimeout(next);
    };
    setTimeout(next);
  }

  // The part of an image around the position, one part further to each side; the whole where latents have no place.
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

  const MOST_POINTS = 4096;
  let mapped = -1;

  function showMap(book, k) {
    const svg = find("map");
    if (K > MOST_POINTS) {
      svg.hidden = true;
      find("map-note").textContent = `A codebook of ${K} codes is not drawn; the list has the nearest.`;
      return;
    }
    if (mapped !== book) {
      mapped = book;
      const most = Math.max(1, ...Array.from({ length: K }, (_, j) => counts[book * K + j]));
      const ends = [0, 1].map((axis) => {
        const values = Array.from({ length: K }, (_, j) => place(book, j)[axis]);
        return [Math.min(...values), Math.max(...values)];
      });
      const span = Math.max(...ends.map(([low, high]) => high - low), 1e-9);
      svg.replaceChildren(...Array.from({ length: K }, (_, j) => {
        const [x, y] = place(book, j).map((value, axis) => 50 + 92 * (value - (ends[axis][0] + ends[axis][1]) / 2) / span);
        const r = 1 + 1.6 * Math.sqrt(counts[book * K + j] / most);
        const point = element("circle", { cx: x.toFixed(2), cy: (100 - y).toFixed(2), r: r.toFixed(2) },
          element("title", {}, `code ${j}${useOf(book, j)}`));
        point.style.fill = colourOf(book, j);
        point.addEventListener("click", () => exchange(j));
        return point;
      }));
      const share = (100 * spec.explained[book]).toFixed(0);
      find("map-note").textContent = `The two directions in which the codes differ most, with ${share} % of their variance. `
        + `${totals[book] ? "Larger points are codes used more often. " : ""}A click puts a code at the position.`;
    }
    const near = new Set(nearest(book, k).slice(0, NEAREST).map(([code]) => code));
    svg.setAttribute("aria-label", `Map of ${K} codes; code ${k} is marked, and the ${near.size} nearest, which the list has`);
    Array.from(svg.children).forEach((point, j) => {
      point.classList.toggle("own", j === k);
      point.classList.toggle("close", near.has(j));
    });
  }

  find("example").addEventListener("change", (event) => begin(Number(event.target.value)));
  find("code").addEventListener("change", (event) => exchange(Number(event.target.value)));
  find("reset").addEventListener("click", () => begin(state.example));
  find("back").addEventListener("click", () => {
    [state.position, state.codes[state.position]] = backStep();
    show();
  });

  function backStep() {
    const [position, k] = state.past.pop();
    state.codes[position] = k;
    return [position, state.codes[state.position]];
  }

  picture.addEventListener("click", (event) => {
    if (!area) return;
    const box = picture.getBoundingClientRect(), [h, w] = area;
    const i = Math.min(h - 1, Math.floor((event.clientY - box.top) / box.height * h));
    const j = Math.min(w - 1, Math.floor((event.clientX - box.left) / box.width * w));
    choose((i * w + j) * books);
    cells[state.position].focus({ preventScroll: true });
  });
  if (area) picture.classList.add("pointed");

  // 2. Walk between two images.

  const walk = { order: [], images: [], playing: 0 };
  explorer.walk = walk;
  if (count > 1) startWalk();
  else find("walk").hidden = true;

  function startWalk() {
    options(find("from"), names);
    options(find("to"), names);
    find("to").value = 1;
    for (const id of ["from", "to", "order"]) find(id).addEventListener("change", plan);
    find("step").addEventListener("input", () => step(Number(find("step").value)));
    find("play").addEventListener("click", play);
    plan();
  }

  // The order in which codes are replaced, and the images on the way, which are decoded a few at a time.
  function plan() {
    const a = codesOf(Number(find("from").value)), b = codesOf(Number(find("to").value));
    const far = (m) => distance(decoder.vector(a[m], m % books), decoder.vector(b[m], m % books));
    const order = a.map((_, m) => m).filter((m) => a[m] !== b[m]), kind = find("order").value;
    if (kind === "near") order.sort((m, n) => far(m) - far(n));
    if (kind === "far") order.sort((m, n) => far(n) - far(m));
    if (kind === "random") {
      const u = random(run.seed);
      for (let i = order.length - 1; i > 0; i--) {
        const j = Math.floor(u() * (i + 1));
        [order[i], order[j]] = [order[j], order[i]];
      }
    }
    Object.assign(walk, { a, b, order, images: [decoder.decode(a)], batch: (walk.batch || 0) + 1 });
    stop();
    find("step").max = order.length;
    find("step").value = 0;
    paint(find("walk-from"), original(Number(find("from").value)), `Original: ${names[find("from").value]}`);
    paint(find("walk-to"), original(Number(find("to").value)), `Original: ${names[find("to").value]}`);
    step(0);
    const batch = walk.batch;
    const more = () => {
      if (batch !== walk.batch) return;
      if (walk.images.length <= order.length) {
        imageAt(walk.images.length);
        setTimeout(more);
      } else bars();
    };
    find("steps").replaceChildren();
    setTimeout(more);
  }

  function imageAt(n) {
    while (walk.images.length <= n) {
      const codes = walk.a.slice();
      for (const m of walk.order.slice(0, walk.images.length)) codes[m] = walk.b[m];
      walk.images.push(decoder.decode(codes));
    }
    return walk.images[n];
  }

  function step(n) {
    const image = imageAt(n), total = walk.order.length, input = find("step");
    walk.image = image;
    walk.at = n;
    paint(find("walk-now"), image, `Image with ${n} of ${total} codes replaced`);
    input.setAttribute("aria-valuetext", `${n} of ${total} codes replaced`);
    const last = n ? `; the last, ${where(walk.order[n - 1])}, changed the image by ${number(rms(difference(image, imageAt(n - 1))))} (root mean square)` : "";
    find("walked").textContent = total ? `${n} of the ${total} codes in which the two images differ are replaced${last}.` : "The two images have the same codes.";
    Array.from(find("steps").children).forEach((bar, i) => bar.classList.toggle("done", i < n));
  }

  // How much each step changes the image.
  function bars() {
    const svg = find("steps"), n = walk.order.length;
    const sizes = walk.order.map((_, i) => rms(difference(walk.images[i + 1], walk.images[i])));
    const most = Math.max(...sizes, 1e-9);
    svg.setAttribute("viewBox", `0 0 ${Math.max(n, 1)} 20`);
    svg.setAttribute("aria-label", `Change of the image at each of ${n} steps, at most ${number(most)}`);
    svg.replaceChildren(...sizes.map((value, i) => {
      const h = 20 * value / most;
      return element("rect", { x: i + 0.1, y: 20 - h, width: 0.8, height: h });
    }));
    step(Number(find("step").value));
  }

  function play() {
    if (walk.playing) return stop();
    if (Number(find("step").value) >= walk.order.length) find("step").value = 0;
    find("play").textContent = "Stop";
    find("play").setAttribute("aria-pressed", "true");
    walk.playing = setInterval(() => {
      const n = Number(find("step").value) + 1;
      if (n > walk.order.length) return stop();
      find("step").value = n;
      step(n);
    }, 150);
  }

  function stop() {
    clearInterval(walk.playing);
    walk.playing = 0;
    find("play").textContent = "Play";
    find("play").setAttribute("aria-pressed", "false");
  }

  // 3. Draw from the prior.

  const drawing = { codes: [], bits: [], timer: 0 };
  explorer.drawing = drawing;
  if (run.prior) startDrawing();

  function startDrawing() {
    const prior = new PRIORS[run.prior.kind](run.prior), cellsDrawn = makeGrid(find("drawn-grid"));
    const mean = meanVectors(), { words, text_length: length, num_classes: classes } = run.prior;
    const none = words ? Array(length).fill(words.length + 1) : classes || 0;
    let condition = classes ? none : words ? none : undefined, u = random(0);
    explorer.prior = prior;

    if (classes) {
      const select = element("select", { id: "class" });
      select.append(element("option", { value: classes }, "any"));
      for (let c = 0; c < classes; c++) select.append(element("option", { value: c }, `${c}`));
      select.addEventListener("change", () => {
        condition = Number(select.value);
        restart();
      });
      find("condition").append(element("label", {}, "Class ", select));
    }
    if (words) {
      const input = element("input", { id: "text", type: "text", size: 34, placeholder: "without a text" });
      input.addEventListener("change", () => {
        try {
          condition = encode(input.value);
          restart();
        } catch (error) {
          find("drawn-text").textContent = error.message;
        }
      });
      find("condition").append(element("label", {}, "Text ", input));
      const list = element("p", { class: "note" }, `Words that the prior knows: ${words.join(", ")}.`);
      find("condition").closest(".controls").after(list);
    }
    find("guidance-label").hidden = condition === undefined;

    // The integers of a caption, as vqnp.data.vocabulary has them: the end after the last word.
    function encode(text) {
      const found = text.toLowerCase().split(/\s+/).map((word) => word.replace(/^[.,;:!?"'()[\]]+|[.,;:!?"'()[\]]+$/g, "")).filter(Boolean);
      if (!found.length) return none;
      if (found.length > length) throw new Error(`A text has at most ${length} words; this one has ${found.length}.`);
      const unknown = found.find((word) => !words.includes(word));
      if (unknown) throw new Error(`The prior does not know the word ${unknown}.`);
      return Array.from({ length }, (_, i) => (i < found.length ? words.indexOf(found[i]) : words.length));
    }
    explorer.encode = encode;

    const positive = (id) => {
      const value = Number(find(id).value);
      return Number.isFinite(value) && value >= Number(find(id).min) ? value : 1;
    };

    function probabilities() {
      const s = positive("guidance");
      let a = prior.logits(drawing.codes, condition);
      if (condition !== undefined && s !== 1) a = guide(a, prior.logits(drawing.codes, none), s);
      return softmax(a, positive("temperature"));
    }

    function restart() {
      halt();
      drawing.codes = [];
      drawing.bits = [];
      drawing.u = [];
      u = random(Math.max(0, Math.floor(Number(find("seed").value))) || 0);
      showDrawn();
    }

    // The m-th number of a seed decides position m, so that a code taken back is drawn again the same.
    function uniform(m) {
      while (drawing.u.length <= m) drawing.u.push(u());
      return drawing.u[m];
    }

    function put(k) {
      if (drawing.codes.length >= M) return;
      drawing.bits.push(-Math.log2(drawing.p[k]));
      drawing.codes.push(k);
      showDrawn();
    }

    function drawOne() {
      if (drawing.codes.length < M) put(draw(drawing.p, uniform(drawing.codes.length)));
    }

    function halt() {
      clearTimeout(drawing.timer);
      drawing.timer = 0;
      find("rest").textContent = "Draw the rest";
    }

    function drawRest() {
      if (drawing.timer) return halt();
      find("rest").textContent = "Stop";
      const one = () => {
        drawOne();
        if (drawing.codes.length < M) drawing.timer = setTimeout(one);
        else halt();
      };
      drawing.timer = setTimeout(one);
    }

    function meanVectors() {
      const z = new Float64Array(decoder.dim);
      for (let book = 0; book < books; book++) for (let k = 0; k < K; k++) {
        const weight = totals[book] ? counts[book * K + k] / totals[book] : 1 / K;
        decoder.vector(k, book).forEach((value, d) => (z[d] += weight * value));
      }
      return z;
    }

    function showDrawn() {
      const known = drawing.codes.length, z = decoder.latents(drawing.codes.slice(0, known - known % books));
      for (let m = Math.floor(known / books); m < latents; m++) z.data.set(mean, m * decoder.dim);
      drawing.image = decoder.image(z);
      paint(find("drawn"), drawing.image, `Image of ${known} of ${M} codes drawn from the prior`);
      cellsDrawn.forEach((cell, m) => {
        fill(cell, m, drawing.codes[m]);
        cell.classList.toggle("next", m === known);
      });
      const bits = drawing.bits.reduce((a, b) => a + b, 0), list = find("odds");
      find("next").disabled = find("rest").disabled = known === M;
      find("unstep").disabled = !known;
      if (known === M) {
        list.replaceChildren(element("li", { class: "note" }, "All codes are drawn."));
        find("drawn-text").textContent = `${M} codes, ${bits.toFixed(1)} bits: −log₂ of the probability of this image.`;
        return;
      }
      const p = (drawing.p = probabilities());
      const entropy = p.reduce((sum, value) => (value > 0 ? sum - value * Math.log2(value) : sum), 0);
      const order = Array.from(p.keys()).sort((i, j) => p[j] - p[i]).slice(0, LIKELIEST);
      const rest = 1 - order.reduce((sum, k) => sum + p[k], 0), focused = list.contains(document.activeElement);
      list.replaceChildren(...order.map((k) => {
        const bar = element("span", { class: "bar" });
        bar.style.width = `${100 * p[k]}%`;
        bar.style.background = colourOf(known % books, k);
        const percent = `${(100 * p[k]).toFixed(1)} %`;
        const button = element("button", { type: "button" }, element("span", { class: "name" }, String(k)),
          element("span", { class: "track" }, bar), element("span", { class: "percent" }, percent));
        button.setAttribute("aria-label", `Choose code ${k}, probability ${percent}`);
        button.addEventListener("click", () => put(k));
        return element("li", {}, button);
      }), element("li", { class: "note" }, `the other ${Math.max(0, K - order.length)} codes: ${(100 * Math.max(0, rest)).toFixed(1)} %`));
      if (focused) list.querySelector("button").focus();
      find("drawn-text").textContent = `${known} of ${M} codes drawn, ${bits.toFixed(1)} bits so far; the next one, ${where(known)}, has ${entropy.toFixed(2)} bits on average.`;
    }

    find("next").addEventListener("click", drawOne);
    find("rest").addEventListener("click", drawRest);
    find("again").addEventListener("click", restart);
    find("seed").addEventListener("change", restart);
    for (const id of ["temperature", "guidance"]) find(id).addEventListener("change", showDrawn);
    find("unstep").addEventListener("click", () => {
      halt();
      drawing.codes.pop();
      drawing.bits.pop();
      showDrawn();
    });
    restart();
  }

  // 4. Does this browser compute what NumPy computes?

  function largest(a, b) {
    return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
  }

  function check() {
    const image = unpack(run.check.image), found = decoder.decode(run.check.codes);
    const agreement = { image: largest(found.data, image.data) };
    let text = `Computed in this browser, the image of codes drawn at random differs from NumPy's by at most ${agreement.image.toExponential(1)}`;
    if (run.prior) {
      const { codes, condition, positions, logits } = run.prior_check, known = unpack(logits).data;
      agreement.logits = Math.max(...positions.map((m, i) =>
        largest(explorer.prior.logits(codes.slice(0, m), condition ?? undefined), known.subarray(i * K, (i + 1) * K))));
      text += `, and the prior's logits by at most ${agreement.logits.toExponential(1)}`;
    }
    text += ": rounding in float32. ";
    if (spec.precision === "float16") text += `The decoder's weights are in float16, which changes this image by at most ${number(run.check.rounding)}. `;
    if (run.prior?.precision === "float16") text += `The prior's weights are in float16, which changes a probability by at most ${number(run.prior_check.rounding)}.`;
    find("agreement").textContent = text;
    explorer.agreement = agreement;
  }

  begin(0);
  setTimeout(check);
})();
