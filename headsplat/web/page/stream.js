/**
 * A face from a program on this computer, over a WebSocket.
 *
 * Each binary message, little-endian: "HSLV", u32 version 1, u32 sequence, f64 seconds, u32 flags
 * (bit 0: a face is seen, bit 1: the head's angles are valid), f32 x 52 coefficients in the order
 * of `BLENDSHAPES`, f32 x 9 angles in radians (yaw, pitch, roll of head, left eye, right eye). They
 * come smoothed and relative to the performer's neutral face.
 */

const SIZE = 4 + 4 + 4 + 8 + 4 + 4 * (52 + 9);
const FACE = 1, HEAD = 2;
const WAITS = [500, 1000, 2000, 4000]; // milliseconds before the next attempts
const ADDRESS = /^wss?:\/\//;

/** A message as `{sequence, time, seen, row, angles}`, or null for any other bytes. */
function readMessage(buffer) {
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength !== SIZE) return null;
  const view = new DataView(buffer);
  if (view.getUint32(0) !== 0x48534c56 || view.getUint32(4, true) !== 1) return null;
  const number = (index, low, high) => {
    const value = view.getFloat32(24 + 4 * index, true);
    return Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : NaN;
  };
  const row = Float32Array.from({ length: 52 }, (_, k) => number(k, 0, 1));
  const angles = [52, 53, 54].map((k) => number(k, -Math.PI, Math.PI));
  const time = view.getFloat64(12, true);
  if (![time, ...row, ...angles].every(Number.isFinite)) return null;
  const flags = view.getUint32(20, true);
  return {
    sequence: view.getUint32(8, true), time, seen: (flags & FACE) !== 0, row,
    angles: flags & HEAD ? angles : null,
  };
}

/** An address for a message: its token is a secret. */
const withoutToken = (address) => address.split("?")[0];

export class Stream {
  /**
   * @param {(message: object) => void} received called with each message
   * @param {(state: string, problem?: string) => void} changed "connecting", "open" or "closed"
   */
  constructor(received, changed) {
    Object.assign(this, { received, changed, socket: null, attempts: 0, timer: 0 });
  }

  /** Whether it is connected. */
  get open() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** Whether it is connected, or tries to be. */
  get wanted() {
    return this.socket !== null || this.timer !== 0;
  }

  connect(address) {
    this.close();
    if (!ADDRESS.test(address)) {
      this.changed("closed", "The address begins with ws://; take the one that headsplat live prints");
      return;
    }
    Object.assign(this, { address, attempts: 0, served: false });
    this.#open();
  }

  /** Send a text, where it is connected. */
  send(text) {
    if (this.open) this.socket.send(text);
  }

  close() {
    const { socket, wanted } = this;
    clearTimeout(this.timer);
    Object.assign(this, { socket: null, timer: 0 });
    socket?.close();
    if (wanted) this.changed("closed");
  }

  #open() {
    this.timer = 0;
    this.changed("connecting");
    let socket;
    try {
      socket = new WebSocket(this.address);
    } catch {
      this.changed("closed", `The address ${withoutToken(this.address)} cannot be opened`);
      return;
    }
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      Object.assign(this, { attempts: 0, served: true });
      this.changed("open");
    };
    socket.onmessage = ({ data }) => {
      const message = readMessage(data);
      if (message && this.socket === socket) this.received(message);
    };
    socket.onclose = () => this.socket === socket && this.#again();
  }

  #again() {
    this.socket = null;
    if (this.attempts >= WAITS.length) {
      this.changed("closed", `${this.served ? "The stream ended" : "No answer"}: ${withoutToken(this.address)}; is headsplat live running?`);
      return;
    }
    this.changed("connecting");
    this.timer = setTimeout(() => this.#open(), WAITS[this.attempts]);
    this.attempts += 1;
  }
}
