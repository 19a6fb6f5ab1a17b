// The priors of a run in plain JavaScript: the logits of the next code, given the codes before it.
"use strict";

Object.assign(vqnp, (function () {
  const { array, unpack, unpackAll, sigmoid, linear, add, activation, layerNorm } = vqnp;

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

  return { PRIORS, softmax, guide, draw, random };
})());
