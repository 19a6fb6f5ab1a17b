// Start the live part of a report, and compare what this browser computes with NumPy's numbers.
"use strict";

(async function () {
  const data = document.getElementById("run").textContent;
  const run = await vqnp.inflate(JSON.parse(data)), view = makeView(run);
  const explorer = (window.explorer = { view }); // for the tests, and for whoever opens the console
  if (!run.decoder) return;
  const { find, spec, decoder, K, number } = view, { unpack, PRIORS } = vqnp;

  const largest = (a, b) => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);

  function check() {
    const found = decoder.decode(run.check.codes), short = (value) => value.toExponential(1);
    const agreement = { image: largest(found.data, unpack(run.check.image).data) };
    let text = "Computed in this browser, the image of codes drawn at random differs from NumPy's by at most "
      + short(agreement.image);
    if (run.prior) {
      const { codes, condition, positions, logits } = run.prior_check, known = unpack(logits).data;
      agreement.logits = Math.max(...positions.map((m, i) => {
        const own = explorer.prior.logits(codes.slice(0, m), condition ?? undefined);
        return largest(own, known.subarray(i * K, (i + 1) * K));
      }));
      text += `, and the prior's logits by at most ${short(agreement.logits)}`;
    }
    text += ": rounding in float32.";
    if (spec.precision === "float16") {
      text += " The decoder's weights are in float16, which changes this image by at most "
        + `${number(run.check.rounding)}.`;
    }
    if (run.prior?.precision === "float16") {
      text += " The prior's weights are in float16, which changes a probability of these codes by at most "
        + `${number(run.prior_check.rounding)}.`;
    }
    find("agreement").textContent = text;
    explorer.agreement = agreement;
  }

  explorer.state = startExchange(view);
  explorer.walk = startWalk(view);
  if (run.prior) {
    explorer.prior = new PRIORS[run.prior.kind](run.prior);
    explorer.drawing = startDrawing(view, explorer.prior);
  }
  setTimeout(check);
})();
