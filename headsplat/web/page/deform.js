/**
 * From frame codes to what the renderer draws: posed vertices, weights of the bases, and the
 * positions of all Gaussians, which give their order in depth.
 *
 * Equal, up to rounding, to `Avatar.gaussians` of the library. Lengths are in meters, in the head's
 * frame: x towards the subject's left, y up, the face looks to +z.
 */

import { PageError } from "./payload.js";
import { IDENTITY_6D, matrixFrom6d, product, quaternionOf } from "./rotation.js";

/** Numbers of a Gaussian that are mixed: offset, quaternion, logarithm of scale, logit, color. */
export const ATTRIBUTES = [3, 4, 3, 1, 3];
/** The same of a baked network: offset, change of the rotation, change of the scale. */
export const BAKED_ATTRIBUTES = [3, 4, 3];

/** Neighboring Gaussians that share the scales of the bases. */
export const BLOCK = 512;

const TURNING = 3; // joints: jaw, left eye, right eye
const TORSO_CODE = 9;
const MOST_GAUSSIANS = 2 ** 20;

/**
 * A head pose: the head's frame to the subject's camera (OpenCV axes), and the trunk's frame to
 * the head's.
 *
 * @typedef {object} Pose
 * @property {ArrayLike<number>} R nine numbers, row-major.
 * @property {ArrayLike<number>} t three numbers, meters.
 * @property {ArrayLike<number>|null} [trunk] twelve numbers, rows of the 3 x 4 matrix; without it
 *   the neck is stiff.
 */

/**
 * One frame. It belongs to the deformer, and the deformer's next frame overwrites it.
 *
 * @typedef {object} Frame
 * @property {Float32Array} code (C) within the seen limits.
 * @property {Pose} pose
 * @property {Float32Array} weights (K) of the head's bases.
 * @property {Float32Array} vertices (n, 3) posed.
 * @property {Float32Array} means (N + M, 3) of all Gaussians, the torso's last.
 * @property {Float32Array} torsoWeights (9) of the torso's bases.
 * @property {number[]} trunkTurn (4) quaternion, trunk to head.
 * @property {number[]} trunkShift (3)
 */

/** Evaluates one avatar. */
export class Deformer {
  /** @param {import("./payload.js").Payload} payload */
  constructor(payload) {
    const { meta } = payload;
    const counts = checkedCounts(meta.counts);
    /** @type {{gaussians: number, torso: number, bases: number, vertices: number,
     *   expressions: number, code: number, hidden: number}} */
    this.counts = counts;
    this.baked = meta.model === "flashavatar";
    if (!this.baked && meta.model !== "blendshapes") {
      throw new PageError(`the avatar's model ${String(meta.model).slice(0, 40)} is not known here`);
    }
    this._base = checkedPose(meta.base);
    this._limits = payload.array("limits/codes", [2, counts.code]);
    this._head = new Head(payload, counts);
    this._mixture = new Mixture(payload, counts);
    this._offsets = new Offsets(payload, "gaussians", counts.gaussians, counts.bases, this.baked);
    this._anchors = new AnchorPoints(payload, counts);
    this._torso = counts.torso ? new TorsoPoints(payload, counts.torso) : null;
    this._frame = {
      code: new Float32Array(counts.code),
      pose: this._base,
      weights: new Float32Array(counts.bases),
      vertices: this._head.posed,
      means: new Float32Array(3 * (counts.gaussians + counts.torso)),
      torsoWeights: new Float32Array(TORSO_CODE),
      trunkTurn: [1, 0, 0, 0],
      trunkShift: [0, 0, 0],
    };
  }

  /** @returns {Float32Array} (C) code of the neutral face. */
  neutralCode() {
    const code = new Float32Array(this.counts.code);
    for (let joint = 0; joint < TURNING; joint++) {
      code.set(IDENTITY_6D, this.counts.expressions + 6 * joint);
    }
    return code;
  }

  /** @returns {Frame} the neutral face in the clip's mean pose. */
  neutral() {
    return this.fromCode(this.neutralCode(), this._base);
  }

