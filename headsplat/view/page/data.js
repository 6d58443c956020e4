/** What the server knows of the subject: fetched when it is needed, and a bounded part kept. */

import { PageError, readPayload } from "./payload.js";

const GONE = "The server does not answer; is the command still running?";

/** The answer of the server, or null where there is nothing yet. */
async function answerOf(address) {
  let answer;
  try {
    answer = await fetch(address);
  } catch {
    throw new PageError(GONE);
  }
  if (answer.status === 404) return null;
  if (!answer.ok) throw new PageError((await answer.text()).slice(0, 300) || GONE);
  return answer;
}

/** JSON of an address. */
export async function json(address) {
  return (await answerOf(address))?.json() ?? null;
}

/** Arrays of an address, or null where there are none yet. */
export async function packed(address) {
  const answer = await answerOf(address);
  return answer && readPayload(await answer.arrayBuffer());
}

/** The bytes of an address, or null. */
export async function bytes(address) {
  const answer = await answerOf(address);
  return answer && answer.arrayBuffer();
}

/** The image of an address, or null where there is none yet. */
export async function image(address) {
  const answer = await answerOf(address);
  return answer && createImageBitmap(await answer.blob());
}

/** The latest results of a function of a number, at most so many. */
export class Kept {
  /**
   * @param {(id: number) => Promise<any>} load
   * @param {number} [most] results that are kept
   */
  constructor(load, most = 32) {
    Object.assign(this, { load, most, held: new Map() });
  }

  async get(id) {
    const known = this.held.get(id);
    this.held.delete(id);
    const result = known ?? this.load(id);
    this.held.set(id, result);
    if (this.held.size > this.most) this.held.delete(this.held.keys().next().value);
    try {
      const value = await result;
      // What is not there yet is asked for again.
      if (value === null && this.held.get(id) === result) this.held.delete(id);
      return value;
    } catch (error) {
      this.held.delete(id);
      throw error;
    }
  }

  clear() {
    this.held.clear();
  }
}

/** Runs an asynchronous function for the newest value only; values meanwhile are skipped. */
export class Newest {
  /** @param {(value: any) => Promise<void>} work */
  constructor(work, failed) {
    Object.assign(this, { work, failed, busy: false, waits: false });
  }

  async ask(value) {
    this.value = value;
    this.waits = true;
    if (this.busy) return;
    this.busy = true;
    while (this.waits) {
      this.waits = false;
      try {
        await this.work(this.value);
      } catch (error) {
        this.failed(error);
      }
    }
    this.busy = false;
  }
}
