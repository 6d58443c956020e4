/**
 * Reads HSWB, the file of an avatar: JSON and arrays, deflated once. Its layout is described in
 * docs/web-page.md. Everything that the file says is checked before memory is taken for it.
 */

/** Most bytes of the inflated file. @type {number} */
export const MOST_BYTES = 2 ** 29;
const MOST_JSON = 2 ** 22;
const VERSION = 1;
const HEADER = 12;
const MAGIC = [0x48, 0x53, 0x57, 0x42]; // HSWB
const MOST_AXES = 4;

/** Bytes of a number, and the type of the array that holds such numbers. */
const TYPES = {
  f4: [4, Float32Array],
  f2: [2, Uint16Array],
  i1: [1, Int8Array],
  u1: [1, Uint8Array],
  i2: [2, Int16Array],
  u2: [2, Uint16Array],
  u4: [4, Uint32Array],
};

/** An error that is shown to the user as it is. */
export class PageError extends Error {}

/** An avatar's JSON, and its arrays by name. */
export class Payload {
  /**
   * @param {object} meta the JSON, see docs/web-page.md.
   * @param {Uint8Array} content the bytes of all arrays.
   */
  constructor(meta, content) {
    this.meta = meta;
    this._content = content;
    this._entries = new Map(Object.entries(meta.arrays).map(([k, v]) => [k, checked(k, v, content)]));
  }

  /** @param {string} name @returns {boolean} whether there is an array of this name. */
  has(name) {
    return this._entries.has(name);
  }

  /** @param {string} name @returns {number[]} the array's shape. */
  shape(name) {
    return this._entry(name).shape;
  }

  /**
   * A new typed array with the numbers of an array; half floats become `Float32Array`.
   *
   * @param {string} name
   * @param {number[]} [shape] that it must have.
   * @returns {Float32Array|Int8Array|Uint8Array|Int16Array|Uint16Array|Uint32Array}
   */
  array(name, shape) {
    const entry = this._entry(name);
    if (shape && String(shape) !== String(entry.shape)) {
      throw new PageError(`the avatar's array ${name} is [${entry.shape}], expected [${shape}]`);
    }
    const [size, Type] = TYPES[entry.dtype];
    const bytes = new Uint8Array(entry.count * size);
    const from = this._content.subarray(entry.offset, entry.offset + bytes.length);
    if (size === 1) bytes.set(from);
    for (let plane = 0; size > 1 && plane < size; plane++) {
      const start = plane * entry.count;
      for (let i = 0, to = plane; i < entry.count; i++, to += size) bytes[to] = from[start + i];
    }
    const numbers = new Type(bytes.buffer);
    return entry.dtype === "f2" ? floatsOfHalves(numbers) : numbers;
  }

  _entry(name) {
    const entry = this._entries.get(name);
    if (!entry) throw new PageError(`the avatar lacks the array ${name}`);
    return entry;
  }
}

/**
 * Inflates and checks a file.
 *
 * @param {ArrayBuffer} buffer the deflated file.
 * @param {number} [most] most bytes of the inflated file.
 * @returns {Promise<Payload>}
 * @throws {PageError} it is damaged or too large.
 */
export async function readPayload(buffer, most = MOST_BYTES) {
  const content = await inflated(buffer, most);
  const view = new DataView(content.buffer, content.byteOffset, content.length);
  const known =
    content.length >= HEADER &&
    MAGIC.every((byte, i) => content[i] === byte) &&
    view.getUint32(4, true) === VERSION;
  const length = known ? view.getUint32(8, true) : 0;
  if (!known || length > MOST_JSON || HEADER + length > content.length) {
    throw new PageError("the avatar is damaged or of another version; export it again");
  }
  let meta;
  try {
    meta = JSON.parse(new TextDecoder().decode(content.subarray(HEADER, HEADER + length)));
  } catch {
    meta = null;
  }
  const sound = isObject(meta) && isObject(meta.arrays) && isObject(meta.counts);
  const harmonics = sound && [0, 1, 2, 3].includes(meta.harmonics_degree ?? 0);
  if (!harmonics || ("motions" in meta && !isList(meta.motions))) {
    throw new PageError("the avatar's description is damaged; export it again");
  }
  return new Payload(meta, content.subarray(HEADER + length));
}

/** @param {unknown} value @returns {boolean} */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param {unknown} value @returns {boolean} whether it is a list of objects */
function isList(value) {
  return Array.isArray(value) && value.every(isObject);
}

/** The entry of one array, with its number of elements. */
function checked(name, entry, content) {
  const { offset, shape, dtype } = isObject(entry) ? entry : {};
  const sizes = Array.isArray(shape) && shape.length <= MOST_AXES ? [offset, ...shape] : [NaN];
  const sound = sizes.every((n) => Number.isInteger(n) && n >= 0 && n <= MOST_BYTES);
  const count = sound ? shape.reduce((product, n) => product * n, 1) : NaN;
  const size = typeof dtype === "string" && Object.hasOwn(TYPES, dtype) ? TYPES[dtype][0] : NaN;
  if (!(offset + count * size <= content.length)) {
    throw new PageError(`the avatar's array ${name.slice(0, 80)} is damaged; export it again`);
  }
  return { offset, shape, dtype, count };
}

/** Inflates at most `most` bytes. */
async function inflated(buffer, most) {
  const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const reader = stream.getReader();
  const pieces = [];
  let total = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      total += value.length;
      if (total > most) break;
      pieces.push(value);
    }
  } catch {
    throw new PageError("the avatar is cut or damaged; export it again");
  }
  if (total > most) {
    reader.cancel().catch(() => {});
    throw new PageError(`the avatar is over ${most} bytes; export it with fewer Gaussians`);
  }
  const content = new Uint8Array(total);
  let at = 0;
  for (const piece of pieces) {
    content.set(piece, at);
    at += piece.length;
  }
  return content;
}

/** @param {Uint16Array} halves @returns {Float32Array} their values, exactly. */
function floatsOfHalves(halves) {
  const values = new Float32Array(halves.length);
  const bits = new Uint32Array(values.buffer);
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i];
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    if (exponent === 0) {
      values[i] = (half & 0x8000 ? -fraction : fraction) * 2 ** -24;
    } else {
      const wide = exponent === 31 ? 255 : exponent + 112;
      bits[i] = ((half & 0x8000) << 16) | (wide << 23) | (fraction << 13);
    }
  }
  return values;
}
