/**
 * From ARKit's coefficients to the subject's frame code and head pose.
 *
 * A frame code is E expressions | jaw 6D | left eye 6D | right eye 6D | two eyelids, as in
 * `headsplat/frame_code.py`. The mapping is that of `headsplat/drive/arkit_motion.py`, the limits
 * are those of `headsplat/drive/limits.py`.
 */

import { matrixFrom6d, product } from "./rotation.js";
import { IDENTITY, axisAngleOf, headTurn, matrixOf, rotate, sixOf } from "./turns.js";

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
// Of eyes, so that nothing is divided by zero; meters, as in `headsplat/drive/closure.py`.
const LEAST_OPENING = 1e-4;

/**
 * What driving knows of the subject.
 *
 * @typedef {object} Subject
 * @property {string[]} names of ARKit's 52 coefficients, in the order of a row
 * @property {Map<string, number>} index of a name
 * @property {number[]} rows place in a row of the coefficient of each expression shape; -1 for
 *   shapes that joints and lids show, or that have other names
 * @property {number} jawOpen angle of the jaw at coefficient 1, radians
 * @property {number} gaze angle of an eye at coefficient 1, radians
 * @property {string[]} shapes names of the expression shapes; empty if they have none
 * @property {number} expressions E
 * @property {number[][] | null} range lowest and highest expression that the head model allows
 * @property {number[][]} codes lowest and highest code to drive with
 * @property {number[][]} turns lowest and highest turn from the base pose, axis-angle in radians
 * @property {{R: number[], t: number[]}} base the base pose, head to the subject's camera, meters
 * @property {number[]} neck joint about which the head turns, meters in the head's frame
 * @property {number[]} neutral code of the subject's neutral face
 * @property {{bare: number, lid: number, opened: number, shut: number, shapes: number[]}[]} eyes
 *   left and right: opening without expression, its change by the lid's code, openings of the
 *   subject's open and closed eyes, changes by the expressions; meters
 * @property {{R: number[], shift: number[]} | null} trunk mean turn of the trunk to the head, and
 *   mean shift of the neck joint in meters; null of a stiff neck
 */

/** @returns {Subject} of a payload */
export function subjectOf(payload) {
  const { head, counts, base, neck, trunk } = payload.meta;
  const rows = (name, width) => {
    const values = Array.from(payload.array(name, [2, width]));
    return [values.slice(0, width), values.slice(width)];
  };
  const bounded = payload.has("limits/expressions");
  return {
    names: head.arkit.names,
    index: new Map(head.arkit.names.map((name, index) => [name, index])),
    rows: head.arkit.rows,
    jawOpen: head.arkit.jaw_open,
    gaze: head.arkit.gaze,
    shapes: head.expressions,
    expressions: counts.expressions,
    range: bounded ? rows("limits/expressions", counts.expressions) : null,
    codes: rows("limits/codes", counts.code),
    turns: rows("limits/turns", 3),
    neutral: Array.from(payload.array("limits/neutral", [counts.code])),
    eyes: rows("limits/lids", 4 + counts.expressions).map(
      ([bare, lid, opened, shut, ...shapes]) => ({ bare, lid, opened, shut, shapes })),
    trunk: trunk ?? null,
    base,
    neck,
  };
}

/** Whether the head's expression shapes have ARKit's names. */
export function drivenByArkit(subject) {
  return subject.rows.some((row) => row >= 0);
}

/** A row as a mirror shows it. */
export function mirrored(subject, row) {
  return subject.names.map((name) => row[subject.index.get(otherSide(name))]);
}

/** The coefficient of the other side of the face, or the same one. */
function otherSide(name) {
  if (name.endsWith("Left")) return `${name.slice(0, -4)}Right`;
  return name.endsWith("Right") ? `${name.slice(0, -5)}Left` : name;
}

/**
 * ARKit's coefficients as a frame code, and head angles as a pose.
 *
 * @param {Subject} subject
 * @param {ArrayLike<number>} row 52 coefficients in the order of `subject.names`
 * @param {ArrayLike<number>} [angles] head yaw, pitch and roll in radians; none keep the base pose
 * @returns {{code: Float64Array, pose: {R: number[], t: number[]}}} the code without limits, the
 *   pose within the seen turns
 */
