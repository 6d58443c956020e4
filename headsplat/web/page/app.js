/** The page: what is shown, where it comes from, and when it is drawn. */

import { Deformer } from "./deform.js";
import { drivenByArkit, subjectOf } from "./driving.js";
import { faceControls } from "./controls.js";
import { LivePanels } from "./live_panels.js";
import { Look } from "./look.js";
import { Orbit } from "./orbit.js";
import { PageError, readPayload } from "./payload.js";
import { Renderer } from "./renderer.js";
import { Sliders, element } from "./sliders.js";
import { Transport } from "./transport.js";
import { bytesOf } from "./embedded.js";

const find = (id) => document.getElementById(id);
const UNEXPECTED = "Something went wrong; reload the page";

/**
 * Start the page.
 *
 * @param {object} config
 * @param {string} config.payload id of the script element that holds the avatar, or an address
 * @param {string | null} [config.stream] address of a live stream that is connected at once
 * @param {string[]} [config.files] ids or addresses of the webcam's files
 * @returns {Promise<App | null>} null where the avatar cannot be shown; the page says why
 */
export async function start(config) {
  const page = new Messages();
  addEventListener("unhandledrejection", ({ reason }) => page.problem(reason));
  try {
    const payload = await readPayload(await bytesOf(config.payload));
    const app = new App(page, config, payload);
    find("waiting").hidden = true;
    return app;
  } catch (error) {
    page.problem(error);
    find("waiting").hidden = true;
    find("app").classList.add("empty");
    return null;
  }
}

/** Messages to the user, one line each. */
class Messages {
  constructor() {
    find("problem").querySelector("button").addEventListener("click", () => this.problem(null));
  }

