// The thread of a pulse, started by pulse.ts: one connection, one statement, again and again. It knows of the main thread what
// that says, and says when a beat was not wanted any more.

import { parentPort, workerData } from 'node:worker_threads';
import { every, makeBell, systemClock } from '../clock.ts';
import { messageOf } from '../errors.ts';
import { connectionTo, openSession, type Session } from './connection.ts';
import type { FromThread, Sign, ThreadOptions, ToThread } from './pulse.ts';

if (!parentPort) throw new Error('pulse-thread is no program: pulse.ts starts it');
const port = parentPort;
// The door where it is believed what the main thread hands in.
const { url, applicationName, everyMs, silentAfterMs, sign: first } = workerData as ThreadOptions;

const settings = connectionTo({ url, applicationName, statementTimeoutMs: 11_000 });
// While it is silent it looks so often for a sign of life.
const lookEveryMs = Math.min(everyMs, 1000);

const beat = `
  update belfry.nodes set beat = beat + 1, beat_at = now(), busy = $2
   where incarnation = $1 and ended_at is null returning incarnation`;

let sign = first;
let heardAt = systemClock.monotonic();
let session: Session | undefined;
let isFailing = false;

const bell = makeBell(systemClock);
const loop = every(systemClock, step, { bell, onFault: complain });
port.on('message', (said: ToThread) => {
  heardAt = systemClock.monotonic();
  if (said === 'stop') void stop();
  else hear(said);
});

/** Of another incarnation nobody has heard yet. */
function hear(said: Sign): void {
  if (said.incarnation !== sign.incarnation) bell.ring();
  sign = said;
}

async function step(): Promise<number> {
  if (systemClock.monotonic() - heardAt > silentAfterMs) return lookEveryMs;
  session ??= await openSession(settings, {
    lost: (why) => {
      session = undefined;
      complain(why);
    },
  });
  const { incarnation, busy } = sign;
  const sentAt = process.hrtime.bigint();
  const rows = await session.query(beat, [incarnation, busy]);
  isFailing = false;
  say(rows.length === 0 ? { lost: incarnation } : { beaten: sentAt });
  return everyMs;
}

/** An outage is told once. */
function complain(fault: unknown): void {
  if (!isFailing) say({ failed: messageOf(fault) || String(fault) });
  isFailing = true;
}

function say(message: FromThread): void {
  port.postMessage(message);
}

async function stop(): Promise<void> {
  await loop.stop();
  await session?.close();
  port.close();
}
