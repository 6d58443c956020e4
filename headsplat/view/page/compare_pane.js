/** Ground truth, render and their difference on black, as metrics see them, in the frame's camera. */

import { Deformer } from "./deform.js";
import { FrameBox } from "./frame_box.js";
import { Kept, Newest, image, packed } from "./data.js";
import { Motion } from "./player.js";
import { Renderer } from "./renderer.js";
import { element } from "./sliders.js";

const SEEN = 127; // of the matte
// Colors of a difference from none to all: black, violet, red, yellow, white.
const RAMP = [[0, 0, 0], [84, 22, 110], [222, 73, 60], [253, 220, 110], [255, 255, 255]];

export class ComparePane {
  /** @param {import("./view.js").View} view */
  constructor(view) {
    Object.assign(this, { view, renderer: null });
    this.boxes = ["truth", "render", "difference"].map((name) => new FrameBox([name]));
    const names = ["Ground truth", "Render", "Difference"];
    this.captions = names.map((textContent) => element("figcaption", { textContent }));
    const figures = this.boxes.map((box, k) =>
      element("figure", {}, box.root, this.captions[k]));
    this.gain = element("input", { type: "range", id: "gain", min: 1, max: 16, step: 1, value: 4 });
    this.gain.addEventListener("input", () => this.#difference());
    this.note = element("p", { className: "note", role: "status" });
    this.root = element("section", { className: "pane", id: "pane-compare" },
      element("div", { className: "figures" }, ...figures),
      element("div", { className: "controls" },
        element("label", {}, "Difference times ", this.gain), this.note));
    this.images = new Kept((id) => image(`data/image/${id}`), 12);
    this.truths = new Kept((id) => truthOf(id), 12);
    this.drawing = document.createElement("canvas");
    this.newest = new Newest((row) => this.#load(row), (error) => view.problem(error));
  }

  /** The clip, its images or the avatar changed. */
  renew() {
    this.images.clear();
    this.truths.clear();
    this.#dispose();
  }

  /** Take another state of the avatar. */
  use(payload) {
    this.payload = payload;
    this.#dispose();
  }

  show(row) {
    this.newest.ask(row);
  }

  #dispose() {
    this.renderer?.dispose();
    this.renderer = null;
  }

  async #load(row) {
    const { clip } = this.view;
    if (!clip) return;
    if (!this.truth) this.note.textContent = "Loading …";
    if (!clip.camera) {
      this.note.textContent = "Not tracked yet";
      return;
    }
    const id = clip.ids[row];
    const truth = await this.truths.get(id);
    const plain = truth ? null : await this.images.get(id);
    const { width, height } = clip.camera;
    for (const box of this.boxes) box.set(width, height);
    this.truth = truth ? onBlack(truth, width, height) : pixelsOf(plain, width, height);
    this.matte = truth ? pixelsOf(truth.matte, width, height) : null;
    put(this.boxes[0], this.truth);
    this.render = this.#rendered(row);
    put(this.boxes[1], this.render);
    this.#difference();
  }

  /** What the avatar shows of a frame, or null without an avatar of this clip. */
  #rendered(row) {
    const { payload } = this;
    if (!payload || !this.view.clip.isOf(payload.meta.motions[0])) return null;
    if (!this.renderer) {
      this.deformer = new Deformer(payload);
      this.renderer = new Renderer(this.drawing, payload);
      this.motion = new Motion(payload, 0);
    }
    const { width, height } = this.view.clip.camera;
    const { K } = payload.meta.camera;
    Object.assign(this.drawing, { width, height });
    const { code, pose } = this.motion.at(this.view.clip.secondsOf(row));
    const frame = this.deformer.fromCode(code, pose);
    this.renderer.draw(frame, { K, R: pose.R, t: pose.t, width, height }, [0, 0, 0]);
    return pixelsOf(this.drawing, width, height);
  }

  #difference() {
    const { truth, render, matte } = this;
    this.captions[2].textContent = "Difference";
    if (!truth || !render || !matte) {
      put(this.boxes[2], null);
      this.note.textContent = !truth ? "No image of this frame yet"
        : !matte ? "Masks of this frame are not there yet" : this.view.loading ? "Loading the avatar …" : "No avatar yet";
      return;
    }
    const gain = this.gain.valueAsNumber;
    const out = new ImageData(truth.width, truth.height);
    let sum = 0, count = 0, squares = 0;
    for (let k = 0; k < out.data.length; k += 4) {
      let largest = 0, all = 0;
      for (let c = 0; c < 3; c++) {
        const apart = Math.abs(truth.data[k + c] - render.data[k + c]);
        largest = Math.max(largest, apart);
        all += apart;
        squares += apart * apart;
      }
      if (matte.data[k] > SEEN) {
        sum += all / 3;
        count += 1;
      }
      heat(Math.min(1, (gain * largest) / 255), out.data, k);
    }
    put(this.boxes[2], out);
    const mean = count ? (sum / count).toFixed(1) : "–";
    this.captions[2].textContent = `Difference × ${gain}`;
    const noise = squares / (3 * truth.width * truth.height);
    const psnr = noise > 0 ? (10 * Math.log10(255 ** 2 / noise)).toFixed(1) : "∞";
    this.note.textContent = `PSNR of the image ${psnr} dB, mean difference of the head ${mean} of 255`;
  }
}

/** Color and matte of a frame, as training sees it. */
async function truthOf(id) {
  const payload = await packed(`data/truth/${id}`);
  if (!payload) return null;
  const [color, matte] = await Promise.all(["color", "matte"].map((name) =>
    createImageBitmap(new Blob([payload.array(name)]))));
  return { color, matte };
}

/** Pixels of an image at a size, or null. */
function pixelsOf(picture, width, height) {
  if (!picture) return null;
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(picture, 0, 0, width, height);
  return pen.getImageData(0, 0, width, height);
}

function onBlack({ color, matte }, width, height) {
  const [out, shares] = [color, matte].map((picture) => pixelsOf(picture, width, height));
  for (let k = 0; k < out.data.length; k++) {
    if (k % 4 === 3) continue;
    out.data[k] = Math.round((shares.data[k] / 255) * out.data[k]);
  }
  return out;
}

function put(box, pixels) {
  for (const canvas of box.canvases.values()) {
    const pen = canvas.getContext("2d");
    if (pixels) pen.putImageData(pixels, 0, 0);
    else pen.clearRect(0, 0, canvas.width, canvas.height);
  }
}

/** Write the color of a value in 0..1 at a place of an image's bytes. */
function heat(value, bytes, at) {
  const place = value * (RAMP.length - 1);
  const low = Math.min(RAMP.length - 2, Math.floor(place));
  for (let c = 0; c < 3; c++) {
    bytes[at + c] = RAMP[low][c] + (place - low) * (RAMP[low + 1][c] - RAMP[low][c]);
  }
  bytes[at + 3] = 255;
}
