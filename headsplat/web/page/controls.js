/**
 * Which sliders show the face and the head, and what code and pose their values mean.
 *
 * Heads with ARKit's shapes have a slider for each of ARKit's names. Others have one for each of the
 * first expressions, for jaw, lids and gaze. Ranges are those of the subject's clip.
 */

import { arkitToCode, clampCode, drivenByArkit, poseOfTurn } from "./driving.js";
import { matrixFrom6d } from "./rotation.js";
import { axisAngleOf, headTurn, matrixOf, sixOf } from "./turns.js";

const DEGREES = 180 / Math.PI;
const NUMBERED = 10; // expressions without names that have a slider
const SMALLEST = 0.01; // range of a slider, as a part of its unit
const GROUPS = [
  ["Brows", /^Brow/], ["Eyes", /^Eye/], ["Cheeks and nose", /^(Cheek|Nose)/], ["Jaw", /^Jaw/],
  ["Mouth", /^(Mouth|Tongue)/],
];

/**
 * @typedef {object} Control one slider
 * @property {string} key
 * @property {string} label
 * @property {number} low
 * @property {number} high
 * @property {number} rest value of the subject's neutral face
 * @property {string} [partner] key of the slider of the other side
 * @property {string} [together] label of both sides; only of the one that then stands for both
 */

/** @returns {{groups: [string, Control[]][], compose: (values: Map<string, number>) => object}} */
export function faceControls(subject) {
  const face = drivenByArkit(subject) ? arkitFace(subject) : numberedFace(subject);
  const turns = headControls(subject);
  const compose = (values) => {
    const angle = (name) => (values.get(name) ?? 0) / DEGREES;
    const turn = headTurn(angle("Head yaw"), angle("Head pitch"), angle("Head roll"));
    return { code: clampCode(subject, face.code(values)), pose: poseOfTurn(subject, turn) };
  };
  const groups = [...face.groups, ["Head", turns]];
  return { groups: groups.filter(([, controls]) => controls.length > 0), compose };
}

/** Sliders of the head's turns, in degrees. */
function headControls({ turns }) {
  return [["Head yaw", 1], ["Head pitch", 0], ["Head roll", 2]].map(([key, axis]) => ({
    key, label: key, low: Math.min(0, turns[0][axis] * DEGREES),
    high: Math.max(0, turns[1][axis] * DEGREES), rest: 0, unit: "°",
  }));
}

function arkitFace(subject) {
  const reach = seenReach(subject), rest = restOf(subject);
  const controls = subject.names
    .filter((name) => (reach.get(name) ?? 0) >= SMALLEST)
    .map((name) => ({
      key: name, label: asShown(name), low: 0, high: reach.get(name),
      rest: Math.min(rest.get(name), reach.get(name)), ...sides(name, reach),
    }));
  const code = (values) => {
    const row = subject.names.map((name) => values.get(name) ?? rest.get(name) ?? 0);
    return arkitToCode(subject, row).code;
  };
  const groups = GROUPS.map(([legend, pattern]) => [
    legend, controls.filter(({ key }) => pattern.test(key)),
  ]);
  return { groups, code };
}

/** Partner and common label of a sided coefficient; eyes that look left turn both. */
function sides(name, reach) {
  const match = /^(.+?)(Left|Right)$/.exec(name);
  if (!match || ["Jaw", "Mouth"].includes(match[1])) return {};
  const [, stem, side] = match;
  const other = side === "Left" ? "Right" : "Left";
  const look = /^EyeLook(In|Out)$/.exec(stem);
  const partner = look ? `EyeLook${look[1] === "In" ? "Out" : "In"}${other}` : stem + other;
  if (!((reach.get(partner) ?? 0) >= SMALLEST)) return {};
  const together = look ? `EyeLook${look[1] === "Out" ? "Left" : "Right"}` : stem;
  return side === "Left" ? { partner, together: asShown(together) } : { partner };
}

/** A name as ARKit and the exported mesh write it. */
function asShown(name) {
  return name[0].toLowerCase() + name.slice(1);
}

/** Angles of a joint that six numbers of a code's limits allow: down and to the left. */
function seenAngles(subject, first) {
  const [low, high] = subject.codes;
  const angle = (sine) => Math.asin(Math.min(1, Math.max(-1, sine)));
  return {
    down: angle(-low[first + 5]), up: angle(high[first + 5]),
    left: angle(high[first + 2]), right: angle(-low[first + 2]),
  };
}

