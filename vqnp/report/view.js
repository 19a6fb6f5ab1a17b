// What the sections share: the data of the page, elements, pictures, codes with their colours, grids.
"use strict";

// With the page's data; without a decoder only the data.
function makeView(run) {
  const find = (id) => document.getElementById(id);
  if (!run.decoder) return { run, find };
  const { Decoder, array, unpack, random, distance } = vqnp;
  const spec = run.decoder, decoder = new Decoder(spec), { books, size: K } = decoder;
  const [rows, columns] = spec.grid_shape, [height, width, channels] = spec.view;
  const counts = unpack(run.counts).data, map = unpack(spec.map).data;
  const latents = spec.latent_shape.reduce((a, b) => a * b, 1), M = latents * books;

  function element(name, attributes = {}, ...children) {
    const svg = ["circle", "rect", "title"].includes(name) && "http://www.w3.org/2000/svg";
    const made = svg ? document.createElementNS(svg, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const number = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(3));

  function options(select, words) {
    select.append(...words.map((word, i) => element("option", { value: i }, word)));
  }

  // Pictures.

  function paint(canvas, image, label) {
    if (label) canvas.setAttribute("aria-label", label);
    if (spec.signals) paintCurves(canvas, image);
    else paintPixels(canvas, image);
  }

  // Three channels are a colour; of any other number the mean is drawn, in grey.
  function paintPixels(canvas, image) {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d"), out = context.createImageData(width, height);
    for (let i = 0; i < height * width; i++) {
      const at = (c) => 255 * (image.data[i * channels + c] - spec.low) / (spec.high - spec.low);
      let mean = 0;
      for (let c = 0; c < channels; c++) mean += at(c) / channels;
      for (let c = 0; c < 3; c++) out.data[4 * i + c] = channels === 3 ? at(c) : mean;
      out.data[4 * i + 3] = 255;
    }
    context.putImageData(out, 0, 0);
  }

  function paintCurves(canvas, image) {
    const [w, h] = [600, 240], colours = ["#56b4e9", "#e69f00", "#cc79a7", "#009e73"];
    canvas.width = w;
    canvas.height = h;
    canvas.classList.add("curve");
    const context = canvas.getContext("2d");
    context.fillRect(0, 0, w, h);
    context.lineWidth = 2;
    for (let c = 0; c < channels; c++) {
      context.strokeStyle = colours[c % colours.length];
      context.beginPath();
      for (let t = 0; t < width; t++) {
        const share = (image.data[t * channels + c] - spec.low) / (spec.high - spec.low);
        context.lineTo((t + 0.5) / width * w, h - 5 - (h - 10) * share);
      }
      context.stroke();
    }
  }

  const difference = (a, b) => array(a.shape, a.data.map((value, i) => Math.abs(value - b.data[i])));
  const rms = (x) => Math.sqrt(x.data.reduce((sum, value) => sum + value * value, 0) / x.data.length);

  // |a - b|, with the largest difference as bright as an image can be
  function stretched(a, b) {
    const d = difference(a, b), top = d.data.reduce((x, y) => Math.max(x, y), 0) || 1;
    return array(a.shape, d.data.map((value) => spec.low + (spec.high - spec.low) * value / top));
  }

  // Which part of an image belongs to a latent: the number of rows and columns; null if to all of it.
  function areaOf() {
    const shape = spec.latent_shape;
    if (spec.signals) return shape.length === 1 && width % shape[0] === 0 ? [1, shape[0]] : null;
    return shape.length !== 2 || height % shape[0] || width % shape[1] ? null : shape;
  }

  const area = areaOf();

  // [top, left, height, width] of the part of the code at a position, in fractions of the image
  function partOf(position) {
    const [h, w] = area, m = Math.floor(position / books);
    return [Math.floor(m / w) / h, (m % w) / w, 1 / h, 1 / w];
  }

  // Test images; without any, one grid of codes drawn at random.

  const pixels = unpack(run.examples.pixels).data, exampleCodes = unpack(run.examples.codes).data;
  const count = run.examples.names.length;
  const names = count ? run.examples.names.map((name) => "test image " + name) : ["codes at random"];

  function original(i) {
    const P = height * width * channels, bytes = pixels.subarray(i * P, (i + 1) * P);
    const scaled = (value) => spec.low + (spec.high - spec.low) * value / 255;
    return array(spec.data_shape, Float32Array.from(bytes, scaled));
  }

  function codesOf(i) {
    if (count) return Array.from(exampleCodes.subarray(i * M, (i + 1) * M));
    const u = random(run.seed);
    return Array.from({ length: M }, () => Math.floor(u() * K));
  }

  // Codes: their use, their places on the map, and their colours.

  const totals = Array.from({ length: books }, (_, book) =>
    counts.subarray(book * K, (book + 1) * K).reduce((a, b) => a + b, 0));
  const share = (book, k) => (totals[book] ? counts[book * K + k] / totals[book] : 0);
  const useOf = (book, k) => (totals[book] ? `; ${(100 * share(book, k)).toFixed(2)} % of all codes` : "");
  const place = (book, k) => [map[2 * (book * K + k)], map[2 * (book * K + k) + 1]];
  const reach = totals.map((_, book) => {
    let most = 1e-9;
    for (let k = 0; k < K; k++) most = Math.max(most, Math.hypot(...place(book, k)));
    return most;
  });

  // The angle of the place is the hue, the distance from the centre the strength of the colour.
  function colourOf(book, k) {
    const [x, y] = place(book, k), chroma = 0.11 * Math.sqrt(Math.hypot(x, y) / reach[book]);
    const hue = Math.atan2(y, x) * 180 / Math.PI + 360;
    return `oklch(var(--code) ${chroma.toFixed(3)} ${hue.toFixed(0)})`;
  }

  // The codes in the order of their distance from code k: [[code, distance], ...]
  function nearest(book, k) {
    const own = decoder.vector(k, book), found = [];
    for (let j = 0; j < K; j++) if (j !== k) found.push([j, distance(own, decoder.vector(j, book))]);
    return found.sort((a, b) => a[1] - b[1]);
  }

  // Grids of codes.

  function where(m) {
    return spec.latent_shape.length > 1 ? `row ${Math.floor(m / columns) + 1}, column ${m % columns + 1}` : `position ${m + 1}`;
  }

  // M cells in rows, made by cell(m)
  function makeGrid(parent, role, cell) {
    parent.style.setProperty("--columns", columns);
    const cells = Array.from({ length: M }, (_, m) => cell(m));
    for (let m = 0; m < M; m += columns) {
      parent.append(element("div", { class: "row", ...role }, ...cells.slice(m, m + columns)));
    }
    return cells;
  }

  function fill(cell, m, k) {
    cell.textContent = k ?? "";
    cell.style.background = k === undefined ? "" : colourOf(m % books, k);
  }

  return {
    run, find, spec, decoder, books, K, M, latents, rows, columns, height, width, area, count, names, totals,
    element, number, options, paint, difference, rms, stretched, partOf, original, codesOf, share, useOf, place,
    colourOf, nearest, where, makeGrid, fill,
  };
}
