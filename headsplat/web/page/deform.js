/**
 * From frame codes to what the renderer draws: posed vertices, weights of the bases, and the
 * positions of all Gaussians, which give their order in depth.
 *
 * Equal, up to rounding, to `Avatar.gaussians` of the library. Lengths are in meters, in the head's
 * frame: x towards the subject's left, y up, the face looks to +z.
 */

import { AnchorPoints, TORSO_CODE, TorsoPoints } from "./gaussian_points.js";
import { HeadSurface, TURNING } from "./head_surface.js";
import { Mixture, Offsets } from "./mixture.js";
import { PageError } from "./payload.js";
import { IDENTITY_6D } from "./rotation.js";

const MOST_GAUSSIANS = 2 ** 20;

/**
 * A head pose: the head's frame to the subject's camera (OpenCV axes), and the trunk's frame to
 * the head's.
 *
 * @typedef {object} Pose
 * @property {ArrayLike<number>} R nine numbers, row-major.
 * @property {ArrayLike<number>} t three numbers, meters.
 * @property {ArrayLike<number>|null} [trunk] twelve numbers, rows of the 3 x 4 matrix; without it
 *   the neck is stiff.
 */

/**
 * One frame. It belongs to the deformer, and the deformer's next frame overwrites it.
 *
 * @typedef {object} Frame
 * @property {Float32Array} code (C) within the seen limits.
 * @property {Pose} pose
 * @property {Float32Array} weights (K) of the head's bases.
 * @property {Float32Array} vertices (n, 3) posed.
 * @property {Float32Array} means (N + M, 3) of all Gaussians, the torso's last.
 * @property {Float32Array} torsoWeights (9) of the torso's bases.
 * @property {number[]} trunkTurn (4) quaternion, trunk to head.
 * @property {number[]} trunkShift (3)
 */

/** Evaluates one avatar. */
export class Deformer {
  /** @param {import("./payload.js").Payload} payload */
  constructor(payload) {
    const { meta } = payload;
    const counts = checkedCounts(meta.counts);
    /** @type {{gaussians: number, torso: number, bases: number, vertices: number,
     *   expressions: number, code: number, hidden: number}} */
    this.counts = counts;
    this.baked = meta.model === "flashavatar";
    if (!this.baked && meta.model !== "blendshapes") {
      throw new PageError(`the avatar's model ${String(meta.model).slice(0, 40)} is not known here`);
    }
    this._base = checkedPose(meta.base);
    this._limits = payload.array("limits/codes", [2, counts.code]);
    this._head = new HeadSurface(payload, counts);
    this._mixture = new Mixture(payload, counts);
    this._offsets = new Offsets(payload, "gaussians", counts.gaussians, counts.bases, this.baked);
    this._anchors = new AnchorPoints(payload, counts);
    this._torso = counts.torso ? new TorsoPoints(payload, counts.torso) : null;
    this._frame = {
      code: new Float32Array(counts.code),
      pose: this._base,
      weights: new Float32Array(counts.bases),
      vertices: this._head.posed,
      means: new Float32Array(3 * (counts.gaussians + counts.torso)),
      torsoWeights: new Float32Array(TORSO_CODE),
      trunkTurn: [1, 0, 0, 0],
      trunkShift: [0, 0, 0],
    };
  }

  /** @returns {Float32Array} (C) code of the neutral face. */
  neutralCode() {
    const code = new Float32Array(this.counts.code);
    for (let joint = 0; joint < TURNING; joint++) {
      code.set(IDENTITY_6D, this.counts.expressions + 6 * joint);
    }
    return code;
  }

  /** @returns {Frame} the neutral face in the clip's mean pose. */
  neutral() {
    return this.fromCode(this.neutralCode(), this._base);
  }

  /**
   * The frame of a code and a pose.
   *
   * @param {ArrayLike<number>} code (C) expressions, jaw 6D, eyes 12, lids 2, as
   *   `headsplat.frame_code` has them; clamped to the subject's limits.
   * @param {Pose} pose of the motion, never of a camera that orbits the head.
   * @returns {Frame}
   */
  fromCode(code, pose) {
    const frame = this._frame;
    const size = this.counts.code;
    if (code.length !== size) throw new PageError(`a code of ${code.length} numbers, not ${size}`);
    for (let i = 0; i < size; i++) {
      frame.code[i] = Math.min(Math.max(code[i], this._limits[i]), this._limits[size + i]);
    }
    frame.pose = pose;
    const trunk = pose.trunk || null;
    this._mixture.weights(frame.code, pose.R, frame.weights);
    // FlashAvatar's neck is stiff: its checkpoints hold no trunk.
    this._head.pose(frame.code, this.baked ? null : trunk);
    this._offsets.mix(frame.weights);
    this._anchors.place(frame.vertices, this._offsets.mixed, this.baked, frame.means);
    if (this._torso) {
      const start = 3 * this.counts.gaussians;
      this._torso.place(pose, trunk, frame, frame.means.subarray(start));
    }
    return frame;
  }
}

function checkedCounts(given) {
  const most = {
    gaussians: MOST_GAUSSIANS, torso: MOST_GAUSSIANS, bases: 256, vertices: 2 ** 18,
    expressions: 1024, code: 1024 + 20, hidden: 1024,
  };
  const counts = {};
  for (const [name, limit] of Object.entries(most)) {
    const value = given[name];
    if (!Number.isInteger(value) || value < 0 || value > limit) {
      throw new PageError(`the avatar's number of ${name} is damaged; export it again`);
    }
    counts[name] = value;
  }
  if (counts.code !== counts.expressions + 20 || counts.gaussians === 0) {
    throw new PageError("the avatar's sizes do not fit each other; export it again");
  }
  return counts;
}

function checkedPose(pose) {
  const numbers = (values, count) =>
    Array.isArray(values) && values.length === count && values.every(Number.isFinite);
  if (!pose || !numbers(pose.R, 9) || !numbers(pose.t, 3)) {
    throw new PageError("the avatar's mean pose is damaged; export it again");
  }
  return { R: pose.R, t: pose.t, trunk: null };
}
