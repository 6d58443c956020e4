/** The cameras of the clip about the head, which stands still. */

import { packed } from "./data.js";
import { element } from "./sliders.js";
import { inverse, matrixOf, rotate } from "./turns.js";
import { product } from "./rotation.js";

const MOST = 400; // frusta that are drawn
const MOST_POINTS = 2500; // of the head
const DEPTH = 0.06; // of a frustum, meters
const NEAR = 14; // pixels
const PER_PIXEL = 0.008, PER_KEY = 0.1, ZOOM = 1.15;
const START = { yaw: 0.6, pitch: 0.35, zoom: 1 };

export class CamerasPane {
  /** @param {import("./view.js").View} view */
  constructor(view) {
    Object.assign(this, { view, points: null, row: 0, ...START });
    this.canvas = element("canvas", { id: "cameras", tabIndex: 0 });
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Cameras of the clip about the head");
    this.note = element("p", { className: "note", role: "status" });
    this.root = element("section", { className: "pane", id: "pane-cameras" },
      element("div", { className: "frame" }, this.canvas),
      element("div", { className: "controls" },
        element("p", { className: "note",
          textContent: "Drag or arrow keys turn, wheel and + − zoom, a click chooses a frame." }),
        this.note));
    const on = (name, act) => this.canvas.addEventListener(name, act, { passive: false });
    on("pointerdown", (event) => this.#press(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#release(event));
    on("wheel", (event) => {
      event.preventDefault();
      this.#zoom(Math.exp(-event.deltaY * 0.0015));
    });
    on("dblclick", () => this.#turn(START));
    on("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  renew() {
    Object.assign(this, { points: null, centers: null });
  }

  async show(row) {
    this.row = row;
    const { clip } = this.view;
    this.note.textContent = clip.tracked ? "" : "Not tracked yet";
    if (!clip.tracked) return;
    this.centers ??= centersOf(clip);
    this.draw();
    if (this.points) return;
    try {
      const surface = await packed("data/surface");
      if (surface) this.points = pointsOf(surface);
    } catch (error) {
      this.view.problem(error);
    }
    this.draw();
  }

  /** Head's frame to pixels, in parallel; from the front at yaw and pitch 0. */
  #projection() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const turn = product(matrixOf([this.pitch, 0, 0]), matrixOf([0, this.yaw, 0]));
    const seen = [...this.centers, ...(this.points ?? [[0, 0, 0]])].map((p) => rotate(turn, p));
    const [[left, right], [low, high]] = [0, 1].map((axis) => extent(seen.map((p) => p[axis])));
    const fit = Math.min(width / (right - left + 4 * DEPTH), height / (high - low + 4 * DEPTH));
    const scale = fit * this.zoom;
    const [x0, y0] = [(left + right) / 2, (low + high) / 2];
    return (point) => {
      const [x, y] = rotate(turn, point);
      return [width / 2 + scale * (x - x0), height / 2 - scale * (y - y0)];
    };
  }

  draw() {
    const { canvas, view, centers } = this;
    if (!centers || canvas.clientWidth === 0) return;
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(this.root);
    const project = this.#projection();
    pen.fillStyle = style.getPropertyValue("--soft");
    pen.globalAlpha = 0.6;
    for (const point of this.points ?? []) {
      const [x, y] = project(point);
      pen.fillRect(x, y, 1.2, 1.2);
    }
    this.drawn = [];
    const { clip } = view;
    const step = Math.max(1, Math.ceil(clip.count / MOST));
    pen.lineWidth = 1;
    pen.globalAlpha = 0.7;
    const color = (row) => {
      const part = clip.part(row) === "unusable" ? "bad" : clip.part(row);
      return style.getPropertyValue(`--${part || "soft"}`);
    };
    for (let row = 0; row < clip.count; row += step) this.#frustum(pen, project, row, color(row));
    pen.globalAlpha = 1;
    pen.lineWidth = 2.5;
    this.#frustum(pen, project, this.row, style.getPropertyValue("--ink"));
  }

  #frustum(pen, project, row, color) {
    const { clip } = this.view;
    const { K, width, height } = clip.camera;
    const { R } = clip.pose(row);
    const center = this.centers[row], back = inverse(R);
    const corner = ([x, y]) => {
      const ray = [((x - K[2]) / K[0]) * DEPTH, ((y - K[3]) / K[1]) * DEPTH, DEPTH];
      return project(rotate(back, ray).map((value, axis) => value + center[axis]));
    };
    const tip = project(center);
    const corners = [[0, 0], [width, 0], [width, height], [0, height]].map(corner);
    pen.strokeStyle = color;
    pen.beginPath();
    for (const [x, y] of corners) {
      pen.moveTo(tip[0], tip[1]);
      pen.lineTo(x, y);
    }
    pen.moveTo(corners[3][0], corners[3][1]);
    for (const [x, y] of corners) pen.lineTo(x, y);
    pen.stroke();
    this.drawn.push([tip[0], tip[1], row]);
  }

  #turn({ yaw = this.yaw, pitch = this.pitch, zoom = this.zoom }) {
    this.yaw = yaw;
    this.pitch = Math.min(1.5, Math.max(-1.5, pitch));
    this.zoom = Math.min(8, Math.max(0.3, zoom));
    this.draw();
  }

  #zoom(factor) {
    this.#turn({ zoom: this.zoom * factor });
  }

  #press(event) {
    if (event.button > 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.held = { id: event.pointerId, at: [event.clientX, event.clientY], moved: 0 };
  }

  #move(event) {
    const { held } = this;
    if (held?.id !== event.pointerId) return;
    const [dx, dy] = [event.clientX - held.at[0], event.clientY - held.at[1]];
    held.moved += Math.abs(dx) + Math.abs(dy);
    held.at = [event.clientX, event.clientY];
    this.#turn({ yaw: this.yaw + dx * PER_PIXEL, pitch: this.pitch + dy * PER_PIXEL });
  }

  #release(event) {
    const { held } = this;
    this.held = null;
    if (!held || held.moved > 4 || !this.drawn) return;
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const apart = ([a, b]) => Math.hypot(a - x, b - y);
    const nearest = this.drawn.reduce((best, one) => (apart(one) < apart(best) ? one : best));
    if (apart(nearest) < NEAR) this.view.selection.choose(nearest[2]);
  }

  #key(event) {
    const { yaw, pitch, zoom } = this;
    const turned = {
      ArrowLeft: { yaw: yaw - PER_KEY }, ArrowRight: { yaw: yaw + PER_KEY },
      ArrowUp: { pitch: pitch - PER_KEY }, ArrowDown: { pitch: pitch + PER_KEY },
      "+": { zoom: zoom * ZOOM }, "=": { zoom: zoom * ZOOM }, "-": { zoom: zoom / ZOOM },
      0: START, Home: START,
    }[event.key];
    if (!turned || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.#turn(turned);
  }
}

/** Camera centers in the head's frame, meters. */
function centersOf(clip) {
  return Array.from({ length: clip.count }, (_, row) => {
    const { R, t } = clip.pose(row);
    return rotate(inverse(R), t).map((value) => -value);
  });
}

function pointsOf(surface) {
  const rest = surface.array("rest"), { scale } = surface.meta;
  const count = rest.length / 3, step = Math.max(1, Math.ceil(count / MOST_POINTS));
  const points = [];
  for (let k = 0; k < count; k += step) {
    points.push([0, 1, 2].map((axis) => rest[3 * k + axis] * scale));
  }
  return points;
}

function extent(values) {
  return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
}
