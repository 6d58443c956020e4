/** The GLSL that draws projected Gaussians and puts a background behind them. */

import { BLOCK } from "./mixture.js";

/** Gaussians in a row of the textures: a row shares the scales of the bases. */
export const COLUMNS = BLOCK;
/** Vertices in a row of their texture. */
export const VERTEX_COLUMNS = 1024;

/** What every shader begins with. */
export const HEADER = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp usampler2D;
precision highp sampler2DArray;
const int COLUMNS = ${COLUMNS};
const int VERTEX_COLUMNS = ${VERTEX_COLUMNS};
`;

/** Vertices of a triangle that covers the target. */
export const FULL_SCREEN = `${HEADER}
void main() {
  vec2 corner = vec2((gl_VertexID << 1) & 2, gl_VertexID & 2);
  gl_Position = vec4(2.0 * corner - 1.0, 0.0, 1.0);
}
`;

/**
 * Draws each Gaussian as the rasterizer's rectangle of pixels, front to back. Rows of the target
 * are rows of the image, so it is upside down.
 *
 * @type {[string, string]} vertex and fragment shader
 */
export const DRAW = [
  `${HEADER}
in uint slot;
uniform sampler2D shapes;
uniform sampler2D mores;
uniform sampler2D bounds;
uniform sampler2D colors;
uniform vec2 size;
flat out vec4 shape;
flat out vec2 more;
flat out vec3 tint;

void main() {
  ivec2 at = ivec2(int(slot) % COLUMNS, int(slot) / COLUMNS);
  vec4 range = texelFetch(bounds, at, 0);
  shape = texelFetch(shapes, at, 0);
  more = texelFetch(mores, at, 0).xy;
  tint = texelFetch(colors, at, 0).xyz;
  vec2 pixel = vec2((gl_VertexID & 1) == 0 ? range.x : range.y,
                    (gl_VertexID & 2) == 0 ? range.z : range.w);
  gl_Position = vec4(2.0 * pixel / size - 1.0, 0.0, 1.0);
}
`,
  `${HEADER}
flat in vec4 shape;
flat in vec2 more;
flat in vec3 tint;
out vec4 color;

void main() {
  vec2 d = gl_FragCoord.xy - 0.5 - shape.xy;
  float p = shape.z * d.x, r = shape.w * d.x + more.x * d.y;
  float alpha = min(0.99, more.y * exp2(-(p * p + r * r)));
  if (alpha < 1.0 / 255.0) discard;
  color = vec4(tint * alpha, alpha);
}
`,
];

/**
 * Puts the background behind what was drawn, upright.
 *
 * @type {[string, string]} vertex and fragment shader
 */
export const RESOLVE = [
  FULL_SCREEN,
  `${HEADER}
uniform sampler2D drawn;
uniform vec4 background;  // red, green, blue, opacity
uniform int height;
out vec4 color;

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  vec4 front = texelFetch(drawn, ivec2(at.x, height - 1 - at.y), 0);
  float left = 1.0 - front.a;
  color = vec4(front.rgb + left * background.rgb, front.a + left * background.a);
  color.rgb = clamp(color.rgb, 0.0, color.a);
}
`,
];
