// What a command says, kept within bounds and made fit to be stored: memory stays flat however much comes, and PostgreSQL
// refuses NUL and lone surrogates, which would lose the whole result.

/** Keeps the first and the last part of a stream of bytes. */
export type OutputKeeper = {
  /** Takes what came. The bytes are copied: the caller may use its buffer again. */
  readonly add: (chunk: Uint8Array) => void;
  /** The kept part as text; where bytes were left out in the middle a line says how many. */
  readonly text: () => string;
  /** Bytes that came. */
  readonly size: () => number;
  /** Bytes that came and are not in the text. */
  readonly cut: () => number;
};

/**
 * Keeps up to `limitBytes` of what it is given: the first half as it came, and of the rest the last part, in a ring.
 * A character of several bytes that the cut would split is left out whole.
 */
export function outputKeeper(limitBytes: number): OutputKeeper {
  const headLimit = Math.ceil(limitBytes / 2);
  const tailLimit = limitBytes - headLimit;
  let head = Buffer.alloc(0);
  let headSize = 0;
  // Made when the head is full: most commands say little.
  let ring: Buffer | undefined;
  let tailSize = 0;

  function add(chunk: Uint8Array): void {
    const room = Math.min(headLimit - headSize, chunk.length);
    if (room > 0) addToHead(chunk.subarray(0, room));
    if (room < chunk.length) addToRing(chunk.subarray(room));
  }

  /** One buffer that doubles: a command may say its 256 KiB one byte at a time. */
  function addToHead(part: Uint8Array): void {
    const needed = headSize + part.length;
    if (needed > head.length) {
      const larger = Buffer.allocUnsafe(Math.min(headLimit, Math.max(needed, head.length * 2, 1024)));
      head.copy(larger, 0, 0, headSize);
      head = larger;
    }
    head.set(part, headSize);
    headSize = needed;
  }

  function addToRing(rest: Uint8Array): void {
    ring ??= Buffer.allocUnsafeSlow(tailLimit);
    if (tailLimit > 0) {
      const kept = rest.subarray(Math.max(0, rest.length - tailLimit));
      const at = (tailSize + rest.length - kept.length) % tailLimit;
      const untilEnd = Math.min(kept.length, tailLimit - at);
      ring.set(kept.subarray(0, untilEnd), at);
      ring.set(kept.subarray(untilEnd), 0);
    }
    tailSize += rest.length;
  }

  function tail(): Buffer {
    if (ring === undefined) return Buffer.alloc(0);
    if (tailSize <= tailLimit) return ring.subarray(0, tailSize);
    const at = tailSize % tailLimit;
    return Buffer.concat([ring.subarray(at), ring.subarray(0, at)]);
  }

  /** The two ends; when something lies between them, without the halves of characters at the cut. */
  function ends(): { first: Buffer; last: Buffer; cut: number } {
    const first = head.subarray(0, headSize);
    if (tailSize <= tailLimit) return { first: Buffer.concat([first, tail()]), last: Buffer.alloc(0), cut: 0 };
    const whole = tailLimit === 0 ? Buffer.alloc(0) : tail();
    const [start, end] = [withoutSplitEnd(first), withoutSplitStart(whole)];
    return { first: start, last: end, cut: headSize + tailSize - start.length - end.length };
  }

  return {
    add,
    text() {
      const { first, last, cut } = ends();
      if (cut === 0) return cleanText(first.toString('utf8'));
      return cleanText(`${first.toString('utf8')}\n… ${cut} bytes left out …\n${last.toString('utf8')}`);
    },
    size: () => headSize + tailSize,
    cut: () => ends().cut,
  };
}

/** Text that PostgreSQL takes as text and as JSON: NUL and lone surrogates become U+FFFD. */
export function cleanText(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\uFFFD');
}

/** A value as plain JSON whose texts and keys are clean. Throws what `JSON.stringify` throws (a cycle, a bigint). */
export function cleanJson(value: unknown): unknown {
  const text = JSON.stringify(value, (_key, part: unknown) => {
    if (typeof part === 'string') return cleanText(part);
    if (typeof part !== 'object' || part === null || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).map(([key, inner]) => [cleanText(key), inner]));
  });
  return text === undefined ? null : JSON.parse(text);
}

/** Up to three bytes at the end can be the beginning of a character whose rest was cut off. */
function withoutSplitEnd(bytes: Buffer): Buffer {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (!isContinuation(byte)) return back < lengthByFirstByte(byte) ? bytes.subarray(0, bytes.length - back) : bytes;
  }
  return bytes;
}

function withoutSplitStart(bytes: Buffer): Buffer {
  let at = 0;
  while (at < Math.min(3, bytes.length) && isContinuation(bytes[at] ?? 0)) at++;
  return bytes.subarray(at);
}

/** 10xxxxxx, any byte of a UTF-8 character but the first (RFC 3629). */
function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}

function lengthByFirstByte(byte: number): number {
  if (byte >= 0xf0) return 4;
  if (byte >= 0xe0) return 3;
  return byte >= 0xc0 ? 2 : 1;
}
