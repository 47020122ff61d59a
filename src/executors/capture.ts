// One stream of a child's output, from before the child starts until the stream is over.

import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { type OutputKeeper, outputKeeper } from './output.ts';
import type { Pipe } from './pipes.ts';

export type Capture = Pick<OutputKeeper, 'text' | 'cut'> & {
  /** What the child is given as its stdout or stderr. */
  readonly stdio: number | 'pipe';
  /** To be called once the child runs; `ofNode` is the stream that Node made, if it was asked for one. */
  readonly start: (ofNode: Readable | null) => void;
  /** To be called instead when it never ran. */
  readonly dismiss: () => void;
  /** Stops listening. Whoever still holds the other end gets SIGPIPE when it writes. */
  readonly stop: () => void;
  /** Resolves when everybody who held the other end has closed it. */
  readonly ended: Promise<void>;
  readonly firstAt: () => Date | undefined;
  readonly lastAt: () => Date | undefined;
};

/** Every pipe is read into this one, and what came is copied before the next read: reading allocates nothing. */
const buffer = Buffer.allocUnsafeSlow(64 * 1024);

/** Drains the stream always and keeps its two ends; without a pipe it has Node make what it makes. */
export function capture(pipe: Pipe | undefined, limitBytes: number): Capture {
  const keeper = outputKeeper(limitBytes);
  const ended = Promise.withResolvers<void>();
  let first: Date | undefined;
  let last: Date | undefined;

  function take(chunk: Uint8Array): boolean {
    keeper.add(chunk);
    last = new Date();
    first ??= last;
    return true;
  }

  // Made before the child is, so that what can fail has failed by then.
  let stream: Readable | null = pipe === undefined ? null : readerOf(pipe.readFd, take);

  return {
    text: keeper.text,
    cut: keeper.cut,
    stdio: pipe?.writeFd ?? 'pipe',
    start(ofNode) {
      // The end of the stream comes when the last holder closes it; we must not be one.
      if (pipe === undefined) stream = ofNode?.on('data', take) ?? null;
      else closeSync(pipe.writeFd);
      if (stream === null) return ended.resolve();
      // A stream that broke is over: `close` follows.
      stream.on('error', () => undefined);
      stream.on('close', () => ended.resolve());
    },
    dismiss() {
      if (pipe !== undefined) closeSync(pipe.writeFd);
      stream?.destroy();
    },
    stop: () => stream?.destroy(),
    ended: ended.promise,
    firstAt: () => first,
    lastAt: () => last,
  };
}

function readerOf(fd: number, take: (chunk: Uint8Array) => boolean): Socket {
  const callback = (length: number): boolean => take(buffer.subarray(0, length));
  return new Socket({ fd, readable: true, writable: false, onread: { buffer, callback } });
}