  /** Show an error until it is closed; null closes it. */
  problem(error) {
    const box = find("problem");
    box.hidden = error === null;
    if (error === null) return;
    if (!(error instanceof PageError)) console.warn(error);
    const text = error instanceof PageError ? error.message : UNEXPECTED;
    const line = text.replace(/\s+/g, " ").slice(0, 300);
    // A message that begins with a word, not with a file's name, is a sentence.
    const sentence = line.replace(/^[a-z]+(?=[ '])/, (word) => word[0].toUpperCase() + word.slice(1));
    box.querySelector("span").textContent = sentence;
  }

  status(text) {
    if (find("status").textContent !== text) find("status").textContent = text;
  }
}

export class App {
  #asked = false;
  #stale = true;
  #watchers = [];

  constructor(page, config, payload) {
    Object.assign(this, { page, config, canvas: find("canvas") });
    this.#use(payload);
    this.look = new Look(find("stage"), () => this.draw());
    this.orbit = new Orbit(this.canvas, this.#view(), () => this.draw());
    this.transport = new Transport(this, payload);
    this.live = new LivePanels(this);
    this.#listen();
    this.#renderer();
    this.transport.fill();
    if (config.stream) this.live.connect(config.stream);
  }

  /** Take an avatar: what the page knows of it, and sliders in its ranges. */
  #use(payload) {
    Object.assign(this, { payload, subject: subjectOf(payload) });
    this.deformer = new Deformer(payload);
    const { groups, compose } = faceControls(this.subject);
    this.sliders = new Sliders(find("sliders"), groups, () => {
      this.transport.choose("sliders");
      this.changed();
    });
    this.compose = compose;
    find("paired").hidden = !this.sliders.sided;
    const driven = drivenByArkit(this.subject);
    for (const id of ["webcam", "live"]) find(id).hidden = !driven;
    const { name, head, counts, model } = payload.meta;
    find("title").textContent = document.title = String(name);
    this.canvas.setAttribute("aria-label", `Head avatar of ${name}`);
    const facts = {
      Gaussians: (counts.gaussians + (counts.torso ?? 0)).toLocaleString("en"),
      Model: model, Head: `${head.name} ${head.version}`, "Head's license": head.licence,
    };
    find("facts").replaceChildren(
      ...Object.entries(facts).map(([term, value]) =>
        element("div", {}, element("dt", { textContent: term }),
          element("dd", { textContent: value }))),
    );
  }

  /** Show another avatar of the same subject, such as a later state of its training. */
  async swap(buffer) {
    const payload = await readPayload(buffer);
    const kept = { zoom: this.orbit.zoom, yaw: this.orbit.yaw, pitch: this.orbit.pitch };
    this.#use(payload);
    this.transport.replace(payload);
    this.live.replace();
    Object.assign(this.orbit, { view: this.#view() }, kept);
    this.#renderer();
  }

  /** Call a function after each drawn frame with `{source, time, frame, camera}`. */
  watch(watcher) {
    this.#watchers.push(watcher);
  }

  /** Draw again with a code and pose that may differ. */
  changed() {
    this.#stale = true;
    this.draw();
  }

  /** Draw again soon. */
  draw() {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame((now) => {
      this.#asked = false;
      this.#draw(now / 1000);
    });
  }

  /** Code and pose of the chosen source at a time in seconds. */
  #state(now) {
    const { source } = this.transport;
    const live = this.live.state(source, now);
    if (live) return live;
    if (source === "motion") return this.transport.player.frame();
    return this.compose(this.sliders.values);
  }

  #draw(now) {
    const begun = performance.now();
    const { source, player } = this.transport;
    if (player.playing || this.#stale || !this.frame) {
      const { code, pose } = this.#state(now);
      this.frame = this.deformer.fromCode(code, pose);
      this.#stale = false;
    }
    if (this.renderer) this.#paint();
    this.transport.show();
    const pace = player.playing ? "played" : this.live.moving(source) ? "live" : null;
    this.look.measure(now, performance.now() - begun, pace);
    for (const watcher of this.#watchers) {
      watcher({ source, time: player.time, frame: this.frame, camera: this.camera });
    }
    // A live source asks for each of its frames.
    if (player.playing) this.draw();
  }

  #paint() {
    this.renderer.resize(this.look.pixels);
    const { width, height } = this.canvas;
    this.camera = this.orbit.camera(this.frame.pose, width, height);
    this.renderer.draw(this.frame, this.camera, this.look.background);
  }

  /** Make the renderer anew; without WebGL2 the page says so and stays. */
  #renderer() {
    this.renderer?.dispose();
    this.renderer = null;
    try {
      this.renderer = new Renderer(this.canvas, this.payload);
    } catch (error) {
      this.page.problem(error);
    }
    this.changed();
  }

  /** Where the subject's camera stands, and the head in front of it. */
  #view() {
    const { meta } = this.payload;
    const { base, turns } = this.subject;
    const { means } = this.deformer.neutral();
    const head = means.subarray(0, 3 * meta.counts.gaussians);
    const extent = [0, 1, 2].map((axis) => {
      const values = head.filter((_, k) => k % 3 === axis).sort();
      return [values[Math.floor(0.02 * values.length)], values[Math.floor(0.98 * values.length)]];
    });
    const center = extent.map(([low, high]) => (low + high) / 2);
    const size = extent[1][1] - extent[1][0];
    return { ...meta.camera, center, size, turns, rotation: base.R, translation: base.t };
  }

  #listen() {
    const on = (id, name, act) => find(id).addEventListener(name, act);
    on("reset", "click", () => this.orbit.reset());
    on("beyond", "change", ({ target }) => this.orbit.allow(target.checked));
    on("shot", "click", () => this.#save());
    on("relax", "click", () => {
      this.sliders.reset();
      this.transport.choose("sliders");
      this.changed();
    });
    on("pair", "change", ({ target }) => this.sliders.pair(target.checked));
    on("canvas", "webglcontextlost", (event) => {
      event.preventDefault();
      this.renderer = null;
      this.page.status("The graphics were reset …");
    });
    on("canvas", "webglcontextrestored", () => {
      this.page.status("");
      this.#renderer();
    });
    on("canvas", "keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      if (event.key === " ") this.transport.toggle();
      else if (event.key === "s") this.#save();
      else return;
      event.preventDefault();
    });
    new ResizeObserver(() => this.draw()).observe(find("stage"));
  }

  /** Save what is drawn as a PNG file, without background where that is transparent. */
  #save() {
    if (!this.renderer || !this.frame) return;
    // The canvas keeps its pixels only until the browser has shown them.
    this.#paint();
    this.canvas.toBlob((blob) => {
      const address = URL.createObjectURL(blob);
      const name = String(this.payload.meta.name).replace(/[^\w.-]+/g, "_") || "avatar";
      element("a", { href: address, download: `${name}.png` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 10_000);
      this.page.status("Image saved");
      setTimeout(() => this.page.status(""), 2000);
    }, "image/png");
  }
}
