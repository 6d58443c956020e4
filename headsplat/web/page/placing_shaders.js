/**
 * The GLSL that mixes, places and projects Gaussians. The image formation is that of the library's rasterizer, which
 * `cuda_ext/csrc/gaussians.h` describes: its names are used here.
 */

import { FULL_SCREEN, HEADER } from "./shaders.js";

/** Mixed attributes of Gaussian `slot`: texels of a base and K bases, four to a Gaussian. */
const MIX = `
uniform sampler2D base;
uniform sampler2DArray offsetBases;  // texel 0
uniform sampler2DArray bases;        // texels 1 to 3
uniform sampler2D weights;  // (4 K, rows): the factor of each number of a basis
uniform int basisCount;

vec4 mixed(int slot, int part) {
  int column = slot % COLUMNS, row = slot / COLUMNS;
  vec4 sum = texelFetch(base, ivec2(4 * column + part, row), 0);
  for (int k = 0; k < basisCount; ++k) {
    vec4 basis = part == 0 ? texelFetch(offsetBases, ivec3(column, row, k), 0)
                           : texelFetch(bases, ivec3(3 * column + part - 1, row, k), 0);
    sum += basis * texelFetch(weights, ivec2(4 * k + part, row), 0);
  }
  return sum;
}

struct Gaussian { vec3 mean; vec4 quaternion; vec3 scale; float opacity; vec3 color; };

vec4 times(vec4 a, vec4 b) {  // (w, x, y, z)
  return vec4(a.x * b.x - dot(a.yzw, b.yzw),
              a.x * b.yzw + b.x * a.yzw + cross(a.yzw, b.yzw));
}

vec3 turned(vec4 q, vec3 v) {
  vec3 moved = cross(q.yzw, v);
  return v + 2.0 * (q.x * moved + cross(q.yzw, moved));
}
`;

/** The posed triangle of Gaussian `slot`. */
const ANCHORS = `
uniform usampler2D corners;
uniform sampler2D anchorWeights;  // of the second and third corner, height
uniform sampler2D vertices;

vec3 vertex(uint row) {
  return texelFetch(vertices, ivec2(int(row) % VERTEX_COLUMNS, int(row) / VERTEX_COLUMNS), 0).xyz;
}

// Quaternion of the rotation matrix with these columns, from its largest entry.
vec4 quaternionOf(vec3 a, vec3 b, vec3 c) {
  vec4 square = vec4(1.0 + a.x + b.y + c.z, 1.0 + a.x - b.y - c.z, 1.0 - a.x + b.y - c.z,
                     1.0 - a.x - b.y + c.z);
  float xw = b.z - c.y, yw = c.x - a.z, zw = a.y - b.x;
  float xy = a.y + b.x, xz = a.z + c.x, yz = b.z + c.y;
  vec4 row = vec4(square.x, xw, yw, zw);
  float largest = square.x;
  if (square.y > largest) { row = vec4(xw, square.y, xy, xz); largest = square.y; }
  if (square.z > largest) { row = vec4(yw, xy, square.z, yz); largest = square.z; }
  if (square.w > largest) { row = vec4(zw, xz, yz, square.w); largest = square.w; }
  return row * (0.5 / sqrt(largest));
}

void anchor(int slot, out vec3 position, out vec4 rotation) {
  ivec2 at = ivec2(slot % COLUMNS, slot / COLUMNS);
  uvec4 rows = texelFetch(corners, at, 0);
  vec4 weight = texelFetch(anchorWeights, at, 0);
  vec3 origin = vertex(rows.x);
  vec3 first = vertex(rows.y) - origin, second = vertex(rows.z) - origin;
  vec3 normal = cross(first, second);
  float area = length(normal);
  vec3 tangent = first / max(length(first), 1e-12);
  normal /= max(area, 1e-12);
  position = origin + weight.x * first + weight.y * second + weight.z * normal;
  // A collapsed triangle, such as that of a shut lid, has no tangent frame.
  rotation = area > 1e-11 ? quaternionOf(tangent, cross(normal, tangent), normal)
                          : vec4(1.0, 0.0, 0.0, 0.0);
}
`;

const PLACE_MIXED = `
uniform float largestLogScale;

Gaussian placed(int slot, vec3 position, vec4 rotation) {
  vec4 offset = mixed(slot, 0);
  Gaussian g;
  g.mean = position + turned(rotation, offset.xyz);
  g.opacity = 1.0 / (1.0 + exp(-offset.w));
  g.quaternion = times(rotation, mixed(slot, 1));
  g.scale = exp(min(mixed(slot, 2).xyz, largestLogScale));
  g.color = mixed(slot, 3).xyz;
  return g;
}
`;

