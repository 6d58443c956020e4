/**
 * The viewer's page: the avatar's page, and beside it the clip's images, track, cameras and errors.
 * It looks for news every other second, so that it follows a run.
 */

import { start } from "./app.js";
import { CamerasPane } from "./cameras_pane.js";
import { Clip, Selection } from "./clip.js";
import { ComparePane } from "./compare_pane.js";
import { bytes, json, packed } from "./data.js";
import { PageError } from "./payload.js";
import { element } from "./sliders.js";
import { ErrorsPane, Timeline } from "./timeline.js";
import { TrackPane } from "./track_pane.js";

const find = (id) => document.getElementById(id);
const EVERY = 2000; // milliseconds between looks for news
const UNEXPECTED = "Something went wrong; reload the page";
const AVATAR = "avatar";

export class View {
  constructor(config) {
    Object.assign(this, { config, app: null, clip: null, known: {}, shown: AVATAR });
    this.selection = new Selection();
    this.timeline = new Timeline(this.selection);
    this.errors = new ErrorsPane(this.selection, () => this.#clipShown());
    this.panes = new Map([
      ["track", new TrackPane(this)], ["compare", new ComparePane(this)],
      ["cameras", new CamerasPane(this)],
    ]);
    this.#place();
    this.selection.watch((row) => this.#chosen(row));
  }

  /** Show an error until it is closed. */
  problem(error) {
    if (!(error instanceof PageError)) console.warn(error);
    const box = find("problem");
    box.querySelector("span").textContent =
      error instanceof PageError ? error.message : UNEXPECTED;
    box.hidden = false;
  }

  /** Look for news from now on. */
  async run() {
    for (;;) {
      try {
        await this.#look();
        if (this.lost) find("problem").hidden = true;
        this.lost = false;
      } catch (error) {
        if (!this.lost) this.problem(error);
        this.lost = true;
      }
      await new Promise((done) => setTimeout(done, EVERY));
    }
  }

  #place() {
    const names = [
      [AVATAR, "Avatar"], ["track", "Track"], ["compare", "Compare"], ["cameras", "Cameras"],
    ];
    this.tabs = new Map(names.map(([key, textContent]) => {
      const tab = element("button", { type: "button", id: `tab-${key}`, textContent });
      tab.addEventListener("click", () => this.choose(key));
      return [key, tab];
    }));
    this.state = element("p", { id: "training", role: "status" });
    const bar = element("nav", { id: "views" }, ...this.tabs.values(), this.state);
    bar.setAttribute("aria-label", "Views");
    find("stage").before(bar);
    find("stage").after(this.timeline.root);
    for (const pane of this.panes.values()) find("stage").append(pane.root);
    find("panels").prepend(this.errors.root);
    find("problem").querySelector("button").addEventListener("click", () => {
      find("problem").hidden = true;
    });
    find("app").classList.add("bare");
    this.choose(AVATAR);
  }

  /** Show one of the views. */
  choose(key) {
    this.shown = key;
    for (const [name, tab] of this.tabs) tab.setAttribute("aria-pressed", String(name === key));
    for (const [name, pane] of this.panes) pane.root.hidden = name !== key;
    find("app").dataset.view = key;
    const pane = this.panes.get(key);
    if (this.clip) pane?.show(this.selection.row);
    else if (pane?.note) pane.note.textContent = "Loading …";
    if (key === AVATAR) this.app?.draw();
  }

  /** A frame was chosen: show it in the open view, and let the avatar take its expression. */
  #chosen(row) {
    this.panes.get(this.shown)?.show(row);
    const { app } = this;
    if (!app || this.following) return;
    if (!this.clip.isOf(app.payload.meta.motions[0])) return;
    // Behind another view, sliders and live sources keep the avatar.
    if (app.transport.source !== "motion" && this.shown !== AVATAR) return;
    app.transport.choose("motion:0");
    app.transport.player.seek(this.clip.secondsOf(row));
  }

  async #look() {
    const now = await json("data/state");
    if (!now) return;
    const { known } = this;
    const packs = String(now.packs);
    if (now.clip !== known.clip || packs !== known.packs) await this.#readClip();
    const version = now.avatar?.version ?? null;
    if (version !== null && version !== known.avatar) await this.#readAvatar();
    if (version === null && !this.app) find("waiting").textContent = "There is no avatar yet.";
    this.known = { clip: now.clip, packs, avatar: version };
    if (now.avatar?.kind === "trained") this.state.textContent = "";
  }

  async #readClip() {
    const payload = await packed("data/clip");
    if (!payload) return;
    this.clip = new Clip(payload);
    const first = this.clip.problems[0];
    if (first) this.problem(new PageError(first));
    for (const pane of this.panes.values()) pane.renew();
    if (!this.app) find("title").textContent = document.title = this.clip.name;
    this.errors.show(this.clip);
    this.#clipShown();
    this.panes.get(this.shown)?.show(this.selection.row);
  }

  #clipShown() {
    this.timeline.show(this.clip, this.errors.measure);
  }

  /** Take the newest avatar: the first one starts the page, later ones replace it. */
  async #readAvatar() {
    this.loading = !this.app;
    if (this.loading && this.shown === "compare") this.panes.get("compare").show(this.selection.row);
    if (this.app) {
      const buffer = await bytes("data/avatar");
      if (buffer) await this.app.swap(buffer);
    } else {
      const stream = this.config.live ? `ws://${location.host}/stream` : null;
      this.app = await start({ payload: this.config.payload, stream });
      this.app?.watch((drawn) => this.#follow(drawn));
    }
    if (!this.app) {
      this.loading = false;
      find("app").classList.remove("empty");
      return;
    }
    find("app").classList.remove("bare");
    this.loading = false;
    const { training } = this.app.payload.meta;
    this.state.textContent = training ? `Training: step ${training.step} of ${training.steps}` : "";
    this.panes.get("compare").use(this.app.payload);
    if (this.shown === "compare" && this.clip) this.panes.get("compare").show(this.selection.row);
  }

  /** The avatar plays the clip: the other views show the same frame. */
  #follow({ source, time }) {
    if (source !== "motion" || this.app.transport.value !== "motion:0" || !this.clip) return;
    const row = this.clip.rowAt(time);
    if (row === null || !this.clip.isOf(this.app.payload.meta.motions[0])) return;
    this.following = true;
    this.selection.choose(row);
    this.following = false;
  }
}

const view = new View(JSON.parse(find("config").textContent));
view.run();
