/** Error of the held-out frames: which measure is shown, and the worst frames as buttons. */

import { element } from "./sliders.js";

const SHOWN = 8;

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
