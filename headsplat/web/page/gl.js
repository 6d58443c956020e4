/** Small helpers for WebGL2: programs with their uniforms, and textures without filters. */

import { PageError } from "./payload.js";

/** A linked program; uniforms are set by name, and samplers are bound in their order. */
export class Program {
  /**
   * @param {WebGL2RenderingContext} gl
   * @param {[string, string]} sources of the vertex and the fragment shader.
   * @param {string[]} [captured] outputs of transform feedback.
   */
  constructor(gl, sources, captured) {
    this._gl = gl;
    const program = (this.handle = gl.createProgram());
    [gl.VERTEX_SHADER, gl.FRAGMENT_SHADER].forEach((kind, i) => {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, sources[i]);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
      gl.deleteShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
        throw new PageError(`this browser refuses a shader: ${gl.getShaderInfoLog(shader)}`);
      }
    });
    if (captured) gl.transformFeedbackVaryings(program, captured, gl.SEPARATE_ATTRIBS);
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new PageError(`this browser refuses a program: ${gl.getProgramInfoLog(program)}`);
    }
    this._places = new Map();
    const count = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS) || 0;
    for (let i = 0; i < count; i++) {
      const { name, type } = gl.getActiveUniform(program, i);
      this._places.set(name, { type, at: gl.getUniformLocation(program, name) });
    }
  }

  /**
   * Makes it the current program and sets its uniforms. Names that it does not use are skipped.
   *
   * @param {Object<string, any>} uniforms numbers, arrays or textures by name.
   */
  use(uniforms) {
    const gl = this._gl;
    gl.useProgram(this.handle);
    let unit = 0;
    for (const [name, value] of Object.entries(uniforms)) {
      const place = this._places.get(name);
      if (!place) continue;
      if (value instanceof Texture) {
        gl.activeTexture(gl.TEXTURE0 + unit);
        gl.bindTexture(value.target, value.handle);
        gl.uniform1i(place.at, unit++);
      } else if (place.type === gl.INT) gl.uniform1i(place.at, value);
      else if (place.type === gl.FLOAT) gl.uniform1f(place.at, value);
      else if (place.type === gl.FLOAT_VEC2) gl.uniform2fv(place.at, value);
      else if (place.type === gl.FLOAT_VEC3) gl.uniform3fv(place.at, value);
      else if (place.type === gl.FLOAT_VEC4) gl.uniform4fv(place.at, value);
      else gl.uniformMatrix3fv(place.at, false, value);
    }
  }
}

/** A texture of fixed size that is read texel by texel. */
export class Texture {
  /**
   * @param {WebGL2RenderingContext} gl
   * @param {string} format sized internal format, such as "RGBA32F".
   * @param {number} width
   * @param {number} height
   * @param {number} [layers] of an array of textures.
   */
  constructor(gl, format, width, height, layers) {
    this._gl = gl;
    this._kind = {
      RGBA32F: [gl.RGBA, gl.FLOAT],
      RGB32F: [gl.RGB, gl.FLOAT],
      RGBA16F: [gl.RGBA, gl.FLOAT],
      RGBA8: [gl.RGBA, gl.UNSIGNED_BYTE],
      RGBA8_SNORM: [gl.RGBA, gl.BYTE],
      RGBA32UI: [gl.RGBA_INTEGER, gl.UNSIGNED_INT],
    }[format];
    Object.assign(this, { width, height, layers });
    this.target = layers ? gl.TEXTURE_2D_ARRAY : gl.TEXTURE_2D;
    this.handle = gl.createTexture();
    gl.bindTexture(this.target, this.handle);
    if (layers) gl.texStorage3D(this.target, 1, gl[format], width, height, layers);
    else gl.texStorage2D(this.target, 1, gl[format], width, height);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
      gl.texParameteri(this.target, name, gl.NEAREST);
    }
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) {
      gl.texParameteri(this.target, name, gl.CLAMP_TO_EDGE);
    }
  }

  /** Fills all texels, or one layer, from an array of exactly their numbers. */
  fill(values, layer) {
    const gl = this._gl;
    gl.bindTexture(this.target, this.handle);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    const { width, height } = this;
    if (this.layers) {
      gl.texSubImage3D(this.target, 0, 0, 0, layer, width, height, 1, ...this._kind, values);
    } else {
      gl.texSubImage2D(this.target, 0, 0, 0, width, height, ...this._kind, values);
    }
    return this;
  }

  /** Fills rows from a buffer on the GPU that holds whole rows, from its start. */
  fillRows(buffer, first, rows) {
    const gl = this._gl;
    gl.bindTexture(this.target, this.handle);
    gl.bindBuffer(gl.PIXEL_UNPACK_BUFFER, buffer);
    gl.texSubImage2D(this.target, 0, 0, first, this.width, rows, ...this._kind, 0);
    gl.bindBuffer(gl.PIXEL_UNPACK_BUFFER, null);
  }

  dispose() {
    this._gl.deleteTexture(this.handle);
  }
}