const HEAD = `${ANCHORS}${PLACE_MIXED}
Gaussian gaussian(int slot) {
  vec3 position;
  vec4 rotation;
  anchor(slot, position, rotation);
  return placed(slot, position, rotation);
}
`;

const TORSO = `${PLACE_MIXED}
uniform sampler2D rest;
uniform vec4 trunkTurn;
uniform vec3 trunkShift;

Gaussian gaussian(int slot) {
  vec3 position = texelFetch(rest, ivec2(slot % COLUMNS, slot / COLUMNS), 0).xyz;
  return placed(slot, turned(trunkTurn, position) + trunkShift, trunkTurn);
}
`;

/** FlashAvatar's numbers, baked: placed on the triangles, but turned in the head's frame. */
const BAKED = `${ANCHORS}
uniform sampler2D constants;      // (2 COLUMNS, rows): rotation; logarithms of scale and opacity
uniform sampler2DArray harmonics;  // 12 layers: 16 coefficients of red, green and blue in a row
uniform int harmonicCount;         // 1, 4, 9 or 16
uniform vec3 center;               // of the camera, in the head's frame

vec3 coefficient(ivec2 at, int k) {
  int first = 3 * k;
  vec3 value;
  for (int c = 0; c < 3; ++c)
    value[c] = texelFetch(harmonics, ivec3(at, (first + c) / 4), 0)[(first + c) % 4];
  return value;
}

vec3 seenColor(ivec2 at, vec3 mean) {
  vec3 u = mean - center;
  float distance = length(u);
  u = distance > 0.0 ? u / distance : vec3(0.0);
  float xx = u.x * u.x, yy = u.y * u.y, zz = u.z * u.z;
  float steep = -0.4570457994644658 * (4.0 * zz - xx - yy);
  float y[16] = float[16](
      0.28209479177387814,
      -0.4886025119029199 * u.y, 0.4886025119029199 * u.z, -0.4886025119029199 * u.x,
      1.0925484305920792 * u.x * u.y, -1.0925484305920792 * u.y * u.z,
      0.31539156525252005 * (2.0 * zz - xx - yy), -1.0925484305920792 * u.x * u.z,
      0.5462742152960396 * (xx - yy),
      -0.5900435899266435 * u.y * (3.0 * xx - yy), 2.890611442640554 * u.x * u.y * u.z,
      steep * u.y, 0.3731763325901154 * u.z * (2.0 * zz - 3.0 * xx - 3.0 * yy), steep * u.x,
      1.445305721320277 * u.z * (xx - yy), -0.5900435899266435 * u.x * (xx - 3.0 * yy));
  vec3 sum = vec3(0.5);
  for (int k = 0; k < harmonicCount; ++k) sum += y[k] * coefficient(at, k);
  return max(sum, 0.0);
}

Gaussian gaussian(int slot) {
  vec3 position;
  vec4 unused;
  anchor(slot, position, unused);
  ivec2 at = ivec2(slot % COLUMNS, slot / COLUMNS);
  vec4 constant = texelFetch(constants, ivec2(2 * at.x + 1, at.y), 0);
  vec4 change = mixed(slot, 1);
  Gaussian g;
  g.mean = position + mixed(slot, 0).xyz;
  g.quaternion = times(texelFetch(constants, ivec2(2 * at.x, at.y), 0),
                       vec4(exp(change.x), change.yzw));
  g.scale = exp(constant.xyz * exp(mixed(slot, 2).xyz));
  g.opacity = constant.w;
  g.color = seenColor(at, g.mean);
  return g;
}
`;

