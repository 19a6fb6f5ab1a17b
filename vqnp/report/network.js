// The layers and the decoder of a run in plain JavaScript: one example at a time, float32 between layers.
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

  function bytesOf(text) {
    const characters = atob(text), bytes = new Uint8Array(characters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
    return bytes;
  }

  // The data with every {shape, type, deflate} in it, at any depth, as {shape, type, bytes}.
  async function inflate(data) {
    if (Array.isArray(data)) return Promise.all(data.map(inflate));
    if (data === null || typeof data !== "object") return data;
    if (data.deflate === undefined) {
      const parts = Object.entries(data).map(async ([name, value]) => [name, await inflate(value)]);
      return Object.fromEntries(await Promise.all(parts));
    }
    const stream = new Blob([bytesOf(data.deflate)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const planes = new Uint8Array(await new Response(stream).arrayBuffer()), n = size(data.shape);
    return { shape: data.shape, type: data.type, bytes: planes.map((_, i) => {
      const width = planes.length / n;
      return planes[(i % width) * n + Math.floor(i / width)];
    }) };
  }

  // An array from {shape, type, base64} or {shape, type, bytes}: little-endian numbers.
  function unpack(packed) {
    const bytes = packed.bytes || bytesOf(packed.base64);
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

  function distance(a, b) {
    return Math.sqrt(a.reduce((sum, value, d) => sum + (value - b[d]) ** 2, 0));
  }

  return {
    Decoder, build, inflate, array, unpack, unpackAll, erf, sigmoid, linear, add, activation, layerNorm,
    distance,
  };
})();
