/**
 * Draws an avatar's Gaussians with WebGL2: places and projects them, draws them from front to back
 * into 16-bit floats, and puts the background behind them.
 */

import { GaussianSet } from "./gaussian_set.js";
import { Program, Texture } from "./gl.js";
import { DepthOrder } from "./order.js";
import { PageError } from "./payload.js";
import { COLUMNS, DRAW, RESOLVE } from "./shaders.js";

/** Most pixels of a canvas: more are slow to blend on a laptop. */
export const MOST_PIXELS = 1.2e6;

/**
 * A camera, OpenCV axes.
 *
 * @typedef {object} Camera
 * @property {ArrayLike<number>} K fx, fy, cx, cy in pixels of `width` x `height`.
 * @property {ArrayLike<number>} R nine numbers, row-major: the head's frame to the camera.
 * @property {ArrayLike<number>} t three numbers, meters.
 * @property {number} width
 * @property {number} height
 */

/** Draws one avatar into one canvas. After a lost context nothing is drawn; make another one. */
export class Renderer {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./payload.js").Payload} payload
   * @throws {PageError} the browser lacks WebGL2.
   */
  constructor(canvas, payload) {
    this.canvas = canvas;
    const attributes = {
      alpha: true, antialias: false, depth: false, premultipliedAlpha: true,
      powerPreference: "high-performance",
    };
    this._gl = canvas.getContext("webgl2", attributes);
    if (!this._gl) throw new PageError("this browser has no WebGL2; take a newer one");
    const { gaussians, torso } = payload.meta.counts;
    this._order = new DepthOrder(gaussians + torso);
    this._slots = new Uint32Array(gaussians + torso);
    this._build(payload);
  }

