/** Draws an avatar's Gaussians with WebGL2. */

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

/** Draws one avatar into one canvas. */
export class Renderer {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./payload.js").Payload} payload
   */
  constructor(canvas, payload) {
    this.canvas = canvas;
    this.payload = payload;
  }

  /**
   * Draws a frame. The camera's image is fitted into the canvas, and is exact where sizes are equal.
   *
   * @param {import("./deform.js").Frame} frame
   * @param {Camera} camera
   * @param {number[]|null} background red, green, blue in 0..1, or null for a transparent canvas.
   */
  draw(frame, camera, background) {}

  /**
   * Fits the canvas's pixels to its size on the page.
   *
   * @param {number} [most] most pixels.
   */
  resize(most = 1.2e6) {}

  /** Frees everything on the GPU. */
  dispose() {}
}
