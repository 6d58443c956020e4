/** The positions of Gaussians: on the triangles of the head, and bound to the trunk. */

import { Offsets } from "./mixture.js";
import { PageError } from "./payload.js";
import { product, quaternionOf } from "./rotation.js";

/** Numbers of the torso's code: turn and shift of the neck, turn of the trunk to the camera. */
export const TORSO_CODE = 9;

/** Points on the triangles of the posed head. */
export class AnchorPoints {
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
export class TorsoPoints {
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