  /**
   * The frame of a code and a pose.
   *
   * @param {ArrayLike<number>} code (C) expressions, jaw 6D, eyes 12, lids 2, as
   *   `headsplat.frame_code` has them; clamped to the subject's limits.
   * @param {Pose} pose of the motion, never of a camera that orbits the head.
   * @returns {Frame}
   */
  fromCode(code, pose) {
    const frame = this._frame;
    const size = this.counts.code;
    if (code.length !== size) throw new PageError(`a code of ${code.length} numbers, not ${size}`);
    for (let i = 0; i < size; i++) {
      frame.code[i] = Math.min(Math.max(code[i], this._limits[i]), this._limits[size + i]);
    }
    frame.pose = pose;
    const trunk = pose.trunk || null;
    this._mixture.weights(frame.code, pose.R, frame.weights);
    this._head.pose(frame.code, trunk);
    this._offsets.mix(frame.weights);
    this._anchors.place(frame.vertices, this._offsets.mixed, this.baked, frame.means);
    if (this._torso) {
      const start = 3 * this.counts.gaussians;
      this._torso.place(pose, trunk, frame, frame.means.subarray(start));
    }
    return frame;
  }
}

function checkedCounts(given) {
  const most = {
    gaussians: MOST_GAUSSIANS, torso: MOST_GAUSSIANS, bases: 256, vertices: 2 ** 18,
    expressions: 1024, code: 1024 + 20, hidden: 1024,
  };
  const counts = {};
  for (const [name, limit] of Object.entries(most)) {
    const value = given[name];
    if (!Number.isInteger(value) || value < 0 || value > limit) {
      throw new PageError(`the avatar's number of ${name} is damaged; export it again`);
    }
    counts[name] = value;
  }
  if (counts.code !== counts.expressions + 20 || counts.gaussians === 0) {
    throw new PageError("the avatar's sizes do not fit each other; export it again");
  }
  return counts;
}

function checkedPose(pose) {
  const numbers = (values, count) =>
    Array.isArray(values) && values.length === count && values.every(Number.isFinite);
  if (!pose || !numbers(pose.R, 9) || !numbers(pose.t, 3)) {
    throw new PageError("the avatar's mean pose is damaged; export it again");
  }
  return { R: pose.R, t: pose.t, trunk: null };
}

/** The head's vertices that Gaussians follow: blendshapes, three joints, lids, trunk. */
class Head {
  constructor(payload, counts) {
    const { vertices, expressions } = counts;
    const rows = vertices + TURNING;
    this._counts = counts;
    this._rest = payload.array("head/rest", [rows, 3]);
    const scales = payload.array("head/expression_scale", [expressions]);
    this._expressions = new SparseRows(
      payload.array("head/expressions", [expressions, rows, 3]), scales, rows,
    );
    this._lids = new SparseRows(
      payload.array("head/lids", [2, vertices, 3]), payload.array("head/lid_scale", [2]), vertices,
    );
    this._skinning = payload.array("head/skinning", [vertices, TURNING]);
    this._root = payload.array("head/root", [vertices]);
    this._correctives = payload.has("head/correctives")
      ? new SparseRows(
          payload.array("head/correctives", [9 * TURNING, vertices, 3]),
          payload.array("head/corrective_scale", [9 * TURNING]),
          vertices,
        )
      : null;
    this._points = new Float32Array(3 * rows);
    /** (n, 3) the vertices of the last pose. */
    this.posed = new Float32Array(3 * vertices);
  }

  /** Fills `posed` for a code and the trunk's pose (or null). */
  pose(code, trunk) {
    const { vertices, expressions } = this._counts;
    const points = this._points;
    points.set(this._rest);
    for (let e = 0; e < expressions; e++) this._expressions.add(e, code[e], points);
    const turns = new Float64Array(9 * TURNING);
    for (let joint = 0; joint < TURNING; joint++) {
      turns.set(matrixFrom6d(code, expressions + 6 * joint), 9 * joint);
      for (let i = 0; i < 9; i += 4) turns[9 * joint + i] -= 1;
    }
    if (this._correctives) {
      for (let i = 0; i < turns.length; i++) this._correctives.add(i, turns[i], points);
    }
    this.posed.set(points.subarray(0, 3 * vertices));
    for (let lid = 0; lid < 2; lid++) this._lids.add(lid, code[expressions + 18 + lid], this.posed);
    this._turn(turns);
    if (trunk) this._follow(trunk);
  }

