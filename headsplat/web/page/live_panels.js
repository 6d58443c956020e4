/** Live driving: the panels of webcam and stream, and the performer they show. */

import { bytesOf } from "./embedded.js";
import { FaceFiles, MODEL, PACKAGE } from "./face_files.js";
import { PageError } from "./payload.js";
import { Performer } from "./performer.js";
import { element } from "./sliders.js";
import { Stream } from "./stream.js";
import { Webcam } from "./webcam.js";

const find = (id) => document.getElementById(id);
/** An address as the page shows it: its token is a secret. */
const withoutToken = (address) => address.replace(/\?token=.*$/, "");
const LOST = 1; // seconds without a face until the page says so

export class LivePanels {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    Object.assign(this, { app, files: new FaceFiles(), shown: null, seenAt: 0 });
    this.webcam = new Webcam(find("preview"), this.files, app.subject.index, (face) =>
      this.#seen("webcam", face));
    this.stream = new Stream((message) => this.#seen("stream", message.seen ? message : null),
      (state, problem) => this.#linked(state, problem));
    this.replace();
    this.#listen();
    this.#list();
    this.#embedded(app.config.files ?? []);
  }

  /** Take the subject of another avatar; a neutral face that was taken stays. */
  replace() {
    const kept = this.performers;
    this.performers = {
      webcam: new Performer(this.app.subject, true),
      stream: new Performer(this.app.subject, false),
    };
    for (const [name, performer] of Object.entries(this.performers)) {
      if (kept) performer.calibration = kept[name].calibration;
    }
    this.performers.webcam.mirror = find("mirror").checked;
  }

  /** Connect to a stream and show it. */
  connect(address) {
    this.given = address;
    find("address").value = withoutToken(address);
    this.asked = true;
    this.stream.connect(address);
  }

  /** The user chose a source: open its panel, and start what can start. */
  chosen(source) {
    const panel = { webcam: "webcam", stream: "live", sliders: "face" }[source];
    if (panel) find(panel).open = true;
    if (source === "webcam" && !find("camera").disabled && !this.webcam.running) this.#camera();
  }

  /** Code and pose of a live source, or null for others and before its first face. */
  state(source) {
    return this.shown?.source === source ? this.shown.state : null;
  }

  /** Whether a source brings frames by itself. */
  moving(source) {
    if (source === "webcam") return this.webcam.running;
    return source === "stream" && this.stream.open;
  }

  #listen() {
    const on = (id, name, act) => find(id).addEventListener(name, act);
    on("camera", "click", () => this.#camera());
    on("rest", "click", () => this.#calibrate());
    on("again", "click", () => this.stream.send("calibrate"));
    on("mirror", "change", ({ target }) => {
      this.performers.webcam.mirror = target.checked;
      find("preview").classList.toggle("mirrored", target.checked);
    });
    on("choose", "change", ({ target }) => {
      this.#add([...target.files]);
      target.value = "";
    });
    on("connect", "submit", (event) => {
      event.preventDefault();
      if (this.stream.wanted) this.stream.close();
      else this.connect(this.#entered());
    });
    this.#dropping();
  }

  /** The address of the field; with its token, which is not shown, if it is the last one. */
  #entered() {
    const shown = find("address").value.trim();
    return this.given && shown === withoutToken(this.given) ? this.given : shown;
  }

  /** Take the next second as the performer's neutral face. */
  #calibrate() {
    this.performers.webcam.calibration.begin();
    find("rest").disabled = true;
  }

  #dropping() {
    const carries = (event) => event.dataTransfer?.types.includes("Files");
    const shown = (visible) => { find("drop").hidden = !visible; };
    addEventListener("dragover", (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      shown(true);
    });
    addEventListener("dragleave", (event) => event.relatedTarget === null && shown(false));
    addEventListener("drop", (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      shown(false);
      this.#add([...event.dataTransfer.files]);
    });
  }

  /** Take files of the page or its server; their absence is no error. */
  async #embedded(places) {
    for (const place of places) {
      try {
        await this.files.add(new Blob([await bytesOf(place)]));
      } catch (error) {
        console.info(error.message);
      }
    }
    this.#list();
  }

  async #add(files) {
    find("webcam").open = true;
    for (const file of files) {
      try {
        await this.files.add(file);
      } catch (error) {
        this.app.page.problem(error);
      }
    }
    this.#list();
  }

  #list() {
    const item = (there, name, command) =>
      element("li", { className: there ? "there" : "" }, name,
        element(there ? "span" : "code", { textContent: there ? " is here" : command }));
    const { packaged, modeled } = this.files;
    find("files").replaceChildren(
      item(packaged, PACKAGE, "npm pack @mediapipe/tasks-vision@0.10.35"),
      item(modeled, MODEL, "headsplat models"),
    );
    find("needed").hidden = packaged && modeled;
    find("camera").disabled = !(packaged && modeled);
  }

  async #camera() {
    const button = find("camera");
    if (this.webcam.running) {
      this.webcam.stop();
      this.#stopped("");
      return;
    }
    button.disabled = true;
    find("tracking").textContent = "Starting …";
    try {
      await this.webcam.start((problem) => this.#stopped(problem));
      this.app.transport.choose("webcam");
      for (const id of ["preview", "rest", "mirrors"]) find(id).hidden = false;
      find("preview").classList.toggle("mirrored", find("mirror").checked);
      button.textContent = "Stop camera";
      this.seenAt = performance.now() / 1000;
      find("tracking").textContent = "Looking for a face …";
      this.#calibrate();
      this.app.draw();
    } catch (error) {
      find("tracking").textContent = "";
      this.app.page.problem(error);
    }
    button.disabled = false;
  }

  #stopped(problem) {
    find("camera").textContent = "Start camera";
    for (const id of ["preview", "rest", "mirrors"]) find(id).hidden = true;
    find("tracking").textContent = problem;
    this.performers.webcam.calibration.stop();
  }

  /** A sample of a live source; null where no face is seen, which keeps the last one. */
  #seen(source, face) {
    const now = performance.now() / 1000;
    if (face) {
      const performer = this.performers[source];
      this.shown = { source, state: performer.frame(face.row, face.angles, face.time) };
      this.seenAt = now;
      if (source === "webcam") find("rest").disabled = performer.calibration.running;
    }
    if (source === this.app.transport.source) this.app.changed();
    const shown = find(source === "webcam" ? "tracking" : "link");
    const text = this.#message(source, face !== null, now);
    if (text && shown.textContent !== text) shown.textContent = text;
  }

  /** What the performer should know; nothing while a face is lost for a moment. */
  #message(source, face, now) {
    if (!face) return now - this.seenAt > LOST ? "No face is seen." : "";
    if (this.performers[source].calibration.running) return "Look ahead with a relaxed face …";
    return source === "webcam" ? "Your face moves the avatar." : "A face moves the avatar.";
  }

  #linked(state, problem) {
    const text = { connecting: "Connecting …", open: "Connected.", closed: "" }[state];
    find("link").textContent = text;
    find("connect").querySelector("button").textContent =
      state === "closed" ? "Connect" : "Disconnect";
    find("again").hidden = state !== "open";
    // An address that is refused leaves what is shown.
    if (state === "open" && this.asked) {
      this.asked = false;
      this.app.transport.choose("stream");
    }
    if (problem) this.app.page.problem(new PageError(problem));
    this.app.draw();
  }
}
