/**
 * Rotations as row-major matrices of nine numbers, which act on column vectors.
 *
 * The 6D form is the first two ROWS of the matrix, as in `headsplat/rotations.py`.
 */

export const IDENTITY = Object.freeze([1, 0, 0, 0, 1, 0, 0, 0, 1]);

/** Product a b of two 3 x 3 matrices. */
export function multiply(a, b) {
  const out = new Array(9);
  for (let row = 0; row < 9; row += 3) {
    for (let column = 0; column < 3; column++) {
      out[row + column] =
        a[row] * b[column] + a[row + 1] * b[3 + column] + a[row + 2] * b[6 + column];
    }
  }
  return out;
}

/** The inverse of a rotation. */
export function transpose(m) {
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
export function fromAxisAngle([x, y, z]) {
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
export function toAxisAngle(m) {
  const [w, x, y, z] = toQuaternion(m);
  const length = Math.hypot(x, y, z);
  const factor = length < 1e-7 ? 2 : (2 * Math.atan2(length, w)) / length;
  return [x * factor, y * factor, z * factor];
}

/** Matrix to the unit quaternion (w, x, y, z) with w >= 0. */
export function toQuaternion(m) {
  const [xx, xy, xz, yx, yy, yz, zx, zy, zz] = m;
  const forms = [
    [1 + xx + yy + zz, zy - yz, xz - zx, yx - xy],
    [zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx],
    [xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy],
    [yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz],
  ];
  let best = 0;
  for (let k = 1; k < 4; k++) if (forms[k][k] > forms[best][best]) best = k;
  const quaternion = forms[best];
  const length = Math.hypot(...quaternion) * (quaternion[0] < 0 ? -1 : 1);
  return quaternion.map((value) => value / length);
}

/** Quaternion (w, x, y, z) of any length to matrix. */
export function fromQuaternion(quaternion) {
  const length = Math.hypot(...quaternion) || 1;
  const [w, x, y, z] = quaternion.map((value) => value / length);
  return [
    1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
  ];
}

/** The first two rows. */
export function toSix(m) {
  return [m[0], m[1], m[2], m[3], m[4], m[5]];
}

/** Six numbers to a rotation by Gram-Schmidt on two rows; `first` is their place in `values`. */
export function fromSix(values, first = 0) {
  let [a, b, c, d, e, f] = Array.prototype.slice.call(values, first, first + 6);
  const long = Math.hypot(a, b, c) || 1;
  [a, b, c] = [a / long, b / long, c / long];
  const along = a * d + b * e + c * f;
  [d, e, f] = [d - along * a, e - along * b, f - along * c];
  const second = Math.hypot(d, e, f) || 1;
  [d, e, f] = [d / second, e / second, f / second];
  return [a, b, c, d, e, f, b * f - c * e, c * d - a * f, a * e - b * d];
}

/** The rotation a share (0 to 1) of the way from `start` to `end`. */
export function slerp(start, end, share) {
  const turn = toAxisAngle(multiply(transpose(start), end));
  return multiply(start, fromAxisAngle(turn.map((value) => value * share)));
}

/** R_y(yaw) R_x(pitch) R_z(roll): ARKit's head angles, in the axes of the head. */
export function fromHeadAngles(yaw, pitch, roll) {
  const turned = multiply(fromAxisAngle([0, yaw, 0]), fromAxisAngle([pitch, 0, 0]));
  return multiply(turned, fromAxisAngle([0, 0, roll]));
}

/** The inverse of `fromHeadAngles`, for pitch within a quarter turn. */
export function toHeadAngles(m) {
  const pitch = Math.asin(Math.min(1, Math.max(-1, -m[5])));
  return [Math.atan2(m[2], m[8]), pitch, Math.atan2(m[3], m[4])];
}
