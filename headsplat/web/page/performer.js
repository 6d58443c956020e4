/** A performer who drives the subject live: calibration, smoothing, and a trunk that follows. */

import { arkitToCode, clampCode, mirrored, transferred } from "./driving.js";
import { product } from "./rotation.js";
import {
  axisAngleOf, headAnglesOf, headTurn, inverse, matrixOf, rotate,
} from "./turns.js";

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const WEIGHTS = 52;
// A camera's network closes lids up to here, until a performer is seen to close them further.
const SHUT = 0.6;

/**
 * One-Euro filter (Casiez, Roussel and Vogel, CHI 2012): a low-pass filter whose cutoff grows with
 * speed. Still values do not tremble, and fast ones do not lag.
 */
export class OneEuro {
  static #speedCutoff = 1; // Hz
  static #pause = 0.5; // seconds after which the filter starts anew
  static #leastStep = 1e-4; // seconds

  /** Cutoff in Hz of values at rest, and Hz by which it grows for each unit a second. */
  constructor(cutoff = 1.5, gain = 4) {
    Object.assign(this, { cutoff, gain, values: null, speeds: null, time: 0 });
  }

  /** Filtered values, a new array, at a time in seconds that does not decrease. */
  next(values, time) {
    const passed = time - this.time;
    this.time = time;
    if (this.values === null || passed > OneEuro.#pause) {
      this.values = Float64Array.from(values);
      this.speeds = new Float64Array(values.length);
      return Float64Array.from(values);
    }
    const step = Math.max(passed, OneEuro.#leastStep);
    const share = (cutoff) => {
      const rate = 2 * Math.PI * cutoff * step;
      return rate / (rate + 1);
    };
    for (let k = 0; k < this.values.length; k++) {
      const speed = (values[k] - this.values[k]) / step;
      this.speeds[k] += share(OneEuro.#speedCutoff) * (speed - this.speeds[k]);
      const cutoff = this.cutoff + this.gain * Math.abs(this.speeds[k]);
      this.values[k] += share(cutoff) * (values[k] - this.values[k]);
    }
    return Float64Array.from(this.values);
  }
}

/**
 * Measures coefficients and head angles from the performer's neutral face, the medians of one second:
 * w' = (w - n) / (1 - n), and turns relative to it.
 */
export class Calibration {
  static #seconds = 1;
  static #fewest = 5; // samples
  static #highest = 0.6; // neutral coefficient that is removed

  constructor() {
    this.weights = new Float64Array(WEIGHTS);
    this.turn = matrixOf([0, 0, 0]);
    this.samples = null;
  }

  begin() {
    Object.assign(this, { samples: [], start: null });
  }

  stop() {
    this.samples = null;
  }

  get running() {
    return this.samples !== null;
  }

  /** Coefficients and angles from the neutral face; while it runs, they also make that face. */
  next(row, angles, time) {
    if (this.running) this.#collect(row, angles, time);
    const weights = Float64Array.from(row, (value, k) =>
      Math.max(value - this.weights[k], 0) / (1 - this.weights[k]));
    const turn = product(inverse(this.turn), headTurn(angles[0], angles[1], angles[2]));
    return { weights, angles: headAnglesOf(turn) };
  }

  #collect(row, angles, time) {
    this.start ??= time;
    if (time - this.start < Calibration.#seconds || this.samples.length < Calibration.#fewest) {
      this.samples.push([...row, ...angles.slice(0, 3)]);
      return;
    }
    const medians = this.samples[0].map((_, k) => median(this.samples.map((sample) => sample[k])));
    this.weights = medians.slice(0, WEIGHTS).map((value) => clamp(value, 0, Calibration.#highest));
    this.turn = headTurn(...medians.slice(WEIGHTS));
    this.stop();
  }
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** A trunk that stands in the clip's mean pose and follows the head, damped. */
export class TrunkFollower {
  static #follows = 0.25; // share of a head turn
  static #turnSeconds = 0.5;
  static #shiftSeconds = 0.2;
  static #mostTurn = 0.7; // radians
  static #mostShift = 0.03; // meters

  /** @param {import("./driving.js").Subject} subject with a trunk */
  constructor(subject) {
    Object.assign(this, { subject, turns: null, neck: null });
  }

  /** The twelve numbers (3 x 4) of the trunk's pose in the head's frame, `step` seconds later. */
  next({ R, t }, step) {
    const { base, neck: pivot, trunk: rest } = this.subject;
    const turns = axisAngleOf(product(inverse(base.R), R));
    const neck = rotate(R, pivot).map((value, axis) => value + t[axis]);
    const ease = (before, now, seconds) =>
      now.map((value, axis) => before[axis] - Math.expm1(-step / seconds) * (value - before[axis]));
    this.turns = ease(this.turns ?? turns, turns, TrunkFollower.#turnSeconds);
    this.neck = ease(this.neck ?? neck, neck, TrunkFollower.#shiftSeconds);
    const back = inverse(R);
    const held = product(base.R, matrixOf(this.turns.map((v) => TrunkFollower.#follows * v)));
    const follow = product(back, held);
    const stretch = rotate(back, this.neck.map((value, axis) => value - t[axis]));
    const lean = rotate(follow, rest.shift);
    const shift = stretch.map((value, axis) => value - pivot[axis] + lean[axis]);
    return bounded(product(follow, rest.R), shift, pivot, TrunkFollower.#mostTurn,
      TrunkFollower.#mostShift);
  }
}

/** The pose of a turn about a pivot and a shift of it, within what a neck allows. */
function bounded(turn, shift, pivot, mostTurn, mostShift) {
  const vector = axisAngleOf(turn);
  const angle = Math.hypot(...vector);
  const R = angle > mostTurn ? matrixOf(vector.map((v) => (v * mostTurn) / angle)) : turn;
  const factor = Math.min(1, mostShift / Math.max(Math.hypot(...shift), 1e-12));
  const moved = rotate(R, pivot);
  return [0, 1, 2].flatMap((row) => [
    R[3 * row], R[3 * row + 1], R[3 * row + 2],
    pivot[row] + factor * shift[row] - moved[row],
  ]);
}

export class Performer {
  static #longestStep = 1; // seconds

  /**
   * @param {import("./driving.js").Subject} subject
   * @param {boolean} raw whether samples are calibrated and smoothed here; others come so
   */
  constructor(subject, raw) {
    Object.assign(this, { subject, raw, mirror: false, time: null, shut: [SHUT, SHUT] });
    Object.assign(this, { calibration: new Calibration(), filter: new OneEuro() });
    this.trunk = subject.trunk ? new TrunkFollower(subject) : null;
  }

  /** Code and pose of a sample: 52 coefficients, head angles in radians or null, seconds. */
  frame(row, angles, time) {
    let weights = row;
    let turn = angles ?? [0, 0, 0];
    if (this.raw) {
      const measured = this.calibration.next(row, turn, time);
      const smooth = this.filter.next([...measured.weights, ...measured.angles], time);
      weights = smooth.subarray(0, WEIGHTS);
      turn = Array.from(smooth.subarray(WEIGHTS));
    }
    if (this.mirror) {
      weights = mirrored(this.subject, weights);
      turn = [-turn[0], turn[1], -turn[2]];
    }
    const { code, pose } = arkitToCode(this.subject, weights, turn);
    if (this.raw) this.#widen(code);
    const step = this.time === null ? 0 : clamp(time - this.time, 0, Performer.#longestStep);
    this.time = time;
    if (this.trunk) pose.trunk = this.trunk.next(pose, step);
    return { code: clampCode(this.subject, transferred(this.subject, code)), pose };
  }

  /** Lids closed as far as the performer was ever seen to close them are closed. */
  #widen(code) {
    const first = this.subject.expressions + 18;
    this.shut.forEach((most, side) => {
      this.shut[side] = Math.max(most, code[first + side]);
      code[first + side] /= this.shut[side];
    });
  }
}
