/**
 * Playback of recorded motions. The sound is the clock: what is drawn is the motion at the place
 * that is heard.
 */

import { PageError } from "./payload.js";
import { matrixOfQuaternion, sixOf, slerp } from "./turns.js";

/**
 * One motion of a payload, evaluated at any time as `Motion.resample` of the library does:
 * expressions and lids linearly, rotations by slerp.
 */
export class Motion {
  /**
   * @param {import("./payload.js").Payload} payload
   * @param {number} number of the motion
   */
  constructor(payload, number) {
    const { name, count, fps } = payload.meta.motions[number];
    if (!(Number.isInteger(count) && count > 0 && fps > 0 && fps <= 1000)) {
      throw new PageError(`the avatar's motion ${number + 1} is damaged; export it again`);
    }
    const { expressions } = payload.meta.counts;
    const part = (key, ...sizes) => payload.array(`motions/${number}/${key}`, [count, ...sizes]);
    Object.assign(this, { name, count, fps, expressions });
    this.exp = part("exp", expressions);
    this.joints = part("joints", 3, 4);
    this.lids = part("lids", 2);
    this.rotation = part("rotation", 4);
    this.translation = part("translation", 3);
    this.trunk = payload.has(`motions/${number}/trunk`) ? part("trunk", 7) : null;
  }

  /** Seconds until the end of the last frame. */
  get seconds() {
    return this.count / this.fps;
  }

  /** Code and pose at a time in seconds. */
  at(time) {
    const place = Math.min(this.count - 1, Math.max(0, time * this.fps));
    const left = Math.floor(place);
    const right = Math.min(this.count - 1, left + 1);
    const share = place - left;
    const between = (values, size, k) => {
      const start = values[left * size + k];
      return start + share * (values[right * size + k] - start);
    };
    const turn = (values, size, first) => {
      const matrix = (row) => {
        const at = row * size + first;
        return matrixOfQuaternion(values.subarray(at, at + 4));
      };
      return share === 0 ? matrix(left) : slerp(matrix(left), matrix(right), share);
    };
    const size = this.expressions;
    const code = new Float64Array(size + 20);
    for (let k = 0; k < size; k++) code[k] = between(this.exp, size, k);
    for (let j = 0; j < 3; j++) code.set(sixOf(turn(this.joints, 12, 4 * j)), size + 6 * j);
    for (let k = 0; k < 2; k++) code[size + 18 + k] = between(this.lids, 2, k);
    const point = (values, width, first) =>
      [0, 1, 2].map((axis) => between(values, width, first + axis));
    const pose = { R: turn(this.rotation, 4, 0), t: point(this.translation, 3, 0) };
    if (this.trunk) {
      const R = turn(this.trunk, 7, 0), t = point(this.trunk, 7, 4);
      pose.trunk = [0, 1, 2].flatMap((row) => [R[3 * row], R[3 * row + 1], R[3 * row + 2], t[row]]);
    }
    return { code, pose };
  }
}

/** Plays one motion, with its sound if it has one. */
export class Player {
  /**
   * @param {() => void} changed called when it starts, stops or jumps
   * @param {() => number} now seconds that pass while there is no sound
   */
  constructor(changed, now = () => performance.now() / 1000) {
    Object.assign(this, { changed, now, motion: null, audio: null, playing: false, loop: true });
    Object.assign(this, { tempo: 1, audible: true, start: 0, since: 0 });
  }

  /**
   * Show the first frame of a motion.
   *
   * @param {Motion} motion
   * @param {string | null} sound address of its sound
   */
  load(motion, sound) {
    this.unload();
    this.motion = motion;
    if (sound === null) return;
    const audio = new Audio();
    audio.preload = "auto";
    audio.preservesPitch = true;
    audio.src = sound;
    audio.addEventListener("error", () => {
      if (this.audio !== audio) return;
      this.#hold(this.time);
      this.audio = null;
    });
    this.audio = audio;
    this.#tune();
  }

  unload() {
    this.pause();
    this.audio?.removeAttribute("src");
    this.audio?.load();
    Object.assign(this, { motion: null, audio: null, start: 0 });
  }

  get seconds() {
    return this.motion?.seconds ?? 0;
  }

  /** The time in the motion, seconds. */
  get time() {
    if (!this.playing) return this.start;
    if (this.#heard) return this.audio.currentTime;
    return this.start + (this.now() - this.since) * this.tempo;
  }

  get #heard() {
    return this.audio !== null && !this.audio.ended && this.audio.readyState > 0;
  }

  async play() {
    if (this.playing || !this.motion) return;
    if (this.start >= this.seconds) this.#hold(0);
    this.playing = true;
    this.#hold(this.start);
    this.changed();
    try {
      if (this.audio && this.start < this.audio.duration) await this.audio.play();
    } catch (error) {
      // A page may refuse sound that no key or click asked for; the motion goes on without it.
      if (error.name === "NotAllowedError") this.audio = null;
    }
  }

  pause() {
    if (!this.playing) return;
    this.start = Math.min(this.time, this.seconds);
    this.playing = false;
    this.audio?.pause();
    this.changed();
  }

  seek(time) {
    this.#hold(Math.min(this.seconds, Math.max(0, time)));
    this.changed();
  }

  set({ tempo = this.tempo, loop = this.loop, audible = this.audible }) {
    if (this.playing) this.#hold(this.time);
    Object.assign(this, { tempo, loop, audible });
    this.#tune();
  }

  /** The frame to draw now; at the end it starts again or stops. */
  frame() {
    if (this.playing && this.time >= this.seconds) {
      if (this.loop) this.#hold(0);
      else this.pause();
    }
    return this.motion.at(this.time);
  }

  #hold(time) {
    this.start = time;
    this.since = this.now();
    if (!this.audio) return;
    if (Math.abs(this.audio.currentTime - time) > 1e-3) this.audio.currentTime = time;
    if (this.playing && this.audio.paused && time < (this.audio.duration || Infinity)) {
      this.audio.play().catch(() => {});
    }
  }

  #tune() {
    if (this.audio) Object.assign(this.audio, { playbackRate: this.tempo, muted: !this.audible });
  }
}
