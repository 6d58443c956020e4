/** The face in a camera's images as ARKit's coefficients, by MediaPipe's face landmarker. */

import { PageError } from "./payload.js";
import { headAnglesOf } from "./turns.js";
import { MODEL } from "./face_files.js";

const REFUSED = {
  NotAllowedError: "The camera was not allowed; allow it in the browser's address bar",
  NotFoundError: "There is no camera; connect one and start again",
  NotReadableError: "The camera is in use by another program; close that one and start again",
};

export class Webcam {
  /**
   * @param {HTMLVideoElement} video that shows the camera's images
   * @param {import("./face_files.js").FaceFiles} files
   * @param {Map<string, number>} index place of each of ARKit's names in a row
   * @param {(face: {row: Float32Array, angles: number[], time: number} | null) => void} seen called
   *   for each image, with null where it shows no face
   */
  constructor(video, files, index, seen) {
    Object.assign(this, { video, files, index, seen, stream: null, landmarker: null, turn: 0 });
  }

  get running() {
    return this.stream !== null;
  }

  /**
   * Load the networks and open the camera.
   *
   * @param {(problem: string) => void} stopped called when the camera ends by itself
   * @throws {PageError} what is lacking
   */
  async start(stopped) {
    const turn = ++this.turn;
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new PageError("This browser offers no camera to this page; open it on localhost");
    }
    let stream;
    try {
      const wanted = { facingMode: "user", width: { ideal: 640 }, height: { ideal: 480 } };
      stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    } catch (error) {
      throw new PageError(REFUSED[error.name] ?? `The camera did not start (${error.name})`);
    }
    try {
      this.landmarker ??= await faceLandmarker(this.files.parts);
      if (turn !== this.turn) throw new PageError("The camera was stopped");
      this.video.srcObject = stream;
      await this.video.play();
    } catch (error) {
      for (const track of stream.getTracks()) track.stop();
      throw error;
    }
    this.stream = stream;
    stream.getVideoTracks()[0].addEventListener("ended", () => {
      this.stop();
      stopped("The camera was disconnected");
    });
    this.#next(turn);
  }

  stop() {
    this.turn += 1;
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
  }

  #next(turn) {
    const step = () => {
      if (turn !== this.turn) return;
      this.#look();
      this.#next(turn);
    };
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(step);
    else requestAnimationFrame(step);
  }

  #look() {
    if (this.video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    const now = performance.now();
    const face = faceOf(this.landmarker.detectForVideo(this.video, now), this.index);
    this.seen(face && { ...face, time: now / 1000 });
  }
}

/**
 * Coefficients and head angles of what the landmarker found, or null where it found no face.
 *
 * @param {object} found a `FaceLandmarkerResult`
 * @param {Map<string, number>} index place of each of ARKit's names in a row
 * @returns {{row: Float32Array, angles: number[]} | null}
 */
function faceOf(found, index) {
  const shapes = found.faceBlendshapes[0]?.categories;
  const pose = found.facialTransformationMatrixes[0]?.data;
  if (!shapes || !pose) return null;
  const row = new Float32Array(index.size);
  for (const { categoryName: name, score } of shapes) {
    const place = index.get(name.charAt(0).toUpperCase() + name.slice(1));
    if (place !== undefined) row[place] = score;
  }
  // Column-major, of a face whose x points to its left, y up and z ahead, as the head's axes do.
  const [a, b, c, , d, e, f, , g, h, i] = pose;
  return { row, angles: headAnglesOf([a, d, g, b, e, h, c, f, i]) };
}

/** MediaPipe's face landmarker of the given files; nothing is asked of any server. */
async function faceLandmarker(parts) {
  const address = (name, type) => URL.createObjectURL(new Blob([parts.get(name)], { type }));
  const script = "text/javascript";
  const code = address("vision_bundle.mjs", script);
  const files = {
    wasmLoaderPath: address("vision_wasm_internal.js", script),
    wasmBinaryPath: address("vision_wasm_internal.wasm", "application/wasm"),
  };
  try {
    const { FaceLandmarker } = await import(code);
    return await FaceLandmarker.createFromOptions(files, {
      baseOptions: { modelAssetBuffer: parts.get(MODEL), delegate: "CPU" },
      runningMode: "VIDEO",
      numFaces: 1,
      outputFaceBlendshapes: true,
      outputFacialTransformationMatrixes: true,
    });
  } catch (error) {
    console.info(error);
    throw new PageError("The face landmarker did not start; this browser may be too old for it");
  } finally {
    for (const url of [code, ...Object.values(files)]) URL.revokeObjectURL(url);
  }
}
