/** The Gaussians of a head or of a torso on the GPU, and the pass that places and projects them. */

import { anchorPlaces } from "./gaussian_points.js";
import { Program, Texture } from "./gl.js";
import { ATTRIBUTES, BAKED_ATTRIBUTES } from "./mixture.js";
import { PageError } from "./payload.js";
import { OUTPUTS, placing } from "./placing_shaders.js";
import { COLUMNS, VERTEX_COLUMNS } from "./shaders.js";

const PARTS = 4; // texels of a Gaussian; bases have the first one, with the offset, by itself
const SNORM = 127;
const HARMONIC_LAYERS = 12;

/** Where each mixed number of a Gaussian lies in its 16 channels, in the order of storage. */
const CHANNELS = [
  [0, 1, 2],
  [4, 5, 6, 7],
  [8, 9, 10],
  [3],
  [12, 13, 14],
];

/** One set of Gaussians, in whole rows of the textures of splats. */
export class GaussianSet {
  /**
   * @param {WebGL2RenderingContext} gl
   * @param {import("./payload.js").Payload} payload
   * @param {"head"|"torso"|"baked"} kind
   * @param {number} count
   * @param {number} bases
   * @param {boolean} targets whether float textures can be drawn to.
   */
  constructor(gl, payload, kind, count, bases, targets) {
    this._gl = gl;
    this._kind = kind;
    this.count = count;
    this.rows = Math.ceil(count / COLUMNS);
    this._bases = bases;
    this._textures = {};
    if (this.rows > gl.getParameter(gl.MAX_TEXTURE_SIZE)) {
      throw new PageError(`${count} Gaussians are too many for this graphics processor`);
    }
    const [sources, captured] = [placing(kind, targets), targets ? undefined : OUTPUTS];
    this._program = new Program(gl, sources, captured);
    this._loadBases(payload, kind === "torso" ? "torso" : "gaussians");
    if (kind === "torso") this._loadRest(payload);
    else this._loadAnchors(payload);
    if (kind === "baked") this._loadConstants(payload);
    this._constants = {
      basisCount: bases,
      count,
      largestLogScale: Math.log(payload.meta.largest_scale),
      harmonicCount: ((payload.meta.harmonics_degree ?? 0) + 1) ** 2,
    };
    this._buffers = targets ? null : this._makeBuffers();
  }

  _texture(name, format, width, height, layers) {
    return (this._textures[name] = new Texture(this._gl, format, width, height, layers));
  }

  /** Base and bases, from blocks of attributes to four texels for each Gaussian. */
  _loadBases(payload, name) {
    const { count, rows } = this;
    const sizes = this._kind === "baked" ? BAKED_ATTRIBUTES : ATTRIBUTES;
    const numbers = count * sizes.reduce((sum, size) => sum + size, 0);
    const base = payload.array(`${name}/base`, [numbers]);
    const width = PARTS * COLUMNS;
    const texels = new Float32Array(4 * width * rows);
    for (let attribute = 0, at = 0; attribute < sizes.length; attribute++) {
      const size = sizes[attribute];
      spread(base.subarray(at, at + size * count), texels, CHANNELS[attribute], 0, 16);
      at += size * count;
    }
    this._texture("base", "RGBA32F", width, rows).fill(texels);
    const offsets = payload.array(`${name}/offsets`, [this._bases, 3 * count]);
    const rest = payload.array(`${name}/bases`, [this._bases, numbers - 3 * count]);
    const steps = rest instanceof Int8Array;
    const first = this._texture("offsetBases", "RGBA16F", COLUMNS, rows, this._bases);
    const others = this._texture(
      "bases", steps ? "RGBA8_SNORM" : "RGBA16F", width - COLUMNS, rows, this._bases,
    );
    const firstTexels = new Float32Array(4 * COLUMNS * rows);
    const otherTexels = new (steps ? Int8Array : Float32Array)(4 * (width - COLUMNS) * rows);
    for (let k = 0, at = 0; k < this._bases; k++) {
      spread(offsets.subarray(3 * count * k, 3 * count * (k + 1)), firstTexels, CHANNELS[0], 0, 4);
      for (let attribute = 1; attribute < sizes.length; attribute++) {
        const part = rest.subarray(at, (at += sizes[attribute] * count));
        // The opacity shares the first texel.
        if (CHANNELS[attribute][0] < 4) spread(part, firstTexels, CHANNELS[attribute], 0, 4);
        else spread(part, otherTexels, CHANNELS[attribute], 4, 12);
      }
      first.fill(firstTexels, k);
      others.fill(otherTexels, k);
    }
    this._loadScales(payload.array(`${name}/scales`, [this._bases, rows, sizes.length]), sizes, steps);
  }

  /** What the weight of each basis is multiplied by, for each row and each of the 16 channels. */
  _loadScales(scales, sizes, steps) {
    const [rows, bases] = [this.rows, this._bases];
    this._factors = new Float32Array(16 * bases * rows);
    for (let k = 0, at = 0; k < bases; k++) {
      for (let row = 0; row < rows; row++) {
        sizes.forEach((size, attribute) => {
          const channels = CHANNELS[attribute];
          const factor = scales[at++] * (steps && channels[0] >= 4 ? SNORM : 1);
          for (let c = 0; c < size; c++) this._factors[16 * (row * bases + k) + channels[c]] = factor;
        });
      }
    }
    this._weights = new Float32Array(this._factors.length);
    this._texture("weights", "RGBA32F", PARTS * bases, rows);
  }

