/** Canvases of one image's shape that lie over each other, fitted into their pane. */

import { element } from "./sliders.js";

export class FrameBox {
  /** @param {string[]} layers names, the lowest first */
  constructor(layers) {
    this.canvases = new Map(layers.map((name) => [name, element("canvas", { className: name })]));
    this.inner = element("div", { className: "box" }, ...this.canvases.values());
    this.root = element("div", { className: "frame" }, this.inner);
    this.shape = [1, 1];
    new ResizeObserver(() => this.#fit()).observe(this.root);
  }

  get(name) {
    return this.canvases.get(name);
  }

  /** Take the shape of an image, width and height in pixels; canvases get `pixels` times as many. */
  set(width, height, pixels = 1) {
    this.shape = [width, height];
    for (const canvas of this.canvases.values()) {
      const [wide, high] = [Math.round(width * pixels), Math.round(height * pixels)];
      if (canvas.width !== wide) canvas.width = wide;
      if (canvas.height !== high) canvas.height = high;
    }
    this.#fit();
  }

  #fit() {
    const { clientWidth, clientHeight } = this.root;
    const [width, height] = this.shape;
    const scale = Math.min(clientWidth / width, clientHeight / height);
    this.inner.style.width = `${Math.floor(width * scale)}px`;
    this.inner.style.height = `${Math.floor(height * scale)}px`;
  }
}