/** The highest seen value of each coefficient that moves this head. */
function seenReach(subject) {
  const { expressions: size, codes, names } = subject;
  const reach = new Map();
  const part = (value) => Math.min(1, Math.max(0, value));
  subject.rows.forEach((row, k) => {
    if (row < 0) return;
    reach.set(names[row], Math.max(reach.get(names[row]) ?? 0, part(codes[1][k])));
  });
  reach.set("JawOpen", part(seenAngles(subject, size).down / subject.jawOpen));
  ["Left", "Right"].forEach((side, k) => {
    const seen = seenAngles(subject, size + 6 + 6 * k);
    const [out, inward] = k === 0 ? [seen.left, seen.right] : [seen.right, seen.left];
    const looks = { Out: out, In: inward, Down: seen.down, Up: seen.up };
    for (const [way, angle] of Object.entries(looks)) {
      reach.set(`EyeLook${way}${side}`, part(angle / subject.gaze));
    }
    reach.set(`EyeBlink${side}`, part(codes[1][size + 18 + k]));
  });
  return reach;
}

/** Coefficients of the subject's neutral face. */
function restOf(subject) {
  const { expressions: size, neutral, names } = subject;
  const rest = new Map(names.map((name) => [name, 0]));
  const shapes = new Map();
  subject.rows.forEach((row, k) => {
    if (row >= 0) shapes.set(names[row], [...(shapes.get(names[row]) ?? []), neutral[k]]);
  });
  for (const [name, values] of shapes) {
    rest.set(name, Math.max(0, values.reduce((sum, value) => sum + value, 0) / values.length));
  }
  const jaw = axisAngleOf(matrixFrom6d(neutral, size))[0];
  rest.set("JawOpen", Math.max(0, jaw / subject.jawOpen));
  ["Left", "Right"].forEach((side, k) => {
    const [down, left] = axisAngleOf(matrixFrom6d(neutral, size + 6 + 6 * k));
    const out = k === 0 ? left : -left;
    const looks = { Out: out, In: -out, Down: down, Up: -down };
    for (const [way, angle] of Object.entries(looks)) {
      rest.set(`EyeLook${way}${side}`, Math.max(0, angle / subject.gaze));
    }
    rest.set(`EyeBlink${side}`, Math.max(0, neutral[size + 18 + k]));
  });
  return rest;
}

/** Sliders of a head whose expressions have no names, such as FLAME. */
function numberedFace(subject) {
  const { expressions: size, codes, neutral } = subject;
  const within = (key, low, high, rest, unit = "") => ({
    key, label: key, low: Math.min(low, rest), high: Math.max(high, rest), rest, unit,
  });
  const entry = (key, k) => within(key, codes[0][k], codes[1][k], neutral[k]);
  const angle = (key, low, high, rest) =>
    within(key, low * DEGREES, high * DEGREES, rest * DEGREES, "°");
  const count = Math.min(NUMBERED, size);
  const expressions = Array.from({ length: count }, (_, k) => entry(`Expression ${k + 1}`, k));
  const jaw = axisAngleOf(matrixFrom6d(neutral, size)), seen = seenAngles(subject, size);
  const eye = axisAngleOf(matrixFrom6d(neutral, size + 6)), gaze = seenAngles(subject, size + 6);
  const groups = [
    ["Expression", expressions],
    ["Jaw", [
      angle("Jaw open", -seen.up, seen.down, jaw[0]),
      angle("Jaw left", -seen.right, seen.left, jaw[1]),
    ]],
    ["Eyes", [
      entry("Left lid", size + 18), entry("Right lid", size + 19),
      angle("Look down", -gaze.up, gaze.down, eye[0]),
      angle("Look left", -gaze.right, gaze.left, eye[1]),
    ]],
  ];
  const code = (values) => {
    const out = Float64Array.from(neutral);
    const value = (key) => values.get(key);
    for (let k = 0; k < count; k++) out[k] = value(`Expression ${k + 1}`);
    const turn = (down, left, roll) =>
      sixOf(matrixOf([value(down) / DEGREES, value(left) / DEGREES, roll]));
    out.set(turn("Jaw open", "Jaw left", jaw[2]), size);
    out.set(turn("Look down", "Look left", 0), size + 6);
    out.set(turn("Look down", "Look left", 0), size + 12);
    out.set([value("Left lid"), value("Right lid")], size + 18);
    return out;
  };
  return { groups, code };
}
