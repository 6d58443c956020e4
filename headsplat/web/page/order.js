/** The order of Gaussians from front to back: exact, by depth and then by number. */

const DIGIT = 11; // bits
const BUCKETS = 1 << DIGIT;
const PASSES = 3;
const NEAR = 0.2; // meters; what is closer is not drawn

/** Sorts up to a fixed number of points. */
export class DepthOrder {
  /** @param {number} count most points. */
  constructor(count) {
    this._depths = new Float32Array(count);
    this._keys = new Uint32Array(this._depths.buffer);
    this._ids = [new Uint32Array(count), new Uint32Array(count)];
    this._sortedKeys = [this._keys, new Uint32Array(count)];
    this._counts = new Uint32Array(PASSES * BUCKETS);
  }

  /**
   * Numbers of the points in front of the camera, the nearest first.
   *
   * @param {Float32Array} means (N, 3)
   * @param {ArrayLike<number>} R nine numbers, row-major, to the camera.
   * @param {ArrayLike<number>} t
   * @returns {Uint32Array} a view that the next call overwrites.
   */
  sort(means, R, t) {
    const [a, b, c, d] = [R[6], R[7], R[8], t[2]];
    let ids = this._ids[0];
    let keys = this._keys;
    let count = 0;
    for (let i = 0, at = 0; at < means.length; i++, at += 3) {
      const depth = a * means[at] + b * means[at + 1] + c * means[at + 2] + d;
      if (!(depth > NEAR)) continue;
      this._depths[count] = depth;
      ids[count++] = i;
    }
    // Positive floats are ordered as their bits. All digits are counted in one pass.
    const counts = this._counts.fill(0);
    for (let i = 0; i < count; i++) {
      const key = keys[i];
      counts[key & (BUCKETS - 1)]++;
      counts[BUCKETS + ((key >>> DIGIT) & (BUCKETS - 1))]++;
      counts[2 * BUCKETS + (key >>> (2 * DIGIT))]++;
    }
    for (let pass = 0; pass < PASSES; pass++) {
      const starts = counts.subarray(pass * BUCKETS, (pass + 1) * BUCKETS);
      for (let bucket = 0, sum = 0; bucket < BUCKETS; bucket++) {
        const size = starts[bucket];
        starts[bucket] = sum;
        sum += size;
      }
      const other = keys === this._keys ? 1 : 0;
      const nextIds = this._ids[other];
      const nextKeys = this._sortedKeys[other];
      const shift = pass * DIGIT;
      for (let i = 0; i < count; i++) {
        const to = starts[(keys[i] >>> shift) & (BUCKETS - 1)]++;
        nextIds[to] = ids[i];
        nextKeys[to] = keys[i];
      }
      ids = nextIds;
      keys = nextKeys;
    }
    return ids.subarray(0, count);
  }
}
