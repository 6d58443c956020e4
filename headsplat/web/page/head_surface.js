/** The head's vertices that Gaussians follow, posed by frame codes. */

import { matrixFrom6d } from "./rotation.js";

/** Joints that turn: jaw, left eye, right eye. */
export const TURNING = 3;

/** The head's vertices that Gaussians follow: blendshapes, three joints, lids, trunk. */
export class HeadSurface {
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
