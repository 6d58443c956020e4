/** The clip's images with the tracked mesh and landmarks over them. */

import { FrameBox } from "./frame_box.js";
import { Kept, Newest, image, packed } from "./data.js";
import { MeshView } from "./mesh_view.js";
import { element } from "./sliders.js";

const MODEL = "#3cff78", DETECTED = "#ff3c3c";
const PART = 16; // of a pixel, in which landmarks come
const NONE = -32768;
const SMALL = 512; // images that are lower are drawn on twice the pixels

export class TrackPane {
  /** @param {import("./view.js").View} view */
  constructor(view) {
    Object.assign(this, { view, mesh: null, surface: null });
    this.box = new FrameBox(["picture", "surface", "marks"]);
    this.box.inner.setAttribute("role", "img");
    this.note = element("p", { className: "note", role: "status" });
    const control = (properties, label) => {
      const input = element("input", properties);
      input.addEventListener("input", () => this.#paint());
      return [input, element("label", {}, `${label} `, input)];
    };
    const [opacity, opacityLabel] =
      control({ type: "range", id: "mesh-opacity", min: 0, max: 1, step: 0.05, value: 0.35 }, "Mesh");
    const [wires, wiresLabel] = control({ type: "checkbox", id: "wires", checked: true }, "Edges");
    const [marks, marksLabel] = control({ type: "checkbox", id: "dots", checked: true }, "Landmarks");
    Object.assign(this, { opacity, wires, marks });
    this.root = element("section", { className: "pane", id: "pane-track" }, this.box.root,
      element("div", { className: "controls" }, opacityLabel, wiresLabel, marksLabel,
        element("span", { className: "key model", textContent: "model" }),
        element("span", { className: "key detected", textContent: "detected" }), this.note));
    this.images = new Kept((id) => image(`data/image/${id}`), 24);
    this.frames = new Kept((id) => packed(`data/mesh/${id}`), 48);
    this.newest = new Newest((row) => this.#load(row), (error) => view.problem(error));
  }

  /** The clip or its images changed. */
  renew() {
    this.images.clear();
    this.frames.clear();
    this.surface = null;
  }

  show(row) {
    this.newest.ask(row);
  }

  async #load(row) {
    const { clip } = this.view;
    const id = clip.ids[row];
    if (this.row === undefined) this.note.textContent = "Loading …";
    const parts = [this.images.get(id)];
    if (clip.tracked) parts.push(this.frames.get(id), this.#surface());
    const [picture, mesh] = await Promise.all(parts);
    Object.assign(this, { picture, mesh: mesh ?? null, row });
    this.box.inner.setAttribute("aria-label", `Image and track of frame ${id}`);
    this.#paint();
  }

  async #surface() {
    this.surface ??= await packed("data/surface");
    if (!this.surface) return;
    const rows = { faces: this.surface.array("faces"), edges: this.surface.array("edges") };
    if (this.painter) Object.assign(this.painter, { surface: rows });
    else this.painter = new MeshView(this.box.get("surface"), rows);
  }

  #paint() {
    const { clip } = this.view;
    const { picture, mesh, row } = this;
    if (row === undefined) return;
    this.note.textContent = picture ? (mesh ? "" : "Not tracked yet") : "No image of this frame yet";
    const width = clip.camera?.width ?? picture?.width, height = clip.camera?.height ?? picture?.height;
    if (!width) return;
    this.box.set(width, height, height < SMALL ? 2 : 1);
    const canvas = this.box.get("picture"), pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (picture) pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const over = this.box.get("marks").getContext("2d");
    over.clearRect(0, 0, canvas.width, canvas.height);
    this.box.get("surface").hidden = !mesh;
    if (!mesh || !this.painter) return;
    const look = { opacity: this.opacity.valueAsNumber, wires: this.wires.checked };
    const vertices = mesh.array("vertices");
    this.painter.draw({ vertices, scale: mesh.meta.scale }, clip.pose(row), clip.camera, look);
    if (this.marks.checked) this.#marks(over, mesh, canvas.width / width);
  }

  /** Lids, lips and points of the model, and the points that were detected. */
  #marks(pen, mesh, pixels) {
    const scale = pixels / PART;
    const model = mesh.array("marks");
    pen.lineWidth = 1.2;
    pen.strokeStyle = MODEL;
    for (const line of this.surface.meta.lines) {
      pen.beginPath();
      for (const k of line) pen.lineTo(model[2 * k] * scale, model[2 * k + 1] * scale);
      pen.closePath();
      pen.stroke();
    }
    const dots = (points, color) => {
      pen.fillStyle = color;
      for (let k = 0; k < points.length; k += 2) {
        if (points[k] === NONE) continue;
        pen.fillRect(points[k] * scale - 1, points[k + 1] * scale - 1, 2, 2);
      }
    };
    dots(model, MODEL);
    if (mesh.has("detected")) dots(mesh.array("detected"), DETECTED);
  }
}
