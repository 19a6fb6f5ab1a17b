// Walk between two images: the codes of one are replaced by those of the other, one at a time.
"use strict";

function startWalk(view) {
  const {
    run, find, decoder, books, count, names, element, number, options, paint, difference, rms, original, codesOf,
    where,
  } = view;
  const { distance, random } = vqnp, STEP_MS = 150;
  const walk = { order: [], images: [], batch: 0, timer: 0 };
  if (count < 2) {
    find("walk").hidden = true;
    return walk;
  }
  const slider = find("step"), bars = find("steps"), button = find("play");

  // The order in which codes are replaced.
  function orderOf(a, b) {
    const order = a.map((_, m) => m).filter((m) => a[m] !== b[m]), kind = find("order").value;
    const far = (m) => distance(decoder.vector(a[m], m % books), decoder.vector(b[m], m % books));
    if (kind === "near") return order.sort((m, n) => far(m) - far(n));
    if (kind === "far") return order.sort((m, n) => far(n) - far(m));
    if (kind === "random") {
      const u = random(run.seed), keys = new Map(order.map((m) => [m, u()]));
      return order.sort((m, n) => keys.get(m) - keys.get(n));
    }
    return order;
  }

  // Begin at the first image; the images on the way are decoded one after the other.
  function plan() {
    const from = Number(find("from").value), to = Number(find("to").value), a = codesOf(from), b = codesOf(to);
    const batch = walk.batch + 1;
    Object.assign(walk, { a, b, batch, order: orderOf(a, b), images: [decoder.decode(a)] });
    stop();
    slider.max = walk.order.length;
    slider.value = 0;
    paint(find("walk-from"), original(from), `Original: ${names[from]}`);
    paint(find("walk-to"), original(to), `Original: ${names[to]}`);
    bars.replaceChildren();
    step(0);
    const more = () => {
      if (batch !== walk.batch) return;
      if (walk.images.length > walk.order.length) return drawBars();
      imageAt(walk.images.length);
      setTimeout(more);
    };
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

  const change = (n) => rms(difference(imageAt(n), imageAt(n - 1)));

  function step(n) {
    const total = walk.order.length;
    walk.at = n;
    paint(find("walk-now"), imageAt(n), `Image with ${n} of ${total} codes replaced`);
    slider.setAttribute("aria-valuetext", `${n} of ${total} codes replaced`);
    const last = n ? `; the last, ${where(walk.order[n - 1])}, changed the image by ${number(change(n))}` : "";
    find("walked").textContent = total
      ? `${n} of the ${total} codes in which the two images differ are replaced${last}${n ? " (root mean square)" : ""}.`
      : "The two images have the same codes.";
    Array.from(bars.children).forEach((bar, i) => bar.classList.toggle("done", i < n));
  }

  // How much each step changes the image.
  function drawBars() {
    const sizes = walk.order.map((_, i) => change(i + 1)), most = Math.max(...sizes, 1e-9), n = sizes.length;
    bars.setAttribute("viewBox", `0 0 ${Math.max(n, 1)} 20`);
    bars.setAttribute("aria-label", `Change of the image at each of ${n} steps, at most ${number(most)}`);
    bars.replaceChildren(...sizes.map((value, i) =>
      element("rect", { x: i + 0.1, y: 20 - 20 * value / most, width: 0.8, height: 20 * value / most })));
    step(Number(slider.value));
  }

  function play() {
    if (walk.timer) return stop();
    if (Number(slider.value) >= walk.order.length) slider.value = 0;
    button.textContent = "Stop";
    walk.timer = setInterval(() => {
      const n = Number(slider.value) + 1;
      if (n > walk.order.length) return stop();
      slider.value = n;
      step(n);
    }, STEP_MS);
  }

  function stop() {
    clearInterval(walk.timer);
    walk.timer = 0;
    button.textContent = "Play";
  }

  options(find("from"), names);
  options(find("to"), names);
  find("to").value = 1;
  for (const id of ["from", "to", "order"]) find(id).addEventListener("change", plan);
  slider.addEventListener("input", () => step(Number(slider.value)));
  button.addEventListener("click", play);
  plan();
  return walk;
}
