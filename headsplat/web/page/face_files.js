/**
 * The files that find a face in a camera's images: MediaPipe's package for browsers as npm packs it,
 * and the model `face_landmarker.task`.
 *
 * The package is code, so only files whose SHA-256 is known are taken. Versions from 1.0 on report
 * their use to their maker.
 */

import { PageError } from "./payload.js";

export const PACKAGE = "mediapipe-tasks-vision-0.10.35.tgz";
export const MODEL = "face_landmarker.task";

/** Name of each file by its SHA-256. */
const KNOWN = {
  "55d7ab624fbb70dcc5adc4ae6d7ea9cfcb569139d3dbfbf2b1deafcb966bc0fe": "vision_bundle.mjs",
  e7fd9858e8e8f221d9b96eddc11f8e077f263e0b7bbd79d3cbe882b134274f8c: "vision_wasm_internal.js",
  "6a5c64584c2ab61c763b6e204afbdbc7ce1caf7f5216187322bca8df94f646bc": "vision_wasm_internal.wasm",
  "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff": MODEL,
};
const LARGEST = 64 << 20; // bytes of a file
const MOST_BYTES = 96 << 20; // of the package, unpacked
const MOST_FILES = 200;
const BLOCK = 512;

export class FaceFiles {
  constructor() {
    this.parts = new Map();
  }

  get packaged() {
    return [...Object.values(KNOWN)].every((name) => name === MODEL || this.parts.has(name));
  }

  get modeled() {
    return this.parts.has(MODEL);
  }

  /**
   * Take a file that the user gave: the package, the model, or a file of the package.
   *
   * @param {Blob & {name?: string}} file
   * @throws {PageError} it is none of them, damaged or too large
   */
  async add(file) {
    const name = String(file.name ?? "the file").slice(0, 80);
    if (file.size > LARGEST) throw new PageError(`${name}: over 64 MB; choose ${wanted(name)}`);
    if (!crypto.subtle) {
      throw new PageError("The browser checks files on https or localhost only; open the page so");
    }
    const bytes = new Uint8Array(await file.arrayBuffer());
    const packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
    const files = packed ? tarFiles(await unpacked(bytes, name), name) : [bytes];
    const found = await Promise.all(files.map(async (part) => [await sha256(part), part]));
    const known = found.filter(([hash]) => Object.hasOwn(KNOWN, hash));
    if (known.length === 0) {
      throw new PageError(`${name}: damaged or of another version; choose ${wanted(name)}`);
    }
    for (const [hash, part] of known) this.parts.set(KNOWN[hash], part);
  }
}

function wanted(name) {
  return name.endsWith(".task") ? `the ${MODEL} that "headsplat models" fetches` : PACKAGE;
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function unpacked(bytes, name) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const reader = stream.getReader(), pieces = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      if (size > MOST_BYTES) throw new RangeError();
      pieces.push(value);
    }
  } catch {
    reader.cancel().catch(() => {});
    throw new PageError(`${name}: damaged or of another version; choose ${PACKAGE}`);
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/** The plain files of a tar archive (POSIX.1-1988 ustar), as views. */
function tarFiles(bytes, name) {
  const files = [];
  for (let at = 0; at + BLOCK <= bytes.length && bytes[at] !== 0; ) {
    const digits = String.fromCharCode(...bytes.subarray(at + 124, at + 136));
    const size = Number.parseInt(digits, 8);
    const end = at + BLOCK + size;
    if (!(size >= 0) || end > bytes.length || files.length >= MOST_FILES) {
      throw new PageError(`${name}: damaged or of another version; choose ${PACKAGE}`);
    }
    const plain = [0, 0x30].includes(bytes[at + 156]);
    if (plain) files.push(bytes.subarray(at + BLOCK, end));
    at += BLOCK * (1 + Math.ceil(size / BLOCK));
  }
  return files;
}
