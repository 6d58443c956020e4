/** The bar of playback: what is shown, play, seek, speed, loop and sound. */

import { drivenByArkit } from "./driving.js";
import { Motion, Player } from "./player.js";
import { element } from "./sliders.js";

const find = (id) => document.getElementById(id);
const LIVE = [["sliders", "Sliders"], ["webcam", "Webcam"], ["stream", "Live stream"]];

/** Seconds as minutes and seconds. */
function clock(seconds) {
  const whole = Math.floor(seconds + 1e-6);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export class Transport {
  /**
   * @param {import("./app.js").App} app
   * @param {import("./payload.js").Payload} payload
   */
  constructor(app, payload) {
    Object.assign(this, { app, payload, sounds: new Map() });
    this.player = new Player(() => this.#changed());
    const on = (id, name, act) => find(id).addEventListener(name, act);
    on("play", "click", () => this.toggle());
    on("position", "input", ({ target }) => this.player.seek(target.valueAsNumber));
    on("source", "change", ({ target }) => {
      this.choose(target.value);
      this.app.live.chosen(this.source);
    });
    on("tempo", "change", ({ target }) => this.player.set({ tempo: Number(target.value) }));
    on("loop", "change", ({ target }) => this.player.set({ loop: target.checked }));
    on("audible", "change", ({ target }) => this.player.set({ audible: target.checked }));
  }

  /** Offer what the avatar has, and show the first of it. */
  fill() {
    this.#offer();
    this.choose(find("source").value);
  }

  /** Take a later state of the same avatar; what is shown goes on where it can. */
  replace(payload) {
    this.payload = payload;
    // Addresses of sounds stay valid, because one of them may be playing.
    this.sounds.clear();
    this.#offer();
    find("source").value = this.value;
    if (find("source").selectedIndex < 0) this.fill();
  }

  #offer() {
    const { motions } = this.payload.meta;
    const recorded = motions.map(({ name }, k) => [`motion:${k}`, String(name)]);
    const live = drivenByArkit(this.app.subject) ? LIVE : LIVE.slice(0, 1);
    const group = (label, entries) =>
      element("optgroup", { label },
        ...entries.map(([value, textContent]) => element("option", { value, textContent })));
    const groups = recorded.length ? [group("Recorded", recorded)] : [];
    find("source").replaceChildren(...groups, group("By hand and live", live));
    find("sound").hidden = !motions.some(({ sound }) => sound);
  }

  /** Show a source: `motion:0`, `sliders`, `webcam` or `stream`. */
  choose(value) {
    if (this.value === value) return;
    this.value = find("source").value = value;
    this.source = value.split(":")[0];
    const recorded = this.source === "motion";
    if (recorded) {
      const number = Number(value.slice("motion:".length));
      this.player.load(new Motion(this.payload, number), this.#sound(number));
      find("position").max = this.player.seconds;
    } else {
      this.player.unload();
    }
    for (const id of ["play", "position", "tempo", "loop", "audible"]) {
      find(id).disabled = !recorded;
    }
    find("transport").classList.toggle("idle", !recorded);
    this.#changed();
  }

  toggle() {
    if (this.player.playing) this.player.pause();
    else this.player.play();
  }

  /** Show the place of the player on the page. */
  show() {
    const { time, seconds } = this.player;
    if (this.source !== "motion") {
      find("time").textContent = "";
      return;
    }
    const position = find("position");
    if (Math.abs(position.valueAsNumber - time) > 1e-3) position.value = time;
    const text = `${clock(time)} / ${clock(seconds)}`;
    if (find("time").textContent === text) return;
    find("time").textContent = text;
    position.setAttribute("aria-valuetext", `${clock(time)} of ${clock(seconds)}`);
  }

  /** Address of a motion's sound, or null. */
  #sound(number) {
    const { sound } = this.payload.meta.motions[number];
    if (!sound) return null;
    if (!this.sounds.has(number)) {
      const bytes = this.payload.array(`motions/${number}/sound`);
      const blob = new Blob([bytes], { type: "audio/mp4" });
      this.sounds.set(number, URL.createObjectURL(blob));
    }
    return this.sounds.get(number);
  }

  #changed() {
    const { playing } = this.player;
    find("play").classList.toggle("playing", playing);
    find("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    this.app.changed();
  }
}