  /** Adds the turns of the joints: sum of w_j (R_j - 1) (p - c_j). */
  _turn(turns) {
    const { vertices } = this._counts;
    const points = this._points;
    const posed = this.posed;
    const skinning = this._skinning;
    for (let joint = 0; joint < TURNING; joint++) {
      const [a, b, c, d, e, f, g, h, i] = turns.subarray(9 * joint, 9 * joint + 9);
      if (!(a || b || c || d || e || f || g || h || i)) continue;
      const at = 3 * (vertices + joint);
      const [cx, cy, cz] = [points[at], points[at + 1], points[at + 2]];
      for (let v = 0; v < vertices; v++) {
        const weight = skinning[TURNING * v + joint];
        if (weight === 0) continue;
        const x = weight * (points[3 * v] - cx);
        const y = weight * (points[3 * v + 1] - cy);
        const z = weight * (points[3 * v + 2] - cz);
        posed[3 * v] += a * x + b * y + c * z;
        posed[3 * v + 1] += d * x + e * y + f * z;
        posed[3 * v + 2] += g * x + h * y + i * z;
      }
    }
  }

  /** Moves vertices with the trunk by the root's share. */
  _follow(trunk) {
    const posed = this.posed;
    for (let v = 0; v < this._root.length; v++) {
      const share = this._root[v];
      if (share === 0) continue;
      const [x, y, z] = [posed[3 * v], posed[3 * v + 1], posed[3 * v + 2]];
      for (let r = 0; r < 3; r++) {
        const moved =
          trunk[4 * r] * x + trunk[4 * r + 1] * y + trunk[4 * r + 2] * z + trunk[4 * r + 3];
        posed[3 * v + r] += share * (moved - posed[3 * v + r]);
      }
    }
  }
}

/** Rows of 16-bit displacements of points, of which only the points that move are kept. */
class SparseRows {
  /**
   * @param {Int16Array} steps (K, points, 3)
   * @param {Float32Array} scales (K) value of one step.
   * @param {number} points
   */
  constructor(steps, scales, points) {
    this._scales = scales;
    this._starts = new Uint32Array(scales.length + 1);
    const moves = (at) => steps[at] !== 0 || steps[at + 1] !== 0 || steps[at + 2] !== 0;
    let count = 0;
    for (let k = 0, at = 0; k < scales.length; k++) {
      for (let p = 0; p < points; p++, at += 3) if (moves(at)) count++;
      this._starts[k + 1] = count;
    }
    this._ids = new Uint32Array(count);
    this._steps = new Int16Array(3 * count);
    for (let k = 0, at = 0, to = 0; k < scales.length; k++) {
      for (let p = 0; p < points; p++, at += 3) {
        if (!moves(at)) continue;
        this._ids[to] = 3 * p;
        this._steps.set(steps.subarray(at, at + 3), 3 * to);
        to++;
      }
    }
  }

  /** Adds row `k` times `weight` to (points, 3) numbers. */
  add(k, weight, points) {
    const factor = weight * this._scales[k];
    if (factor === 0) return;
    const [ids, steps, end] = [this._ids, this._steps, this._starts[k + 1]];
    for (let i = this._starts[k], at = 3 * i; i < end; i++, at += 3) {
      const to = ids[i];
      points[to] += factor * steps[at];
      points[to + 1] += factor * steps[at + 1];
      points[to + 2] += factor * steps[at + 2];
    }
  }
}

/** The small network that turns a code into weights of the bases. */
class Mixture {
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
class Offsets {
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

/** Points on the triangles of the posed head. */
class AnchorPoints {
  constructor(payload, counts) {
    const count = counts.gaussians;
    this._corners = payload.array("anchors/corners", [count, 3]);
    this._places = anchorPlaces(payload, count);
    if (this._corners.some((row) => row >= counts.vertices)) {
      throw new PageError("the avatar's anchors name vertices that it lacks; export it again");
    }
  }

