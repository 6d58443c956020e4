/** Weights of the bases, and what is mixed by them. */

/** Numbers of a Gaussian that are mixed: offset, quaternion, logarithm of scale, logit, color. */
export const ATTRIBUTES = [3, 4, 3, 1, 3];
/** The same of a baked network: offset, change of the rotation, change of the scale. */
export const BAKED_ATTRIBUTES = [3, 4, 3];

/** Neighboring Gaussians that share the scales of the bases. */
export const BLOCK = 512;

/** The small network that turns a code into weights of the bases. */
export class Mixture {
  constructor(payload, counts) {
    const { code, bases, hidden } = counts;
    /** Inputs: the code and, of `blendshapes`, the head's rotation. */
    this._inputs = payload.meta.model === "blendshapes" ? code + 6 : code;
    const inputs = this._inputs;
    const part = (name, shape) => payload.array(`network/${name}`, shape);
    this._hidden = part("hidden", [hidden, inputs]);
    this._hiddenBias = part("hidden_bias", [hidden]);
    this._output = part("output", [bases, hidden]);
    this._outputBias = part("output_bias", [bases]);
    this._linear = part("linear", [bases, inputs]);
    this._mean = part("mean", [inputs]);
    this._scale = part("scale", [inputs]);
    this._range = part("range", [2, inputs]);
    this._input = new Float32Array(inputs);
    this._layer = new Float32Array(hidden);
  }

  /** Fills (K) weights for a code and the head's rotation to the subject's camera. */
  weights(code, R, out) {
    const inputs = this._inputs;
    const input = this._input;
    input.set(code);
    // A frontal head is the identity: the first two rows of diag(1, -1, -1) R.
    if (inputs > code.length) {
      input.set([R[0], R[1], R[2], -R[3], -R[4], -R[5]], code.length);
    }
    for (let i = 0; i < inputs; i++) {
      const held = Math.min(Math.max(input[i], this._range[i]), this._range[inputs + i]);
      input[i] = (held - this._mean[i]) / this._scale[i];
    }
    const layer = this._layer;
    for (let h = 0, at = 0; h < layer.length; h++) {
      let sum = this._hiddenBias[h];
      for (let i = 0; i < inputs; i++) sum += this._hidden[at++] * input[i];
      layer[h] = Math.max(sum, 0);
    }
    for (let k = 0, at = 0, to = 0; k < out.length; k++) {
      let sum = this._outputBias[k];
      for (let i = 0; i < inputs; i++) sum += this._linear[at++] * input[i];
      for (let h = 0; h < layer.length; h++) sum += this._output[to++] * layer[h];
      out[k] = sum;
    }
  }
}

/** The offsets of Gaussians, mixed here as well as on the GPU, because depth follows from them. */
export class Offsets {
  constructor(payload, name, count, bases, baked) {
    const attributes = baked ? BAKED_ATTRIBUTES : ATTRIBUTES;
    const numbers = count * attributes.reduce((sum, size) => sum + size, 0);
    const blocks = Math.ceil(count / BLOCK);
    const scales = payload.array(`${name}/scales`, [bases, blocks, attributes.length]);
    this._base = payload.array(`${name}/base`, [numbers]).slice(0, 3 * count);
    const all = payload.array(`${name}/offsets`, [bases, 3 * count]);
    this._bases = Array.from({ length: bases }, (_, k) => all.subarray(3 * count * k, 3 * count * (k + 1)));
    this._scales = scales.filter((_, i) => i % attributes.length === 0); // (K, blocks)
    /** (N, 3) of the last weights. */
    this.mixed = new Float32Array(3 * count);
  }

  mix(weights) {
    const mixed = this.mixed;
    mixed.set(this._base);
    for (let k = 0, block = 0; k < this._bases.length; k++) {
      const basis = this._bases[k];
      for (let start = 0; start < mixed.length; start += 3 * BLOCK, block++) {
        const factor = weights[k] * this._scales[block];
        if (factor === 0) continue;
        const end = Math.min(start + 3 * BLOCK, mixed.length);
        for (let i = start; i < end; i++) mixed[i] += factor * basis[i];
      }
    }
  }
}
