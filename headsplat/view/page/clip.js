/** The clip: its frames, what each is for, and how well they are tracked and rendered. */

import { matrixOfQuaternion } from "./turns.js";

const NAMES = {
  train: "training", test: "held out", guard: "guard", unusable: "not usable",
};

export class Clip {
  /** @param {import("./payload.js").Payload} payload of /data/clip */
  constructor(payload) {
    const { meta } = payload;
    const array = (name) => (payload.has(name) ? payload.array(name) : null);
    Object.assign(this, {
      name: meta.name, fps: meta.fps, camera: meta.camera, tracked: meta.tracked,
      statusNames: meta.status_names, partNames: meta.part_names, measures: meta.measures,
      usable: meta.usable, problems: meta.problems,
    });
    for (const name of ["ids", "times", "status", "parts", "interpolated", "residual"]) {
      this[name] = array(name);
    }
    this.rotations = array("R");
    this.translations = array("t");
    this.rows = new Map(Array.from(this.ids, (id, row) => [id, row]));
    this.first = this.ids.reduce((a, b) => Math.min(a, b));
    this.last = this.ids.reduce((a, b) => Math.max(a, b));
    this.errors = new Map();
    const tested = array("errors/ids") ?? [];
    for (const { name } of this.measures) {
      const values = payload.array(`errors/${name}`);
      const byRow = new Map();
      tested.forEach((id, k) => {
        if (this.rows.has(id) && Number.isFinite(values[k])) byRow.set(this.rows.get(id), values[k]);
      });
      this.errors.set(name, byRow);
    }
  }

  get count() {
    return this.ids.length;
  }

  /** Name of a frame's part of the split, such as "train"; "" for none. */
  part(row) {
    return this.partNames[this.parts[row]] ?? "";
  }

  /** "bad" of frames that are not usable, "interpolated" where no face was found, else "". */
  flaw(row) {
    if (this.interpolated?.[row]) return "interpolated";
    return this.usable.includes(this.statusNames[this.status[row]]) ? "" : "bad";
  }

  /** Head to camera: R (9) row-major and t (3), meters. */
  pose(row) {
    const R = matrixOfQuaternion(this.rotations.subarray(4 * row, 4 * row + 4));
    return { R, t: Array.from(this.translations.subarray(3 * row, 3 * row + 3)) };
  }

  /** Rows of the held-out frames, the worst first. */
  worst(measure) {
    const { better } = this.measures.find(({ name }) => name === measure);
    const sign = better === "high" ? 1 : -1;
    return [...this.errors.get(measure)].sort((a, b) => sign * (a[1] - b[1])).map(([row]) => row);
  }

  /** A measure of a held-out frame in words, "" for other frames. */
  measured(measure, row) {
    const value = this.errors.get(measure)?.get(row);
    if (value === undefined) return "";
    const { unit } = this.measures.find(({ name }) => name === measure);
    return unit ? `${value.toFixed(1)} ${unit}` : value.toFixed(3);
  }

  /** Seconds of a frame in the motion that plays the track, which begins with the first id. */
  secondsOf(row) {
    return (this.ids[row] - this.first) / this.fps;
  }

  /** The row that such a motion shows at a time; null where the clip lacks this frame. */
  rowAt(time) {
    return this.rows.get(Math.round(time * this.fps) + this.first) ?? null;
  }

  /** Whether a motion of an avatar plays this clip's track. */
  isOf(motion) {
    return this.tracked && motion?.count === this.last - this.first + 1;
  }

  /** What is known of a frame, in words. */
  facts(row) {
    const said = [`Frame ${this.ids[row]}`, `${this.times[row].toFixed(2)} s`];
    const part = NAMES[this.part(row)];
    if (part) said.push(part);
    const status = this.statusNames[this.status[row]] ?? "";
    if (status && status !== "ok") said.push(status.replaceAll("_", " "));
    if (this.interpolated?.[row]) said.push("interpolated");
    const residual = this.residual?.[row];
    if (Number.isFinite(residual)) said.push(`residual ${residual.toFixed(2)} px`);
    return said.join(" · ");
  }
}

/** The chosen frame, by its row of the clip. */
export class Selection {
  constructor() {
    Object.assign(this, { row: 0, watchers: [] });
  }

  watch(watcher) {
    this.watchers.push(watcher);
  }

  choose(row) {
    if (row === this.row) return;
    this.row = row;
    for (const watcher of this.watchers) watcher(row);
  }
}
