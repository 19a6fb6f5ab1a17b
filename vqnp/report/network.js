// The decoder and the priors of a run in plain JavaScript: one example at a time, float32 between layers.
//
// An array is {shape, data}; the layout is vqnp's, channels last: (H, W, C), and (T, C) is (1, T, C).
// Sums are accumulated in float64 and then rounded to float32, so a number may differ from NumPy's in its
// last bits. tests/report compares every layer with NumPy.
"use strict";

const vqnp = (function () {
  // Arrays.

  const size = (shape) => shape.reduce((a, b) => a * b, 1);
  const array = (shape, data) => ({ shape, data: data || new Float32Array(size(shape)) });

  // The value of 16 bits: a sign, 5 bits of exponent and 10 of mantissa.
  function half(bits) {
    const sign = bits & 0x8000 ? -1 : 1, e = (bits >> 10) & 31, m = bits & 1023;
    if (e === 31) return m ? NaN : sign * Infinity;
    return sign * (e ? (1 + m / 1024) * 2 ** (e - 15) : m * 2 ** -24);
  }

  const TYPES = { float32: Float32Array, uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array };

  // An array from {shape, type, base64}: little-endian numbers.
  function unpack(packed) {
    const text = atob(packed.base64), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    if (packed.type === "float16") {
      const bits = new Uint16Array(bytes.buffer);
      return array(packed.shape, Float32Array.from(bits, half));
    }
    return array(packed.shape, new TYPES[packed.type](bytes.buffer));
  }

  const unpackAll = (packed) =>
    Object.fromEntries(Object.entries(packed).map(([name, a]) => [name, unpack(a)]));

  // Elementwise functions.

  // erf(x) = 2/sqrt(pi) exp(-x^2) (x + 2 x^3/3 + 4 x^5/15 + ...), all terms of one sign; beyond 6 it is 1.
  function erf(x) {
    const a = Math.abs(x);
    if (a > 6) return Math.sign(x);
    let term = a, sum = a;
    for (let n = 1; term > sum * 1e-17; n++) {
      term *= 2 * a * a / (2 * n + 1);
      sum += term;
    }
    return Math.sign(x) * 2 / Math.sqrt(Math.PI) * Math.exp(-a * a) * sum;
  }

  const sigmoid = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

  const ACTIVATIONS = {
    relu: (x) => Math.max(x, 0),
    gelu: (x) => x * 0.5 * (1 + erf(x / Math.SQRT2)),
    tanh: Math.tanh,
    sigmoid,
    silu: (x) => x * sigmoid(x),
    leaky_relu: (x) => Math.max(x, 0.01 * x),
  };

  // Layers.

  // y = x W + b; x: (..., I), W: (I, O), b: (O,) -> (..., O)
  function linear(x, W, b) {
    const [I, O] = W.shape, rows = x.data.length / I, y = array([...x.shape.slice(0, -1), O]);
    const sum = new Float64Array(O);
    for (let n = 0; n < rows; n++) {
      sum.set(b.data);
      for (let i = 0; i < I; i++) {
        const value = x.data[n * I + i];
        if (value === 0) continue;
        for (let o = 0, w = i * O; o < O; o++, w++) sum[o] += value * W.data[w];
      }
      y.data.set(sum, n * O);
    }
    return y;
  }

  // Arrays with one axis of space as arrays with two, the first of length 1.
  const plane = (shape) => (shape.length === 2 ? [1, ...shape] : shape);
  const pair = (value, ndim, first) => (ndim === 1 ? [first, value[0]] : value);

  // y_i = b + sum_k x_{s i + d k - p} W_k; W: (*k, C, O)
  function conv(x, W, b, layer) {
    const n = layer.ndim, [H, V, C] = plane(x.shape);
    const [kh, kw] = n === 1 ? [1, W.shape[0]] : W.shape, O = W.shape.at(-1);
    const [sh, sw] = pair(layer.stride, n, 1), [dh, dw] = pair(layer.dilation, n, 1);
    const [[top, bottom], [left, right]] = pair(layer.padding, n, [0, 0]);
    const h = Math.floor((H + top + bottom - dh * (kh - 1) - 1) / sh) + 1;
    const v = Math.floor((V + left + right - dw * (kw - 1) - 1) / sw) + 1;
    const y = array(n === 1 ? [v, O] : [h, v, O]), sum = new Float64Array(O);
    for (let i = 0; i < h; i++) for (let j = 0; j < v; j++) {
      sum.set(b.data);
      for (let a = 0; a < kh; a++) for (let c = 0; c < kw; c++) {
        const r = sh * i + dh * a - top, s = sw * j + dw * c - left;
        if (r < 0 || r >= H || s < 0 || s >= V) continue;
        let w = (a * kw + c) * C * O;
        for (let t = (r * V + s) * C, end = t + C; t < end; t++, w += O) {
          const value = x.data[t];
          if (value === 0) continue;
          for (let o = 0; o < O; o++) sum[o] += value * W.data[w + o];
        }
      }
      y.data.set(sum, (i * v + j) * O);
    }
    return y;
  }

  // y_j = b + sum of x_i W_k^T over s i + d k - p = j; W: (*k, O, C)
  function convTranspose(x, W, b, layer) {
    const n = layer.ndim, [H, V, C] = plane(x.shape);
    const [kh, kw] = n === 1 ? [1, W.shape[0]] : W.shape, O = W.shape.at(-2);
    const [sh, sw] = pair(layer.stride, n, 1), [dh, dw] = pair(layer.dilation, n, 1);
    const [[top, bottom], [left, right]] = pair(layer.padding, n, [0, 0]);
    const [oh, ow] = pair(layer.output_padding, n, 0);
    const h = sh * (H - 1) + dh * (kh - 1) + 1 - top - bottom + oh;
    const v = sw * (V - 1) + dw * (kw - 1) + 1 - left - right + ow;
    const sum = new Float64Array(h * v * O);
    for (let j = 0; j < h * v; j++) sum.set(b.data, j * O);
    for (let i = 0; i < H; i++) for (let j = 0; j < V; j++) {
      const first = (i * V + j) * C;
      for (let a = 0; a < kh; a++) for (let c = 0; c < kw; c++) {
        const r = sh * i + dh * a - top, s = sw * j + dw * c - left;
        if (r < 0 || r >= h || s < 0 || s >= v) continue;
        for (let o = 0; o < O; o++) {
          let w = ((a * kw + c) * O + o) * C, value = 0;
          for (let t = first; t < first + C; t++, w++) value += x.data[t] * W.data[w];
          sum[(r * v + s) * O + o] += value;
        }
      }
    }
    return array(n === 1 ? [v, O] : [h, v, O], Float32Array.from(sum));
  }

  function add(x, y) {
    return array(x.shape, x.data.map((value, i) => value + y.data[i]));
  }

  function activation(x, name) {
    return array(x.shape, x.data.map(ACTIVATIONS[name]));
  }

  // y = gamma (x - mu)/sqrt(sigma^2 + epsilon) + beta over the last axis
  function layerNorm(x, gamma, beta, epsilon) {
    const C = gamma.data.length, y = array(x.shape);
    for (let n = 0; n < x.data.length; n += C) {
      let mean = 0, variance = 0;
      for (let c = 0; c < C; c++) mean += x.data[n + c] / C;
      for (let c = 0; c < C; c++) variance += (x.data[n + c] - mean) ** 2 / C;
      const scale = 1 / Math.sqrt(variance + epsilon);
      for (let c = 0; c < C; c++) {
        y.data[n + c] = gamma.data[c] * (x.data[n + c] - mean) * scale + beta.data[c];
      }
    }
    return y;
  }

  // A module from its description, as vqnp.nn.describe gives it; arrays: by their names in state_dict.
  function build(description, arrays, prefix = "", before = []) {
    if (description.module === "the same as") {  // state_dict has its arrays under this name, too
      return build(before[description.number], arrays, prefix, before.slice());
    }
    const own = (name) => arrays[prefix + name];
    const inner = (name, part) => build(part, arrays, prefix + name + ".", before);
    let forward;
    switch (description.module) {
      case "Sequential": {
        const layers = description.layers.map((layer, i) => inner(i, layer));
        forward = (x) => layers.reduce((value, layer) => layer(value), x);
        break;
      }
      case "Residual": {
        const f = inner("inner", description.inner);
        forward = (x) => add(x, f(x));
        break;
      }
      case "Linear": forward = (x) => linear(x, own("W"), own("b")); break;
      case "Conv": forward = (x) => conv(x, own("W"), own("b"), description); break;
      case "ConvTranspose": forward = (x) => convTranspose(x, own("W"), own("b"), description); break;
      case "Activation": forward = (x) => activation(x, description.name); break;
      case "Flatten": forward = (x) => array([x.data.length], x.data); break;
      case "Reshape": forward = (x) => array(description.shape, x.data); break;
      default: throw new Error(`unknown layer ${description.module}`);
    }
    before.push(description);
    return forward;
  }

  // Codes to an image: z_q is the sum over the codebooks, whose vectors are (n, K, D).
  class Decoder {
    constructor(live) {
      this.shape = live.latent_shape;
      this.tables = unpack(live.tables);
      this.network = build(live.layers, unpackAll(live.arrays));
      this.spec = live;
      [this.books, this.size, this.dim] = this.tables.shape;
    }

    // The vector of code k of codebook i.
    vector(k, i = 0) {
      const first = (i * this.size + k) * this.dim;
      return this.tables.data.subarray(first, first + this.dim);
    }

    latents(codes) {
      const { books, dim } = this, z = array([...this.shape, dim]);
      codes.forEach((k, m) => {
        const at = Math.floor(m / books) * dim;
        this.vector(k, m % books).forEach((value, d) => (z.data[at + d] += value));
      });
      return z;
    }

    // The image of M codes, or of M n of n codebooks, in the data's range.
    decode(codes) {
      return this.image(this.latents(codes));
    }

    image(z) {
      const { low, high, likelihood, epsilon } = this.spec, x = this.network(z);
      if (likelihood === "logit_laplace") {
        const mu = x.data.filter((_, i) => i % 2 === 0);
        const unit = (value) => Math.min(1, Math.max(0, (sigmoid(value) - epsilon) / (1 - 2 * epsilon)));
        return array(x.shape.slice(0, -1), mu.map(unit));
      }
      return array(x.shape, x.data.map((value) => Math.min(high, Math.max(low, value))));
    }
  }

  // Priors: logits(codes, condition) are those of the code after these codes, in raster order.

  const row = (x, i) => {
    const C = x.shape.at(-1);
    return x.data.subarray(i * C, (i + 1) * C);
  };

  class Transformer {
    constructor(spec) {
      this.spec = spec;
      this.arrays = unpackAll(spec.arrays);
      this.kept = new Map();
    }

    // The vectors before the first code: the words or the class, if there is a condition, and the start.
    prefix(condition) {
      const a = this.arrays, { words, num_classes } = this.spec;
      if (words) return [a.text_start.data, ...condition.map((t) => row(a["text.E"], t)), a.start.data];
      return num_classes ? [row(a["classes.E"], condition), a.start.data] : [a.start.data];
    }

    // The keys and values of what has been read are kept, one state for each condition.
    logits(codes, condition) {
      const name = JSON.stringify(condition ?? null);
      let state = this.kept.get(name);
      if (!state || state.codes.length > codes.length || state.codes.some((k, i) => k !== codes[i])) {
        state = { codes: [], length: 0, keys: [], values: [], last: null };
        for (const vector of this.prefix(condition)) this.read(state, vector);
        this.kept.set(name, state);
      }
      for (const k of codes.slice(state.codes.length)) {
        this.read(state, row(this.arrays["embedding.E"], k));
        state.codes.push(k);
      }
      return Float64Array.from(this.output(state.last));
    }

    // x = vector + position; x += attention(norm(x)); x += mlp(norm(x)) for each block
    read(state, vector) {
      const a = this.arrays, position = row(a.positions, state.length);
      let x = array([vector.length], vector.map((value, c) => value + position[c]));
      for (let l = 0; l < this.spec.layers; l++) {
        const p = `blocks.${l}.`, part = (name) => [a[`${p}${name}.W`], a[`${p}${name}.b`]];
        x = add(x, linear(this.attention(state, l, linear(this.norm(x, p + "attention_norm"),
          ...part("attention.qkv"))), ...part("attention.out")));
        const wide = activation(linear(this.norm(x, p + "mlp_norm"), ...part("mlp.0")), "gelu");
        x = add(x, linear(wide, ...part("mlp.2")));
      }
      state.length += 1;
      state.last = x;
    }

    norm(x, name) {
      return layerNorm(x, this.arrays[name + ".gamma"], this.arrays[name + ".beta"], this.spec.epsilon);
    }

    // o = softmax(q k^T/sqrt(d)) v of each head; qkv: (3 C,), of which C is (heads, d)
    attention(state, l, qkv) {
      const { heads } = this.spec, C = qkv.data.length / 3, d = C / heads, o = array([C]);
      const keys = (state.keys[l] ||= []), values = (state.values[l] ||= []), q = qkv.data;
      keys.push(q.slice(C, 2 * C));
      values.push(q.slice(2 * C));
      for (let h = 0; h < C; h += d) {
        const score = keys.map((k) => {
          let sum = 0;
          for (let c = h; c < h + d; c++) sum += q[c] * k[c];
          return sum / Math.sqrt(d);
        });
        const p = softmax(score);
        for (let c = h; c < h + d; c++) o.data[c] = values.reduce((sum, v, i) => sum + p[i] * v[c], 0);
      }
      return o;
    }

    output(x) {
      const h = this.norm(x, "norm"), a = this.arrays;
      if (!this.spec.tied) return linear(h, a["head.W"], a["head.b"]).data;
      const E = a["embedding.E"];
      return Float32Array.from({ length: E.shape[0] }, (_, k) =>
        row(E, k).reduce((sum, value, c) => sum + value * h.data[c], 0));
    }
  }

  // Which positions, relative to its own, a stack of a PixelCNN reads (vqnp/priors/gated_blocks.py).
  const TAPS = {
    above: (r, own) => taps(-r, own ? 0 : -1, (i) => [-r, r]),
    left: (r, own) => taps(0, 0, () => [-r, own ? 0 : -1]),
    before: (r, own) => taps(-r, 0, (i) => [-r, i < 0 ? r : own ? 0 : -1]),
  };

  function taps(first, last, columns) {
    const found = [];
    for (let i = first; i <= last; i++) {
      const [from, to] = columns(i);
      for (let j = from; j <= to; j++) found.push([i, j]);
    }
    return found;
  }

  // y_i = b + sum_t x_{i + o_t} W_t; x: (rows, V, C), W: (T, C, O); outside of x there are zeros
  function gather(x, W, b, offsets) {
    const [H, V, C] = x.shape, O = b.data.length, y = array([H, V, O]), sum = new Float64Array(O);
    for (let i = 0; i < H; i++) for (let j = 0; j < V; j++) {
      sum.set(b.data);
      offsets.forEach(([di, dj], t) => {
        const r = i + di, s = j + dj;
        if (r < 0 || r >= H || s < 0 || s >= V) return;
        for (let c = 0; c < C; c++) {
          const value = x.data[(r * V + s) * C + c], w = (t * C + c) * O;
          if (value === 0) continue;
          for (let o = 0; o < O; o++) sum[o] += value * W.data[w + o];
        }
      });
      y.data.set(sum, (i * V + j) * O);
    }
    return y;
  }

  // tanh(a) sigmoid(b), (a, b) = x + c
  function gate(x, c) {
    const C = x.shape.at(-1) / 2, y = array([...x.shape.slice(0, -1), C]);
    const at = (n, i) => x.data[2 * C * n + i] + (c ? c[i] : 0);
    for (let i = 0; i < y.data.length; i++) {
      const n = Math.floor(i / C), j = i % C;
      y.data[i] = Math.tanh(at(n, j)) * sigmoid(at(n, C + j));
    }
    return y;
  }

  class PixelCNN {
    constructor(spec) {
      this.spec = spec;
      this.arrays = unpackAll(spec.arrays);
    }

    // All rows up to the position's own are computed; codes that are not known yet act on later ones only.
    logits(codes, condition) {
      const { grid_shape, layers, num_classes } = this.spec, a = this.arrays, W = grid_shape[1];
      const rows = Math.floor(codes.length / W) + 1, two = this.spec.stacks === 2;
      const known = Array.from({ length: rows * W }, (_, m) => codes[m] ?? 0);
      let v = null, h = null;
      for (let l = 0; l <= layers; l++) {
        const p = `blocks.${l}.`, part = (name) => [a[`${p}${name}.W`], a[`${p}${name}.b`]];
        const c = num_classes ? row(a[p + "classes.E"], condition) : null;
        const C2 = 2 * a[p + "out.b"].data.length;
        const cH = c && c.subarray(0, C2), cV = c && c.subarray(C2);
        let H;
        if (two) {
          const V = this.convolved(l, "above", v, known, rows);
          H = add(this.convolved(l, "left", h, known, rows), linear(V, ...part("link")));
          if (l < layers) v = l ? add(v, gate(V, cV)) : gate(V, cV);
        } else {
          H = this.convolved(l, "before", h, known, rows);
        }
        const out = linear(gate(H, cH), ...part("out"));
        h = l ? add(h, out) : out;
      }
      const last = array([h.shape[2]], row(h, codes.length).map((value) => Math.max(value, 0)));
      const wide = activation(linear(last, a["head.1.W"], a["head.1.b"]), "relu");
      return Float64Array.from(linear(wide, a["head.3.W"], a["head.3.b"]).data);
    }

    convolved(l, stack, x, codes, rows) {
      const p = `blocks.${l}.${stack}.`, a = this.arrays, W = this.spec.grid_shape[1];
      const offsets = TAPS[stack](((l ? this.spec.kernel : this.spec.first_kernel) - 1) / 2, l > 0);
      if (l) return gather(x, a[p + "W"], a[p + "b"], offsets);
      const E = a[p + "E"], D = E.shape[1], e = array([rows, W, D]);
      codes.forEach((k, m) => e.data.set(row(E, k), m * D));
      return gather(e, a[p + "U"], a[p + "b"], offsets);
    }
  }

  // log p_m(j | i) from the codes of n images, (n, M): counts of codes and of pairs of neighbours
  class Markov {
    constructor(spec) {
      this.spec = spec;
      this.codes = unpack(spec.codes);
    }

    logits(codes) {
      const m = codes.length, { num_embeddings: K, order, weight } = this.spec, [n, M] = this.codes.shape;
      const p = new Float64Array(K), after = new Float64Array(K);
      let seen = 0;
      for (let i = 0; i < n; i++) {
        const k = this.codes.data[i * M + m];
        p[k] += 1;
        if (m && this.codes.data[i * M + m - 1] === codes[m - 1]) {
          after[k] += 1;
          seen += 1;
        }
      }
      const alone = p.map((count) => (count + 0.5) / (n + K / 2));
      if (!m || !order) return alone.map(Math.log);
      return alone.map((value, k) => Math.log((after[k] + weight * value) / (seen + weight)));
    }
  }

  const PRIORS = { transformer: Transformer, pixelcnn: PixelCNN, markov: Markov };

  // Probabilities and draws, as in vqnp/priors/sampling.py.

  // softmax(a/T)
  function softmax(a, temperature = 1) {
    const top = a.reduce((x, y) => Math.max(x, y), -Infinity);
    const p = Float64Array.from(a, (value) => Math.exp((value - top) / temperature));
    const sum = p.reduce((x, y) => x + y, 0);
    return p.map((value) => value / sum);
  }

  // null + s (cond - null)
  const guide = (cond, none, s) => cond.map((value, k) => none[k] + s * (value - none[k]));

  // min {k : p_0 + ... + p_k > u}
  function draw(p, u) {
    let sum = 0, last = 0;
    for (let k = 0; k < p.length; k++) {
      if (p[k] > 0) last = k;
      sum += p[k];
      if (p[k] > 0 && sum > u) return k;
    }
    return last;
  }

  // Numbers in [0, 1) that depend on the seed and on how many have been drawn (splitmix32).
  function random(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x9e3779b9) >>> 0;
      let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
    };
  }

  function distance(a, b) {
    return Math.sqrt(a.reduce((sum, value, d) => sum + (value - b[d]) ** 2, 0));
  }

  return {
    Decoder, PRIORS, build, layerNorm, array, unpack, unpackAll, erf, softmax, guide, draw, random, distance,
  };
})();

if (typeof module !== "undefined") module.exports = vqnp;