export function arkitToCode(subject, row, angles) {
  const { rows, expressions, range, index } = subject;
  const code = new Float64Array(expressions + 20);
  const [low, high] = range ?? [rows.map(() => 0), rows.map(() => 1)];
  rows.forEach((place, k) => {
    code[k] = clamp(place < 0 ? 0 : row[place], low[k], high[k]);
  });
  const value = (name) => clamp(row[index.get(name)], 0, 1);
  const eye = (side) => {
    const left = value(`EyeLookOut${side}`) - value(`EyeLookIn${side}`);
    const down = value(`EyeLookDown${side}`) - value(`EyeLookUp${side}`);
    const turn = [down, side === "Right" ? -left : left, 0];
    return sixOf(matrixOf(turn.map((part) => subject.gaze * part)));
  };
  code.set(sixOf(matrixOf([subject.jawOpen * value("JawOpen"), 0, 0])), expressions);
  code.set(eye("Left"), expressions + 6);
  code.set(eye("Right"), expressions + 12);
  code.set([value("EyeBlinkLeft"), value("EyeBlinkRight")], expressions + 18);
  const turn = angles ? headTurn(angles[0], angles[1], angles[2]) : IDENTITY;
  return { code, pose: poseOfTurn(subject, turn) };
}

/** The pose with the head turned about the neck from the base pose, without limits. */
function turnedPose({ base, neck }, turn) {
  const moved = rotate(turn, neck);
  const lever = rotate(base.R, neck.map((value, axis) => value - moved[axis]));
  return { R: product(base.R, turn), t: base.t.map((value, axis) => value + lever[axis]) };
}

/** The pose with the head turned about the neck, within the seen turns. */
export function poseOfTurn(subject, turn) {
  const vector = axisAngleOf(turn);
  const held = vector.map((v, axis) => clamp(v, subject.turns[0][axis], subject.turns[1][axis]));
  const beyond = held.some((v, axis) => v !== vector[axis]);
  return turnedPose(subject, beyond ? matrixOf(held) : turn);
}

/** A code within the seen range, for the deformation. */
export function clampCode(subject, code) {
  const [low, high] = subject.codes;
  return Float32Array.from(code, (value, k) => clamp(value, low[k], high[k]));
}

/** The code of a face without expression: mouth closed, eyes open and straight. */
export function neutralCode(subject) {
  const code = new Float64Array(subject.expressions + 20);
  for (let k = 0; k < 3; k++) code.set([1, 0, 0, 0, 1, 0], subject.expressions + 6 * k);
  return code;
}

/**
 * A performer's code on top of the subject's neutral face. The performer's own neutral face has the
 * code of `neutralCode`, as calibrated coefficients give it.
 *
 * Expressions are added, the jaw turns on from the subject's, and eyes go the performer's part of the
 * way from open to closed. The gaze is taken as it is. See `headsplat/drive/transfer.py`, which also
 * raises the jaw where the subject's lips would not close.
 *
 * @param {Subject} subject
 * @param {ArrayLike<number>} code of the performer
 */
export function transferred(subject, code) {
  const { expressions: size, neutral: there, range } = subject;
  const out = Float64Array.from(code);
  for (let k = 0; k < size; k++) {
    const moved = there[k] + code[k];
    out[k] = range ? clamp(moved, range[0][k], range[1][k]) : moved;
  }
  const jaw = product(matrixFrom6d(code, size), matrixFrom6d(there, size));
  out.set(sixOf(jaw), size);
  subject.eyes.forEach((eye, side) => {
    const place = size + 18 + side;
    out[place] = closedLid(eye, code, out, code[place]);
  });
  return out;
}

/** The lid's code with which the subject's eye is as far closed as the performer's. */
function closedLid({ bare, lid, opened, shut, shapes }, performer, subject, closed) {
  const opening = (code) => shapes.reduce((sum, change, k) => sum + change * code[k], bare);
  const least = Math.min(Math.max(bare + lid, 0), bare - LEAST_OPENING);
  const part = (bare - opening(performer) - lid * closed) / (bare - least);
  const wanted = opened - part * (opened - shut);
  return clamp((wanted - opening(subject)) / Math.min(lid, -LEAST_OPENING), 0, 1);
}
