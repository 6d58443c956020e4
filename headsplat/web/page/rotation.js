/**
 * Rotations. Matrices are row-major arrays of nine numbers that act on columns; quaternions are
 * (w, x, y, z). The 6D form is the first two rows of a matrix, as in `headsplat.rotations`.
 */

export const IDENTITY_6D = [1, 0, 0, 0, 1, 0];

/**
 * The rotation matrix of a 6D row, by Gram-Schmidt.
 *
 * @param {ArrayLike<number>} six
 * @param {number} [at] where the row starts in `six`.
 * @returns {Float64Array} (9)
 */
export function matrixFrom6d(six, at = 0) {
  const out = new Float64Array(9);
  const [ax, ay, az, bx, by, bz] = Array.from({ length: 6 }, (_, i) => six[at + i]);
  const first = 1 / Math.max(Math.hypot(ax, ay, az), 1e-12);
  const [x, y, z] = [ax * first, ay * first, az * first];
  const along = x * bx + y * by + z * bz;
  let [u, v, w] = [bx - along * x, by - along * y, bz - along * z];
  const second = 1 / Math.max(Math.hypot(u, v, w), 1e-12);
  [u, v, w] = [u * second, v * second, w * second];
  out.set([x, y, z, u, v, w, y * w - z * v, z * u - x * w, x * v - y * u]);
  return out;
}

/**
 * Product of two matrices.
 *
 * @param {ArrayLike<number>} a
 * @param {ArrayLike<number>} b
 * @returns {Float64Array} (9)
 */
export function product(a, b) {
  const out = new Float64Array(9);
  for (let r = 0; r < 3; r++) {
    for (let c = 0; c < 3; c++) {
      out[3 * r + c] = a[3 * r] * b[c] + a[3 * r + 1] * b[3 + c] + a[3 * r + 2] * b[6 + c];
    }
  }
  return out;
}

/**
 * Quaternion of a rotation matrix: of four equivalent formulas the one with the largest divisor.
 *
 * @param {ArrayLike<number>} m
 * @returns {number[]} w, x, y, z
 */
export function quaternionOf(m) {
  const [d0, d1, d2] = [m[0], m[4], m[8]];
  const squares = [1 + d0 + d1 + d2, 1 + d0 - d1 - d2, 1 - d0 + d1 - d2, 1 - d0 - d1 + d2];
  const [wx, wy, wz] = [m[7] - m[5], m[2] - m[6], m[3] - m[1]];
  const [xy, xz, yz] = [m[3] + m[1], m[2] + m[6], m[7] + m[5]];
  const rows = [
    [squares[0], wx, wy, wz],
    [wx, squares[1], xy, xz],
    [wy, xy, squares[2], yz],
    [wz, xz, yz, squares[3]],
  ];
  const largest = squares.indexOf(Math.max(...squares));
  const scale = 0.5 / Math.sqrt(squares[largest]);
  return rows[largest].map((value) => value * scale);
}
