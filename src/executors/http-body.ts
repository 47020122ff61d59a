// Reads the body of an answer, whatever it is: endless, compressed a thousandfold, or broken off.

import type { IncomingHttpHeaders } from 'node:http';
import { type Duplex, pipeline, type Readable } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';

/** Compressed answers are not asked for; some servers give them all the same. */
const decoders: Record<string, () => Duplex> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
};

/**
 * Hands every part of the body, decompressed, to `take`, up to `limitBytes` in all; there it stops reading and closes the
 * connection. Returns whether the body was read to its end. Throws when the body breaks off or cannot be decompressed.
 */
export async function readBody(
  body: Readable,
  headers: IncomingHttpHeaders,
  limitBytes: number,
  take: (chunk: Buffer) => void,
): Promise<boolean> {
  const decoder = decoderFor(headers);
  let isEmpty = true;
  async function* received(): AsyncGenerator {
    for await (const part of body) {
      isEmpty = false;
      yield part;
    }
  }
  // Leaving the loop early destroys the streams, which is no fault here; a fault of theirs comes out of the loop.
  body.on('error', () => undefined);
  // Pulled at the reader's pace: a small answer that unpacks to gigabytes is unpacked only as far as it is read.
  const parts: AsyncIterable<unknown> = decoder === undefined ? body : pipeline(received, decoder, () => undefined);
  let left = limitBytes;
  try {
    for await (const part of parts) {
      if (!Buffer.isBuffer(part)) continue;
      take(part.subarray(0, left));
      if (part.length > left) return false;
      left -= part.length;
    }
  } catch (thrown) {
    // The headers of an answer without a body (HEAD) may name a coding all the same.
    if (decoder === undefined || !isEmpty || !body.readableEnded) throw thrown;
  }
  return true;
}

function decoderFor(headers: IncomingHttpHeaders): Duplex | undefined {
  const coding = (headers['content-encoding'] ?? '').trim().toLowerCase();
  return Object.hasOwn(decoders, coding) ? decoders[coding]?.() : undefined;
}