  /** Makes everything on the GPU. */
  _build(payload) {
    const gl = this._gl;
    const { gaussians, torso, bases } = payload.meta.counts;
    const targets = gl.getExtension("EXT_color_buffer_float") !== null;
    const halves = targets || gl.getExtension("EXT_color_buffer_half_float") !== null;
    this._format = halves ? "RGBA16F" : "RGBA8";
    const kind = payload.meta.model === "flashavatar" ? "baked" : "head";
    this._sets = [new GaussianSet(gl, payload, kind, gaussians, bases, targets)];
    if (torso) this._sets.push(new GaussianSet(gl, payload, "torso", torso, 9, targets));
    const rows = this._sets.reduce((sum, set) => sum + set.rows, 0);
    this._splats = Array.from({ length: 4 }, () => new Texture(gl, "RGBA32F", COLUMNS, rows));
    this._placed = targets ? framebuffer(gl, this._splats) : null;
    this._drawing = new Program(gl, DRAW);
    this._resolving = new Program(gl, RESOLVE);
    this._makeIndex();
    this._drawn = null;
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.DITHER);
    gl.blendFunc(gl.ONE_MINUS_DST_ALPHA, gl.ONE);
  }

  /** The buffer of Gaussians in depth order, one instance each. */
  _makeIndex() {
    const gl = this._gl;
    this._vertexArray = gl.createVertexArray();
    gl.bindVertexArray(this._vertexArray);
    this._index = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this._index);
    gl.bufferData(gl.ARRAY_BUFFER, this._slots.byteLength, gl.DYNAMIC_DRAW);
    const slot = gl.getAttribLocation(this._drawing.handle, "slot");
    gl.enableVertexAttribArray(slot);
    gl.vertexAttribIPointer(slot, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(slot, 1);
    gl.bindVertexArray(null);
  }

  /**
   * Draws a frame. The camera's image is fitted into the canvas, and is exact where sizes are equal.
   *
   * @param {import("./deform.js").Frame} frame
   * @param {Camera} camera
   * @param {number[]|null} background red, green, blue in 0..1, or null for a transparent canvas.
   */
  draw(frame, camera, background) {
    const gl = this._gl;
    if (gl.isContextLost()) return;
    const { width, height } = this.canvas;
    const view = fitted(camera, width, height);
    const uniforms = {
      cameraR: transposed(camera.R),
      cameraT: Array.from(camera.t),
      intrinsics: view,
      size: [width, height],
      center: centerOf(camera),
    };
    this._place(frame, uniforms);
    const count = this._sort(frame, camera);
    this._require(width, height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this._target);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.BLEND);
    gl.bindVertexArray(this._vertexArray);
    const [shapes, mores, bounds, colors] = this._splats;
    this._drawing.use({ shapes, mores, bounds, colors, size: [width, height] });
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
    gl.bindVertexArray(null);
    gl.disable(gl.BLEND);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    const behind = background ? [...background, 1] : [0, 0, 0, 0];
    this._resolving.use({ drawn: this._drawn, background: behind, height });
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  _place(frame, uniforms) {
    const gl = this._gl;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this._placed);
    let row = 0;
    for (const set of this._sets) {
      set.place(frame, uniforms, this._splats, row);
      row += set.rows;
    }
  }

  /** Sorts by depth; returns how many Gaussians there are to draw. */
  _sort(frame, camera) {
    const gl = this._gl;
    const head = this._sets[0];
    // The torso's Gaussians begin in a row of their own.
    const skipped = head.rows * COLUMNS - head.count;
    const ids = this._order.sort(frame.means, camera.R, camera.t);
    const slots = this._slots;
    for (let i = 0; i < ids.length; i++) {
      slots[i] = ids[i] < head.count ? ids[i] : ids[i] + skipped;
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this._index);
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, slots, 0, ids.length);
    return ids.length;
  }

  /** Makes the target of blending in the canvas's size. */
  _require(width, height) {
    const gl = this._gl;
    if (this._drawn && this._drawn.width === width && this._drawn.height === height) return;
    if (this._drawn) {
      this._drawn.dispose();
      gl.deleteFramebuffer(this._target);
    }
    this._drawn = new Texture(gl, this._format, width, height);
    this._target = framebuffer(gl, [this._drawn]);
  }

  /**
   * Fits the canvas's pixels to its size on the page.
   *
   * @param {number} [most] most pixels.
   */
  resize(most = MOST_PIXELS) {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const [wide, high] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
    const scale = Math.min(1, Math.sqrt(most / Math.max(wide * high, 1)));
    const [width, height] = [wide, high].map((side) => Math.max(1, Math.round(side * scale)));
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
  }

  /** Frees everything on the GPU. */
  dispose() {
    const gl = this._gl;
    for (const part of [...this._sets, ...this._splats]) part.dispose();
    if (this._drawn) this._drawn.dispose();
    for (const target of [this._placed, this._target]) if (target) gl.deleteFramebuffer(target);
    for (const { handle } of [this._drawing, this._resolving]) gl.deleteProgram(handle);
    gl.deleteBuffer(this._index);
    gl.deleteVertexArray(this._vertexArray);
  }
}

/** A framebuffer that draws to textures. */
function framebuffer(gl, textures) {
  const target = gl.createFramebuffer();
  gl.bindFramebuffer(gl.FRAMEBUFFER, target);
  const places = textures.map((texture, i) => {
    const place = gl.COLOR_ATTACHMENT0 + i;
    gl.framebufferTexture2D(gl.FRAMEBUFFER, place, gl.TEXTURE_2D, texture.handle, 0);
    return place;
  });
  gl.drawBuffers(places);
  if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE && !gl.isContextLost()) {
    throw new PageError("this browser cannot draw to textures of these types");
  }
  return target;
}

/** Intrinsics in pixels of the canvas, with the camera's whole image in its middle. */
function fitted(camera, width, height) {
  const scale = Math.min(width / camera.width, height / camera.height);
  const [fx, fy, cx, cy] = camera.K;
  return [
    fx * scale,
    fy * scale,
    cx * scale + (width - camera.width * scale) / 2,
    cy * scale + (height - camera.height * scale) / 2,
  ];
}

/** A row-major matrix as GLSL stores it. */
function transposed(m) {
  return [m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]];
}

/** The camera's center in the head's frame. */
function centerOf({ R, t }) {
  return [0, 1, 2].map((c) => -(R[c] * t[0] + R[3 + c] * t[1] + R[6 + c] * t[2]));
}