  _loadAnchors(payload) {
    const { count, rows } = this;
    const corners = payload.array("anchors/corners", [count, 3]);
    const places = anchorPlaces(payload, count);
    const rowsOf = new Uint32Array(4 * COLUMNS * rows);
    const values = new Float32Array(4 * COLUMNS * rows);
    for (let i = 0; i < count; i++) {
      rowsOf.set(corners.subarray(3 * i, 3 * i + 3), 4 * i);
      values.set(places.subarray(3 * i, 3 * i + 3), 4 * i);
    }
    this._texture("corners", "RGBA32UI", COLUMNS, rows).fill(rowsOf);
    this._texture("anchorWeights", "RGBA32F", COLUMNS, rows).fill(values);
    const vertexRows = Math.ceil(payload.meta.counts.vertices / VERTEX_COLUMNS);
    this._vertices = new Float32Array(3 * VERTEX_COLUMNS * vertexRows);
    this._texture("vertices", "RGB32F", VERTEX_COLUMNS, vertexRows);
  }

  _loadRest(payload) {
    const rest = payload.array("torso/rest", [this.count, 3]);
    const values = new Float32Array(3 * COLUMNS * this.rows);
    values.set(rest);
    this._texture("rest", "RGB32F", COLUMNS, this.rows).fill(values);
  }

  _loadConstants(payload) {
    const { count, rows } = this;
    const rotation = payload.array("constants/rotation", [count, 4]);
    const scale = payload.array("constants/log_scale", [count, 3]);
    const opacity = payload.array("constants/opacity", [count]);
    const values = new Float32Array(8 * COLUMNS * rows);
    for (let i = 0; i < count; i++) {
      values.set(rotation.subarray(4 * i, 4 * i + 4), 8 * i);
      values.set([scale[3 * i], scale[3 * i + 1], scale[3 * i + 2], opacity[i]], 8 * i + 4);
    }
    this._texture("constants", "RGBA32F", 2 * COLUMNS, rows).fill(values);
    const used = 3 * (Number(payload.meta.harmonics_degree) + 1) ** 2;
    const coefficients = payload.array("constants/harmonics", [used, count]);
    const scales = payload.array("constants/harmonic_scale", [used]);
    const stored = this._texture("harmonics", "RGBA16F", COLUMNS, rows, HARMONIC_LAYERS);
    for (let layer = 0; layer < HARMONIC_LAYERS; layer++) {
      const texels = new Float32Array(4 * COLUMNS * rows);
      for (let c = 0; c < 4 && 4 * layer + c < used; c++) {
        const row = 4 * layer + c;
        for (let i = 0; i < count; i++) texels[4 * i + c] = coefficients[row * count + i] * scales[row];
      }
      stored.fill(texels, layer);
    }
  }

  _makeBuffers() {
    const gl = this._gl;
    return OUTPUTS.map(() => {
      const buffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, 16 * COLUMNS * this.rows, gl.DYNAMIC_COPY);
      return buffer;
    });
  }

  /**
   * Places and projects the Gaussians of a frame into rows of the splats' textures.
   *
   * @param {import("./deform.js").Frame} frame
   * @param {object} camera uniforms of the camera.
   * @param {Texture[]} splats the four textures, bound as targets where these can be drawn to.
   * @param {number} firstRow
   */
  place(frame, camera, splats, firstRow) {
    const mixing = this._kind === "torso" ? frame.torsoWeights : frame.weights;
    for (let at = 0, k = 0; at < this._weights.length; k = (k + 1) % this._bases) {
      const weight = mixing[k];
      for (const end = at + 16; at < end; at++) this._weights[at] = weight * this._factors[at];
    }
    this._textures.weights.fill(this._weights);
    if (this._vertices) {
      this._vertices.set(frame.vertices);
      this._textures.vertices.fill(this._vertices);
    }
    this._program.use({
      ...this._textures,
      ...this._constants,
      ...camera,
      firstRow,
      trunkTurn: frame.trunkTurn,
      trunkShift: frame.trunkShift,
    });
    const gl = this._gl;
    if (!this._buffers) {
      gl.viewport(0, firstRow, COLUMNS, this.rows);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
      return;
    }
    this._capture();
    splats.forEach((texture, i) => texture.fillRows(this._buffers[i], firstRow, this.rows));
  }

  /** Runs the vertex shader of placing into the buffers. */
  _capture() {
    const gl = this._gl;
    gl.enable(gl.RASTERIZER_DISCARD);
    this._buffers.forEach((b, i) => gl.bindBufferBase(gl.TRANSFORM_FEEDBACK_BUFFER, i, b));
    gl.beginTransformFeedback(gl.POINTS);
    gl.drawArrays(gl.POINTS, 0, this.count);
    gl.endTransformFeedback();
    this._buffers.forEach((_, i) => gl.bindBufferBase(gl.TRANSFORM_FEEDBACK_BUFFER, i, null));
    gl.disable(gl.RASTERIZER_DISCARD);
  }

  /** Frees everything on the GPU. */
  dispose() {
    for (const texture of Object.values(this._textures)) texture.dispose();
    for (const buffer of this._buffers || []) this._gl.deleteBuffer(buffer);
    this._gl.deleteProgram(this._program.handle);
  }
}

/** Writes the numbers of Gaussians in a row into channels, less `first`, of `stride` channels. */
function spread(from, into, channels, first, stride) {
  const size = channels.length;
  const count = from.length / size;
  for (let i = 0, at = 0; i < count; i++) {
    for (let c = 0; c < size; c++) into[stride * i + channels[c] - first] = from[at++];
  }
}
