/** Draws a posed mesh over an image: shaded triangles and their edges, in the image's camera. */

import { Program } from "./gl.js";
import { PageError } from "./payload.js";

const VERTEX = `#version 300 es
in vec3 place;
uniform mat3 turn;
uniform vec3 shift;
uniform vec4 intrinsics;
uniform vec2 size;
uniform float unit;
uniform float pull;
out vec3 seen;
void main() {
  seen = turn * (place * unit) + shift;
  vec2 pixel = intrinsics.xy * seen.xy + intrinsics.zw * seen.z;
  vec2 clip = (2.0 * pixel / size - seen.z) * vec2(1.0, -1.0);
  float near = 0.02, far = 20.0;
  float depth = ((far + near) * seen.z - 2.0 * far * near) / (far - near);
  gl_Position = vec4(clip, depth - pull * seen.z, seen.z);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec3 seen;
uniform vec4 color;
uniform float shaded;
out vec4 result;
void main() {
  vec3 normal = cross(dFdx(seen), dFdy(seen));
  float light = shaded > 0.0 ? 0.35 + 0.65 * abs(normal.z) / max(length(normal), 1e-12) : 1.0;
  result = vec4(color.rgb * light, 1.0) * color.a;
}`;
const SURFACE = [0.31, 0.66, 1], EDGE = [0.1, 0.4, 0.9];

export class MeshView {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{faces: Uint32Array, edges: Uint32Array}} surface
   * @throws {PageError} the browser lacks WebGL2.
   */
  constructor(canvas, surface) {
    Object.assign(this, { canvas, surface });
    this.gl = canvas.getContext("webgl2", { alpha: true, antialias: true, depth: true });
    if (!this.gl) throw new PageError("this browser has no WebGL2; take a newer one");
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.#build();
      if (this.last) this.draw(...this.last);
    });
    this.#build();
  }

  #build() {
    const { gl, surface } = this;
    this.program = new Program(gl, [VERTEX, FRAGMENT]);
    this.array = gl.createVertexArray();
    gl.bindVertexArray(this.array);
    this.places = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.places);
    const at = gl.getAttribLocation(this.program.handle, "place");
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, 3, gl.SHORT, false, 0, 0);
    [this.faces, this.edges] = [surface.faces, surface.edges].map((rows) => {
      const buffer = gl.createBuffer();
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, rows, gl.STATIC_DRAW);
      return buffer;
    });
    gl.bindVertexArray(null);
  }

  /**
   * Draw one frame.
   *
   * @param {{vertices: Int16Array, scale: number}} mesh in the head's frame, in steps of `scale` m
   * @param {{R: ArrayLike<number>, t: number[]}} pose head to camera
   * @param {{K: number[], width: number, height: number}} camera
   * @param {{opacity: number, wires: boolean}} look
   */
  draw(mesh, pose, camera, look) {
    this.last = [mesh, pose, camera, look];
    const { gl } = this;
    if (gl.isContextLost()) return;
    const { R } = pose;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LEQUAL);
    gl.bindVertexArray(this.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.places);
    gl.bufferData(gl.ARRAY_BUFFER, mesh.vertices, gl.DYNAMIC_DRAW);
    const [fx, fy, cx, cy] = camera.K;
    const uniforms = {
      turn: [R[0], R[3], R[6], R[1], R[4], R[7], R[2], R[5], R[8]], shift: pose.t,
      intrinsics: [fx, fy, cx, cy], size: [camera.width, camera.height], unit: mesh.scale,
    };
    const paint = (kind, buffer, rows, color, shaded, pull) => {
      this.program.use({ ...uniforms, color, shaded, pull });
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffer);
      gl.drawElements(kind, rows.length, gl.UNSIGNED_INT, 0);
    };
    const { faces, edges } = this.surface;
    // Depth first, so that only the nearest surface is seen through.
    gl.colorMask(false, false, false, false);
    paint(gl.TRIANGLES, this.faces, faces, [0, 0, 0, 0], 0, 0);
    gl.colorMask(true, true, true, true);
    if (look.opacity > 0) {
      paint(gl.TRIANGLES, this.faces, faces, [...SURFACE, look.opacity], 1, 0);
    }
    if (look.wires) paint(gl.LINES, this.edges, edges, [...EDGE, 0.55], 0, 0.0005);
    gl.bindVertexArray(null);
  }
}