/** `project` and `make_splat` of the rasterizer. */
const PROJECT = `
uniform mat3 cameraR;  // head to camera
uniform vec3 cameraT;
uniform vec4 intrinsics;  // fx, fy, cx, cy in pixels
uniform vec2 size;        // width, height
uniform int count;

const float BLUR = 0.3, NEAR = 0.2, ALPHA_MIN = 1.0 / 255.0, TILE = 16.0;
const float ROOT_HALF_LOG2E = 0.849321800288019;

struct Splat { vec4 shape; vec4 more; vec4 bounds; vec4 color; };

// Bounds [low, high) of the pixels within reach that lie in tiles which meet the radius.
vec2 pixelRange(float at, float reach, float radius, float pixels) {
  float tiles = floor((pixels + TILE - 1.0) / TILE);
  float first = floor(clamp((at - radius) / TILE, 0.0, tiles));
  float after = floor(clamp((at + radius + TILE - 1.0) / TILE, 0.0, tiles));
  float low = max(ceil(at - reach), first * TILE);
  float high = min(floor(at + reach) + 1.0, after * TILE);
  return clamp(vec2(low, high), 0.0, pixels);
}

Splat project(Gaussian g) {
  Splat s = Splat(vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
  vec3 p = cameraR * g.mean + cameraT;
  s.more.z = p.z;
  if (!(p.z > NEAR)) return s;
  vec4 q = g.quaternion / max(length(g.quaternion), 1e-12);
  float w = q.x, x = q.y, y = q.z, z = q.w;
  mat3 rotation = mat3(
      1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
      2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
      2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
  mat3 axes = cameraR * rotation;
  mat3 v = transpose(mat3(axes[0] * g.scale.x, axes[1] * g.scale.y, axes[2] * g.scale.z));
  vec2 f = intrinsics.xy, c = intrinsics.zw;
  vec2 extra = 0.15 * size / f;
  vec2 u = clamp(p.xy / p.z, -c / f - extra, (size - c) / f + extra);
  vec3 m0 = f.x / p.z * (v[0] - u.x * v[2]), m1 = f.y / p.z * (v[1] - u.y * v[2]);
  vec3 n = cross(m0, m1);
  float aa = dot(m0, m0), cc = dot(m1, m1), b = dot(m0, m1);
  float a = aa + BLUR, d = cc + BLUR;
  float det = dot(n, n) + BLUR * (aa + cc) + BLUR * BLUR;
  vec2 at = f * p.xy / p.z + c - 0.5;
  float k1 = ROOT_HALF_LOG2E / sqrt(a), k3 = ROOT_HALF_LOG2E * sqrt(a / det);
  s.shape = vec4(at, k1, -(b / a) * k3);
  s.more = vec4(k3, g.opacity, p.z, 0.0);
  s.color = vec4(g.color, 0.0);
  if (!(g.opacity >= ALPHA_MIN) || !(det < 3e38)) return s;
  float middle = 0.5 * (a + d), half_ = 0.5 * (a - d);
  float radius = ceil(3.0 * sqrt(middle + sqrt(max(0.1, half_ * half_ + b * b))));
  float distance = sqrt(2.0 * log(g.opacity / ALPHA_MIN)) * 1.001;
  s.bounds = vec4(pixelRange(at.x, distance * sqrt(a) + 0.05, radius, size.x),
                  pixelRange(at.y, distance * sqrt(d) + 0.05, radius, size.y));
  return s;
}
`;

const WRITE = `
void write(Splat s) {
  outShape = s.shape, outMore = s.more, outBounds = s.bounds, outColor = s.color;
}
`;

/** Placing as a fragment shader with four targets, one fragment a Gaussian. */
const AS_FRAGMENTS = `
layout(location = 0) out vec4 outShape;
layout(location = 1) out vec4 outMore;
layout(location = 2) out vec4 outBounds;
layout(location = 3) out vec4 outColor;
uniform int firstRow;
${WRITE}
void main() {
  int slot = (int(gl_FragCoord.y) - firstRow) * COLUMNS + int(gl_FragCoord.x);
  outShape = outMore = outBounds = outColor = vec4(0.0);
  if (slot >= count) return;
  write(project(gaussian(slot)));
}
`;

/** Placing as a vertex shader with transform feedback, where float targets are missing. */
const AS_VERTICES = `
flat out vec4 outShape;
flat out vec4 outMore;
flat out vec4 outBounds;
flat out vec4 outColor;
${WRITE}
void main() {
  gl_Position = vec4(0.0);
  write(project(gaussian(gl_VertexID)));
}
`;

/** Outputs of placing, in the order of the targets. */
export const OUTPUTS = ["outShape", "outMore", "outBounds", "outColor"];

const NOTHING = `${HEADER}
out vec4 color;
void main() { color = vec4(0.0); }
`;

/**
 * Sources of the pass that mixes, places and projects the Gaussians of one set.
 *
 * @param {"head"|"torso"|"baked"} kind
 * @param {boolean} targets whether the four targets are textures, else transform feedback.
 * @returns {[string, string]} vertex and fragment shader
 */
export function placing(kind, targets) {
  const body = HEADER + MIX + { head: HEAD, torso: TORSO, baked: BAKED }[kind] + PROJECT;
  return targets ? [FULL_SCREEN, body + AS_FRAGMENTS] : [body + AS_VERTICES, NOTHING];
}
