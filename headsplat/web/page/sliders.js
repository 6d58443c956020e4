/** The sliders of face and head as elements of the page. */

/** An element with properties and children. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export class Sliders {
  /**
   * @param {HTMLElement} container
   * @param {[string, import("./controls.js").Control[]][]} groups
   * @param {() => void} moved called after the user moved a slider
   */
  constructor(container, groups, moved) {
    Object.assign(this, { moved, values: new Map(), rows: new Map() });
    container.replaceChildren(
      ...groups.map(([legend, controls]) =>
        element("fieldset", {}, element("legend", { textContent: legend }),
          ...controls.map((control) => this.#row(control)))),
    );
    this.pair(true);
    this.reset();
  }

  /** Whether any slider stands for two sides. */
  get sided() {
    return [...this.rows.values()].some(({ control }) => control.together);
  }

  /** Move both sides by one slider, or each by its own. */
  pair(together) {
    this.together = together;
    for (const { control, line, name } of this.rows.values()) {
      line.hidden = together && Boolean(control.partner) && !control.together;
      name.textContent = (together && control.together) || control.label;
    }
  }

  /** All sliders to the subject's neutral face. */
  reset() {
    for (const { control } of this.rows.values()) this.#set(control, control.rest);
  }

  #row(control) {
    const span = control.high - control.low;
    const input = element("input", {
      type: "range", min: control.low, max: control.high, step: span / 200 || 1,
      disabled: span <= 0,
    });
    const name = element("span"), shown = element("output");
    const line = element("label", { className: "slider" }, name, input, shown);
    this.rows.set(control.key, { control, input, shown, line, name });
    input.addEventListener("input", () => this.#moved(control, input.valueAsNumber));
    return line;
  }

  #moved(control, value) {
    this.#set(control, value);
    const partner = this.together && this.rows.get(control.partner);
    if (partner) this.#set(partner.control, Math.min(value, partner.control.high));
    this.moved();
  }

  #set(control, value) {
    const { input, shown } = this.rows.get(control.key);
    const unit = control.unit ?? "";
    const text = `${value.toFixed(unit ? 0 : 2).replace(/^-(0(\.00)?)$/, "$1")}${unit}`;
    this.values.set(control.key, value);
    input.value = value;
    input.setAttribute("aria-valuetext", text);
    shown.textContent = text;
  }
}
