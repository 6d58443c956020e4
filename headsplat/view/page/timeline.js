/**
 * The clip as a strip: what each frame is for, flaws of its track, the residual of its landmarks, and
 * the error of held-out frames. A click or a key chooses a frame.
 */

import { element } from "./sliders.js";

const ROWS = { part: [0, 14], flaw: [16, 6], chart: [26, 38] }; // top and height, pixels
const HEIGHT = 68;
const SHOWN = 8; // of the worst frames
const NAMES = [
  ["train", "Training"], ["test", "Held out"], ["guard", "Guard"], ["bad", "Not usable"],
  ["interpolated", "Interpolated"], ["residual", "Residual"], ["error", "Error"],
];

export class Timeline {
  /** @param {import("./clip.js").Selection} selection */
  constructor(selection) {
    Object.assign(this, { selection, clip: null, measure: null });
    this.canvas = element("canvas", { id: "strip", tabIndex: 0, height: HEIGHT });
    this.canvas.setAttribute("role", "slider");
    this.canvas.setAttribute("aria-label", "Frame");
    this.facts = element("output", { id: "frame-facts" });
    const button = (id, textContent, label, act) => {
      const made = element("button", { type: "button", id, textContent, title: label });
      made.setAttribute("aria-label", label);
      made.addEventListener("click", act);
      return made;
    };
    this.worstButton = button("worst", "Worst", "Worst held-out frame", () => this.#worst());
    this.legend = element("ul", { id: "legend" },
      ...NAMES.map(([key, name]) => element("li", { className: key, textContent: name })));
    this.root = element("section", { id: "timeline", hidden: true },
      element("div", { className: "line" },
        button("before", "‹", "Frame before", () => this.step(-1)),
        button("after", "›", "Next frame", () => this.step(1)),
        this.worstButton, this.facts),
      element("div", { className: "strip" }, this.canvas), this.legend);
    this.root.setAttribute("aria-label", "Timeline");
    this.canvas.addEventListener("pointerdown", (event) => this.#press(event));
    this.canvas.addEventListener("pointermove", (event) => event.buttons && this.#press(event));
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    selection.watch(() => this.#mark());
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Show a clip, and the error of a measure of it (or null). */
  show(clip, measure) {
    Object.assign(this, { clip, measure });
    this.root.hidden = clip.count === 0;
    this.canvas.setAttribute("aria-valuemin", "1");
    this.canvas.setAttribute("aria-valuemax", String(clip.count));
    this.worstButton.hidden = measure === null;
    const present = new Set(["residual", "error"]);
    if (clip.residual === null) present.delete("residual");
    if (measure === null) present.delete("error");
    for (let row = 0; row < clip.count; row++) present.add(clip.part(row)).add(clip.flaw(row));
    for (const item of this.legend.children) item.hidden = !present.has(item.className);
    this.draw();
    this.#mark();
  }

  step(count) {
    const { row } = this.selection;
    this.selection.choose(Math.min(this.clip.count - 1, Math.max(0, row + count)));
  }

  #worst() {
    const [worst] = this.clip.worst(this.measure);
    if (worst !== undefined) this.selection.choose(worst);
  }

  #press(event) {
    if (event.button > 0 || !this.clip) return;
    this.canvas.setPointerCapture(event.pointerId);
    const box = this.canvas.getBoundingClientRect();
    const place = (event.clientX - box.left) / box.width;
    const row = Math.floor(place * this.clip.count);
    this.selection.choose(Math.min(this.clip.count - 1, Math.max(0, row)));
  }

  #key(event) {
    if (!this.clip || event.ctrlKey || event.metaKey || event.altKey) return;
    const { count } = this.clip;
    const steps = {
      ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -25, PageUp: 25,
      Home: -count, End: count,
    };
    if (event.key === "w") this.#worst();
    else if (event.key in steps) this.step(steps[event.key]);
    else return;
    event.preventDefault();
  }

  /** Draw the strip; where frames are narrower than a pixel, a column shows their extremes. */
  draw() {
    const { clip, canvas } = this;
    const ratio = devicePixelRatio || 1;
    const wide = canvas.clientWidth;
    if (!clip || wide === 0) return;
    canvas.width = Math.round(wide * ratio);
    canvas.height = Math.round(HEIGHT * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(this.root);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    const scale = wide / clip.count;
    const paint = (row, [top, height], name) => {
      pen.fillStyle = color(name);
      pen.fillRect(row * scale, top, Math.max(scale, 1), height);
    };
    const band = (place, nameOf) => {
      for (let row = 0, first = 0; row <= clip.count; row++) {
        if (row < clip.count && nameOf(row) === nameOf(first)) continue;
        const name = nameOf(first);
        pen.fillStyle = name ? color(name) : color("line");
        pen.fillRect(first * scale, place[0], Math.max((row - first) * scale, 1), place[1]);
        first = row;
      }
    };
    band(ROWS.part, (row) => (clip.part(row) === "unusable" ? "bad" : clip.part(row)));
    band(ROWS.flaw, (row) => clip.flaw(row));
    this.#errors(paint);
    this.#residual(pen, scale, color("residual"));
    this.#mark();
  }

  /** A bar for each held-out frame, higher where it is worse. */
  #errors(paint) {
    const values = this.clip.errors.get(this.measure);
    if (!values?.size) return;
    const { better } = this.clip.measures.find(({ name }) => name === this.measure);
    const all = [...values.values()];
    const [low, high] = [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
    const [top, height] = ROWS.chart;
    for (const [row, value] of values) {
      const part = high > low ? (value - low) / (high - low) : 0.5;
      const bar = height * (0.15 + 0.85 * (better === "high" ? 1 - part : part));
      paint(row, [top + height - bar, bar], "error");
    }
  }

  #residual(pen, scale, color) {
    const { residual, count } = this.clip;
    if (!residual) return;
    const seen = residual.filter(Number.isFinite).sort();
    const most = 1.5 * (seen[Math.floor(0.98 * seen.length)] || 1);
    const [top, height] = ROWS.chart;
    pen.strokeStyle = color;
    pen.lineWidth = 1.5;
    pen.beginPath();
    let begun = false;
    for (let row = 0; row < count; row++) {
      if (!Number.isFinite(residual[row])) {
        begun = false;
        continue;
      }
      const y = top + height * (1 - Math.min(1, residual[row] / most));
      if (begun) pen.lineTo((row + 0.5) * scale, y);
      else pen.moveTo((row + 0.5) * scale, y);
      begun = true;
    }
    pen.stroke();
  }

  /** Show which frame is chosen. */
  #mark() {
    const { clip, selection } = this;
    if (!clip) return;
    const row = Math.min(selection.row, clip.count - 1);
    let text = clip.facts(row);
    const value = clip.measured(this.measure, row);
    if (value) {
      const { label } = clip.measures.find(({ name }) => name === this.measure);
      text += ` · ${label} ${value}`;
    }
    this.facts.textContent = text;
    this.canvas.setAttribute("aria-valuenow", String(row + 1));
    this.canvas.setAttribute("aria-valuetext", text);
    this.root.style.setProperty("--place", `${((row + 0.5) / clip.count) * 100}%`);
  }
}

/** Error of the held-out frames: which measure is shown, and the worst frames as buttons. */
export class ErrorsPane {
  /**
   * @param {import("./clip.js").Selection} selection
   * @param {(measure: string) => void} chosen
   */
  constructor(selection, chosen) {
    Object.assign(this, { selection, clip: null, measure: null });
    this.choice = element("select", { id: "measure" });
    this.choice.addEventListener("change", () => {
      this.measure = this.choice.value;
      this.#list();
      chosen(this.measure);
    });
    this.list = element("ol", { id: "worst-frames" });
    this.root = element("details", { id: "errors", hidden: true, open: true },
      element("summary", { textContent: "Held-out frames" }),
      element("div", { className: "row" }, element("label", { className: "wide" },
        "Measure ", this.choice)),
      element("p", { textContent: "The worst first:" }), this.list);
    selection.watch(() => this.#mark());
  }

  /** Take a clip; the chosen measure stays where it has it. */
  show(clip) {
    this.clip = clip;
    const names = clip.measures.map(({ name }) => name);
    if (!names.includes(this.measure)) this.measure = names[0] ?? null;
    this.root.hidden = this.measure === null;
    this.choice.replaceChildren(...clip.measures.map(({ name, label }) =>
      element("option", { value: name, textContent: label, selected: name === this.measure })));
    this.#list();
  }

  #list() {
    const { clip, measure } = this;
    const rows = measure === null ? [] : clip.worst(measure).slice(0, SHOWN);
    this.list.replaceChildren(...rows.map((row) => {
      const text = `Frame ${clip.ids[row]}: ${clip.measured(measure, row)}`;
      const button = element("button", { type: "button", textContent: text });
      button.dataset.row = row;
      button.addEventListener("click", () => this.selection.choose(row));
      return element("li", {}, button);
    }));
    this.#mark();
  }

  #mark() {
    for (const button of this.list.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.row) === this.selection.row));
    }
  }
}