  /** Fills (N, 3) means: anchors plus offsets, in the triangle's frame or, if baked, the head's. */
  place(vertices, offsets, baked, means) {
    const [corners, places] = [this._corners, this._places];
    for (let at = 0; at < places.length; at += 3) {
      const [a, b, c] = [3 * corners[at], 3 * corners[at + 1], 3 * corners[at + 2]];
      const [ox, oy, oz] = [vertices[a], vertices[a + 1], vertices[a + 2]];
      const fx = vertices[b] - ox, fy = vertices[b + 1] - oy, fz = vertices[b + 2] - oz;
      const sx = vertices[c] - ox, sy = vertices[c + 1] - oy, sz = vertices[c + 2] - oz;
      let nx = fy * sz - fz * sy, ny = fz * sx - fx * sz, nz = fx * sy - fy * sx;
      const area = Math.sqrt(nx * nx + ny * ny + nz * nz);
      const perArea = 1 / Math.max(area, 1e-12);
      nx *= perArea; ny *= perArea; nz *= perArea;
      const [u, v, height] = [places[at], places[at + 1], places[at + 2]];
      let x = offsets[at], y = offsets[at + 1], z = offsets[at + 2];
      if (!baked && area > 1e-11) {
        const perLength = 1 / Math.max(Math.sqrt(fx * fx + fy * fy + fz * fz), 1e-12);
        const tx = fx * perLength, ty = fy * perLength, tz = fz * perLength;
        const bx = ny * tz - nz * ty, by = nz * tx - nx * tz, bz = nx * ty - ny * tx;
        const [p, q, r] = [x, y, z];
        x = tx * p + bx * q + nx * r;
        y = ty * p + by * q + ny * r;
        z = tz * p + bz * q + nz * r;
      }
      means[at] = ox + u * fx + v * sx + height * nx + x;
      means[at + 1] = oy + u * fy + v * sy + height * ny + y;
      means[at + 2] = oz + u * fz + v * sz + height * nz + z;
    }
  }
}

/**
 * Where Gaussians are on their triangles.
 *
 * @param {import("./payload.js").Payload} payload
 * @param {number} count
 * @returns {Float32Array} (N, 3) weights of the second and third corner, meters along the normal.
 */
export function anchorPlaces(payload, count) {
  const steps = payload.array("anchors/places", [count, 3]);
  const scale = payload.array("anchors/place_scale", [3]);
  return Float32Array.from(steps, (step, i) => step * scale[i % 3]);
}

/** The torso's Gaussians, bound to the trunk's pose. */
class TorsoPoints {
  constructor(payload, count) {
    this._rest = payload.array("torso/rest", [count, 3]);
    this._mean = payload.array("torso/mean", [TORSO_CODE]);
    this._scale = payload.array("torso/scale", [TORSO_CODE]);
    this._range = payload.array("torso/range", [2, TORSO_CODE]);
    this._offsets = new Offsets(payload, "torso", count, TORSO_CODE, false);
  }

  /** Fills the frame's weights and pose of the torso, and its (M, 3) means. */
  place(pose, trunk, frame, means) {
    const m = trunk || [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0];
    const turn = [m[0], m[1], m[2], m[4], m[5], m[6], m[8], m[9], m[10]];
    const shift = [m[3], m[7], m[11]];
    const facing = Array.from(pose.R, (value, i) => (i < 3 ? value : -value));
    const code = [...sines(turn), ...shift, ...sines(product(facing, turn))];
    for (let i = 0; i < TORSO_CODE; i++) {
      const held = Math.min(Math.max(code[i], this._range[i]), this._range[TORSO_CODE + i]);
      frame.torsoWeights[i] = (held - this._mean[i]) / this._scale[i];
    }
    frame.trunkTurn = quaternionOf(turn);
    frame.trunkShift = shift;
    this._offsets.mix(frame.torsoWeights);
    const [rest, offsets] = [this._rest, this._offsets.mixed];
    for (let at = 0; at < rest.length; at += 3) {
      const x = rest[at] + offsets[at];
      const y = rest[at + 1] + offsets[at + 1];
      const z = rest[at + 2] + offsets[at + 2];
      for (let r = 0; r < 3; r++) {
        means[at + r] = turn[3 * r] * x + turn[3 * r + 1] * y + turn[3 * r + 2] * z + shift[r];
      }
    }
  }
}

/** The axis times the sine of the angle. */
function sines(m) {
  return [(m[7] - m[5]) / 2, (m[2] - m[6]) / 2, (m[3] - m[1]) / 2];
}
