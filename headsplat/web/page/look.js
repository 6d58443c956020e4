/** Background, quality and speed of what is drawn. */

const find = (id) => document.getElementById(id);
const MOST_PIXELS = 1.2e6, FEWEST_PIXELS = 0.12e6, LOW_PIXELS = 0.25e6;
// Seconds between two frames from which on pixels are saved: of playback, and of a live source,
// whose camera alone may need half of it.
const SLOW = { played: 0.02, live: 0.055 };
// Frames, and seconds, after which the mean time of a frame counts.
const WINDOW = 10, LONGEST = 0.6;
const FEWEST = 3; // frames
const LESS = 0.7; // of the pixels
// Fewer pixels that do not speed up the frames by this factor are not worth their blur.
const GAIN = 0.92;

export class Look {
  /**
   * @param {HTMLElement} stage
   * @param {() => void} changed
   */
  constructor(stage, changed) {
    Object.assign(this, { stage, changed, pixels: MOST_PIXELS, times: [], costs: [], told: 0 });
    this.#automatic();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    find("color").value = dark.matches ? "#2a2d2f" : "#f5f5f3";
    for (const id of ["color", "clear"]) {
      find(id).addEventListener("input", () => this.#background());
    }
    find("quality").addEventListener("change", ({ target }) => {
      this.pixels = target.value === "low" ? LOW_PIXELS : MOST_PIXELS;
      this.#automatic();
      changed();
    });
    find("fps").addEventListener("change", ({ target }) => {
      find("speed").hidden = !target.checked;
    });
    find("speed").hidden = true;
    this.#background();
  }

  /** Red, green and blue in 0..1, or null for none. */
  get background() {
    return find("clear").checked ? null : rgb(find("color").value);
  }

  #background() {
    const clear = find("clear").checked;
    const [r, g, b] = rgb(find("color").value);
    this.stage.classList.toggle("clear", clear);
    this.stage.style.background = clear ? "" : find("color").value;
    const light = 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.45;
    this.stage.style.setProperty("--over", clear ? "" : light ? "#1d1f21" : "#f2f3f3");
    this.changed();
  }

  #automatic() {
    this.before = null;
    this.#restart();
    this.adapts = find("quality").value === "auto";
  }

  /**
   * Count a drawn frame.
   *
   * @param {number} now seconds
   * @param {number} cost milliseconds that the page spent on it
   * @param {"played" | "live" | null} pace what makes frames follow each other, if they do
   */
  measure(now, cost, pace) {
    if (!pace) {
      this.#restart();
      find("speed").textContent = "";
      return;
    }
    this.times.push(now);
    this.costs.push(cost);
    const count = this.times.length - 1;
    const long = now - this.times[0] > LONGEST && count >= FEWEST;
    if (count < WINDOW && !long) return;
    const step = (now - this.times[0]) / count;
    if (now - this.told > 0.5) {
      const spent = this.costs.reduce((sum, value) => sum + value, 0) / this.costs.length;
      const rate = (1 / step).toFixed(step > 0.1 ? 1 : 0);
      find("speed").textContent = `${rate} FPS · ${spent.toFixed(1)} ms`;
      this.told = now;
    }
    if (this.adapts && step > SLOW[pace]) this.#fewer(step);
    else if (count >= WINDOW) {
      this.times.shift();
      this.costs.shift();
    }
  }

  /** Draw fewer pixels, as long as that helps. */
  #fewer(step) {
    if (this.before && step > GAIN * this.before.step) {
      this.pixels = this.before.pixels;
      this.adapts = false;
      return;
    }
    this.before = { step, pixels: this.pixels };
    this.pixels = Math.max(FEWEST_PIXELS, LESS * this.pixels);
    if (this.pixels === FEWEST_PIXELS) this.adapts = false;
    this.#restart();
  }

  #restart() {
    this.times = [];
    this.costs = [];
  }
}

function rgb(hex) {
  return [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16) / 255);
}
