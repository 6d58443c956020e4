/**
 * The drawing camera: orbit about the head and zoom, by mouse, touch and keyboard.
 *
 * The avatar always sees the pose of its motion, since its light stands still; only the camera that
 * draws it turns. OpenCV's axes: x right, y down, z away from the camera.
 */

import { product } from "./rotation.js";
import { matrixOf, rotate } from "./turns.js";

const PER_PIXEL = 0.006; // radians
const PER_KEY = 0.08; // radians
const ZOOM_STEP = 1.12;
const ZOOMS = [0.5, 5];
// How far the view turns: a share of the seen turns, and radians that it gives way beyond. The
// sides of a head that few frames show are rough.
const SEEN = { share: 0.45, slack: 0.08 }, BEYOND = { share: 1, slack: 0.3 };
// The head is at least this part of the canvas high.
const HEAD_SHARE = 0.5;
// At most this part of the image's width is cut off on a narrow canvas.
const CUT = 0.3;

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** A value that follows `raw` up to a limit and gives way by `slack` at most beyond it. */
function softly(raw, [low, high], slack) {
  if (raw > high) return high + slack * Math.tanh((raw - high) / slack);
  if (raw < low) return low - slack * Math.tanh((low - raw) / slack);
  return raw;
}

/**
 * @typedef {object} View of the subject's camera
 * @property {number[]} K fx, fy, cx, cy in pixels
 * @property {number} width of the images, pixels
 * @property {number} height
 * @property {number[]} center of the head in its own frame, meters
 * @property {number} size height of the head, meters
 * @property {number[]} translation of the base pose, meters
 * @property {number[]} rotation of the base pose
 * @property {number[][]} turns lowest and highest seen turn, axis-angle in radians
 */
export class Orbit {
  /**
   * @param {HTMLElement} element that is dragged and takes the keys
   * @param {View} view
   * @param {() => void} changed called after each change
   */
  constructor(element, view, changed) {
    Object.assign(this, { element, view, changed, pointers: new Map(), reach: SEEN });
    this.reset();
    const listen = (name, act) =>
      element.addEventListener(name, (event) => act.call(this, event), { passive: false });
    listen("pointerdown", this.#press);
    listen("pointermove", this.#move);
    listen("pointerup", this.#release);
    listen("pointercancel", this.#release);
    listen("wheel", this.#wheel);
    listen("dblclick", this.reset);
    listen("keydown", this.#key);
  }

  /** Back to the subject's camera. */
  reset() {
    Object.assign(this, { yaw: 0, pitch: 0, zoom: 1 });
    this.changed();
  }

  /** Let the view turn beyond what the clip shows well, or no longer. */
  allow(beyond) {
    this.reach = beyond ? BEYOND : SEEN;
    this.turn(0, 0);
  }

  /** Turn the view by radians to the right and down. */
  turn(yaw, pitch) {
    // Raw values stay near the limits, so that the way back is as short as the way out.
    const near = (value, [low, high]) =>
      clamp(value, low - 2 * this.reach.slack, high + 2 * this.reach.slack);
    this.yaw = near(this.yaw + yaw, this.#limits(1));
    this.pitch = near(this.pitch + pitch, this.#limits(0));
    this.changed();
  }

  /** Lowest and highest turn about an axis before the view gives way. */
  #limits(axis) {
    return this.view.turns.map((turn) => turn[axis] * this.reach.share);
  }

  /** Enlarge by a factor. */
  enlarge(factor) {
    this.zoom = clamp(this.zoom * factor, ...ZOOMS);
    this.changed();
  }

  /**
   * The camera for a canvas.
   *
   * @param {{R: ArrayLike<number>, t: ArrayLike<number>}} pose head to the subject's camera
   * @param {number} width of the canvas, pixels
   * @param {number} height
   */
  camera(pose, width, height) {
    const { K, center, size, rotation, translation } = this.view;
    const middle = rotate(rotation, center).map((value, axis) => value + translation[axis]);
    const yaw = -softly(this.yaw, this.#limits(1), this.reach.slack);
    const pitch = softly(this.pitch, this.#limits(0), this.reach.slack);
    const turn = product(matrixOf([pitch, 0, 0]), matrixOf([0, yaw, 0]));
    const moved = rotate(turn, [0, 1, 2].map((axis) => pose.t[axis] - middle[axis]));
    const high = (K[1] * size) / middle[2];
    const fit = Math.max(
      height / this.view.height,
      (HEAD_SHARE * height) / high,
      Math.min(width / ((1 - CUT) * this.view.width), height / this.view.height),
    );
    const scale = fit * this.zoom;
    // The head stays where the fitted image shows it; the image's lower edge is the canvas's.
    const u = K[2] + (K[0] * middle[0]) / middle[2];
    const v = K[3] + (K[1] * middle[1]) / middle[2];
    const wide = fit * (u - this.view.width / 2);
    const x = width / 2 + clamp(wide, -width / 6, width / 6);
    const y = this.#headRow(fit, v, height);
    return {
      K: [K[0] * scale, K[1] * scale, x + scale * (K[2] - u), y + scale * (K[3] - v)],
      R: product(turn, pose.R),
      t: moved.map((value, axis) => value + middle[axis]),
      width,
      height,
    };
  }

  #headRow(fit, v, height) {
    const row = height - fit * (this.view.height - v);
    return clamp(row, 0.36 * height, 0.56 * height);
  }

  #press(event) {
    if (event.button > 0) return;
    this.element.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    if (this.pointers.size === 1) {
      this.turn((now[0] - before[0]) * PER_PIXEL, (now[1] - before[1]) * PER_PIXEL);
    } else {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
      this.enlarge(apart(now) / apart(before));
    }
    this.pointers.set(event.pointerId, now);
  }

  #release(event) {
    this.pointers.delete(event.pointerId);
  }

  #wheel(event) {
    event.preventDefault();
    this.enlarge(Math.exp(-clamp(event.deltaY, -240, 240) * 0.0015));
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowLeft: () => this.turn(-PER_KEY, 0),
      ArrowRight: () => this.turn(PER_KEY, 0),
      ArrowUp: () => this.turn(0, -PER_KEY),
      ArrowDown: () => this.turn(0, PER_KEY),
      "+": () => this.enlarge(ZOOM_STEP),
      "=": () => this.enlarge(ZOOM_STEP),
      "-": () => this.enlarge(1 / ZOOM_STEP),
      0: () => this.reset(),
      Home: () => this.reset(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}
