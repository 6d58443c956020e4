/**
 * Turns: axis-angle, head angles, and what lies between two rotations.
 *
 * Matrices are row-major arrays of nine numbers that act on columns, as in `rotation.js`.
 */

import { matrixFrom6d, product, quaternionOf } from "./rotation.js";

export const IDENTITY = Object.freeze([1, 0, 0, 0, 1, 0, 0, 0, 1]);

/** The inverse of a rotation. */
export function inverse(m) {
  return [m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]];
}

/** Matrix times column vector. */
export function rotate(m, v) {
  return [
    m[0] * v[0] + m[1] * v[1] + m[2] * v[2],
    m[3] * v[0] + m[4] * v[1] + m[5] * v[2],
    m[6] * v[0] + m[7] * v[1] + m[8] * v[2],
  ];
}

/** Rodrigues' formula: axis-angle in radians to matrix. */
export function matrixOf([x, y, z]) {
  const square = x * x + y * y + z * z;
  const angle = Math.sqrt(square);
  const sine = square < 1e-8 ? 1 - square / 6 : Math.sin(angle) / angle;
  const cosine = square < 1e-8 ? 0.5 - square / 24 : (1 - Math.cos(angle)) / square;
  return [
    1 - cosine * (y * y + z * z), cosine * x * y - sine * z, cosine * x * z + sine * y,
    cosine * x * y + sine * z, 1 - cosine * (x * x + z * z), cosine * y * z - sine * x,
    cosine * x * z - sine * y, cosine * y * z + sine * x, 1 - cosine * (x * x + y * y),
  ];
}

/** Matrix to axis-angle in radians; the angle is at most pi. */
export function axisAngleOf(m) {
  const quaternion = quaternionOf(m);
  const [w, x, y, z] = quaternion.map((value) => (quaternion[0] < 0 ? -value : value));
  const length = Math.hypot(x, y, z);
  const factor = length < 1e-7 ? 2 : (2 * Math.atan2(length, w)) / length;
  return [x * factor, y * factor, z * factor];
}

/** Quaternion (w, x, y, z) of any length to matrix. */
export function matrixOfQuaternion(quaternion) {
  const length = Math.hypot(...quaternion) || 1;
  const [w, x, y, z] = Array.from(quaternion, (value) => value / length);
  return [
    1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
  ];
}

/** The first two rows. */
export function sixOf(m) {
  return Array.from(m).slice(0, 6);
}

/** The rotation a share (0 to 1) of the way from `start` to `end`. */
export function slerp(start, end, share) {
  const turn = axisAngleOf(product(inverse(start), end));
  return product(start, matrixOf(turn.map((value) => value * share)));
}

/** R_y(yaw) R_x(pitch) R_z(roll): ARKit's head angles, in the axes of the head. */
export function headTurn(yaw, pitch, roll) {
  const turned = product(matrixOf([0, yaw, 0]), matrixOf([pitch, 0, 0]));
  return product(turned, matrixOf([0, 0, roll]));
}

/** The inverse of `headTurn`, for pitch within a quarter turn. */
export function headAnglesOf(m) {
  const pitch = Math.asin(Math.min(1, Math.max(-1, -m[5])));
  return [Math.atan2(m[2], m[8]), pitch, Math.atan2(m[3], m[4])];
}
