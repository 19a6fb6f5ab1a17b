// Draw from the prior: code by code, with the probabilities of the next one.
"use strict";

function startDrawing(view, prior) {
  const {
    run, find, decoder, books, K, M, latents, totals, element, paint, share, where, makeGrid, fill,
  } = view;
  const { softmax, guide, draw, random } = vqnp, LIKELIEST = 10;
  const { words, text_length: length, num_classes: classes } = run.prior;
  const drawing = { codes: [], bits: [], numbers: [], timer: 0 };
  const none = words ? Array(length).fill(words.length + 1) : classes || undefined;
  const cells = makeGrid(find("drawn-grid"), {}, () => element("span")), mean = meanVector();
  let condition = none, next = random(0);

  // The mean of the codes as they are used, for codes that are not drawn yet.
  function meanVector() {
    const z = new Float64Array(decoder.dim);
    for (let book = 0; book < books; book++) for (let k = 0; k < K; k++) {
      const weight = totals[book] ? share(book, k) : 1 / K;
      decoder.vector(k, book).forEach((value, d) => (z[d] += weight * value));
    }
    return z;
  }

  // The integers of a caption, as vqnp.data.vocabulary has them: the end after the last word.
  function encode(text) {
    const bare = (word) => word.replace(/^[.,;:!?"'()[\]]+|[.,;:!?"'()[\]]+$/g, "");
    const found = text.toLowerCase().split(/\s+/).map(bare).filter(Boolean);
    if (!found.length) return none;
    if (found.length > length) throw new Error(`A text has at most ${length} words, and this one ${found.length}.`);
    const unknown = found.find((word) => !words.includes(word));
    if (unknown) throw new Error(`The prior does not know the word ${unknown}.`);
    return Array.from({ length }, (_, i) => (i < found.length ? words.indexOf(found[i]) : words.length));
  }

  function addClasses() {
    const select = element("select", { id: "class" }, element("option", { value: classes }, "any"));
    for (let c = 0; c < classes; c++) select.append(element("option", { value: c }, String(c)));
    select.addEventListener("change", () => {
      condition = Number(select.value);
      restart();
    });
    find("condition").append(element("label", {}, "Class ", select));
  }

  function addText() {
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
    const known = element("p", { class: "note" }, `Words that the prior knows: ${words.join(", ")}.`);
    find("condition").closest(".controls").after(known);
  }

  function setting(id) {
    const value = Number(find(id).value);
    return Number.isFinite(value) && value >= Number(find(id).min) ? value : 1;
  }

  function probabilities() {
    const s = setting("guidance");
    let a = prior.logits(drawing.codes, condition);
    if (none !== undefined && s !== 1) a = guide(a, prior.logits(drawing.codes, none), s);
    return softmax(a, setting("temperature"));
  }

  function restart() {
    halt();
    Object.assign(drawing, { codes: [], bits: [], numbers: [] });
    next = random(Math.max(0, Math.floor(Number(find("seed").value))) || 0);
    show();
  }

  function put(k) {
    if (drawing.codes.length >= M) return;
    drawing.bits.push(-Math.log2(drawing.p[k]));
    drawing.codes.push(k);
    show();
  }

  // Number m of the seed decides position m, so that a code that was taken back is drawn again.
  function drawOne() {
    const { codes, numbers, p } = drawing, m = codes.length;
    while (numbers.length <= m) numbers.push(next());
    if (m < M) put(draw(p, numbers[m]));
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

  function halt() {
    clearTimeout(drawing.timer);
    drawing.timer = 0;
    find("rest").textContent = "Draw the rest";
  }

  function takeBack() {
    halt();
    drawing.codes.pop();
    drawing.bits.pop();
    show();
  }

  function show() {
    const known = drawing.codes.length, z = decoder.latents(drawing.codes.slice(0, known - known % books));
    for (let m = Math.floor(known / books); m < latents; m++) z.data.set(mean, m * decoder.dim);
    paint(find("drawn"), decoder.image(z), `Image of ${known} of ${M} codes drawn from the prior`);
    cells.forEach((cell, m) => {
      fill(cell, m, drawing.codes[m]);
      cell.classList.toggle("next", m === known);
    });
    find("next").disabled = find("rest").disabled = known === M;
    find("unstep").disabled = !known;
    const bits = drawing.bits.reduce((a, b) => a + b, 0).toFixed(1);
    if (known === M) {
      find("odds").replaceChildren(element("li", { class: "note" }, "All codes are drawn."));
      find("drawn-text").textContent = `${M} codes, ${bits} bits: −log₂ of the probability with which they are drawn.`;
      return;
    }
    const p = (drawing.p = probabilities());
    const entropy = p.reduce((sum, value) => (value > 0 ? sum - value * Math.log2(value) : sum), 0);
    showOdds(p);
    find("drawn-text").textContent = `${known} of ${M} codes drawn, ${bits} bits so far; the next one, `
      + `${where(known)}, has ${entropy.toFixed(2)} bits on average.`;
  }

  // A button with a bar for each of the likeliest codes.
  function showOdds(p) {
    const list = find("odds"), focused = list.contains(document.activeElement);
    const order = Array.from(p.keys()).sort((i, j) => p[j] - p[i]).slice(0, LIKELIEST);
    const percent = (value) => `${(100 * value).toFixed(1)} %`;
    const items = order.map((k) => {
      const bar = element("span", { class: "bar" });
      bar.style.width = `${100 * p[k]}%`;
      const button = element("button", { type: "button" }, element("span", { class: "name" }, `code ${k}`),
        element("span", { class: "track" }, bar), element("span", { class: "percent" }, percent(p[k])));
      button.addEventListener("click", () => put(k));
      return element("li", {}, button);
    });
    const rest = Math.max(0, 1 - order.reduce((sum, k) => sum + p[k], 0));
    if (K > order.length) {
      items.push(element("li", { class: "note" }, `the other ${K - order.length} codes: ${percent(rest)}`));
    }
    list.replaceChildren(...items);
    if (focused) list.querySelector("button").focus();
  }

  if (classes) addClasses();
  if (words) addText();
  find("guidance-label").hidden = none === undefined;
  find("next").addEventListener("click", drawOne);
  find("rest").addEventListener("click", drawRest);
  find("again").addEventListener("click", restart);
  find("unstep").addEventListener("click", takeBack);
  find("seed").addEventListener("change", restart);
  for (const id of ["temperature", "guidance"]) find(id).addEventListener("change", show);
  restart();
  return drawing;
}
