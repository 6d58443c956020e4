/** Bytes that the page holds, or that its server has. */

import { PageError } from "./payload.js";

/**
 * @param {string} place id of a script element with base64, or an address
 * @returns {Promise<ArrayBuffer>}
 * @throws {PageError} there is nothing
 */
export async function bytesOf(place) {
  const holder = document.getElementById(place);
  if (holder) {
    const bytes = fromBase64(holder.textContent.trim());
    holder.remove();
    return bytes.buffer;
  }
  let answer = null;
  try {
    answer = await fetch(place);
  } catch {
    // Told below.
  }
  if (!answer?.ok) throw new PageError("The avatar did not arrive; is its server still running?");
  return answer.arrayBuffer();
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = letters.charCodeAt(k);
  return bytes;
}
