// The next due time, against croner and cron-parser: the same expressions, zones and starts in one run.
//   node bench/next.ts [rounds]
// Prints the time of one `next` as ratios, the bytes kept for each parsed expression, and what it takes to advance a hundred
// thousand expressions once. Each walks in its own way: ours and croner are told from where, cron-parser goes on by itself.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Cron } from 'croner';
import { CronExpressionParser } from 'cron-parser';
import { parseExpression } from '../src/crontab/expression.ts';

const rounds = Number(process.argv[2] ?? 3);
const expressions = ['*/5 * * * *', '*/15 9-17 * * 1-5', '0 9 * * 1-5', '30 2 * * *', '0 0 L * *', '0 0 1 1 *', '15 30 4 1,15 * *'];
const zones = ['America/New_York', 'Europe/Berlin', 'Australia/Sydney', 'UTC'];
const starts = Array.from({ length: 12 }, (_, month) => new Date(Date.UTC(2026, month, 1 + month * 2, month, month * 5)));
const steps = 20;

type Walker = (from: Date) => () => number;
type Peer = { readonly name: string; readonly parse: (expr: string, timezone: string) => Walker };

const ours: Peer = {
  name: 'belfry',
  parse: (expr, timezone) => {
    const schedule = parseExpression(expr, timezone, 'job');
    return (from) => {
      let at = from;
      return () => (at = schedule.next(at) ?? at).getTime();
    };
  },
};
const croner: Peer = {
  name: 'croner',
  parse: (expr, timezone) => {
    const cron = new Cron(expr, { timezone, paused: true, sloppyRanges: true, fixedTimeRule: 'no-wildcard' });
    return (from) => {
      let at = from;
      return () => (at = cron.nextRun(at) ?? at).getTime();
    };
  },
};
const cronParser: Peer = {
  name: 'cron-parser',
  parse: (expr, timezone) => {
    const parsed = CronExpressionParser.parse(expr, { tz: timezone });
    return (from) => {
      parsed.reset(from);
      return () => parsed.next().getTime();
    };
  },
};
const peers = [croner, cronParser];

const worst = compareNext();
compareMemory();
compareAdvancing();
console.log(
  `next: in zones whose clocks change ours is at least ${worst.map((ratio, index) => `${ratio.toFixed(0)} times as quick as ${peers[index]?.name}`).join(' and ')}`,
);

/** The least ratio to each peer in zones whose clocks change. */
function compareNext(): number[] {
  for (const peer of [ours, ...peers]) for (const expr of expressions) secondsOf(peer, expr, 'Europe/Paris', starts);
  // What is quickest is measured longest, so that a pause of the machine weighs as little on it as on the others.
  const often = Array.from({ length: 100 }, () => starts).flat();
  for (const expr of expressions) secondsOf(ours, expr, 'Europe/Paris', often);
  const least = peers.map(() => Infinity);
  for (const timezone of zones) {
    for (const expr of expressions) {
      // One after another in each round, so that whatever else the machine does falls on all of them.
      const measured = Array.from({ length: rounds }, () => [
        secondsOf(ours, expr, timezone, often) / often.length / steps,
        ...peers.map((peer) => secondsOf(peer, expr, timezone, starts) / starts.length / steps),
      ]);
      const micros = (index: number): number => median(measured.map((times) => (times[index] ?? NaN) * 1e6));
      const ratios = peers.map((_, index) => median(measured.map(([own = NaN, ...theirs]) => (theirs[index] ?? NaN) / own)));
      const told = ratios.map((ratio, index) => `${peers[index]?.name} ${micros(index + 1).toFixed(0)} µs (× ${ratio.toFixed(0)})`);
      console.log(`${timezone.padEnd(17)} ${expr.padEnd(18)} ${micros(0).toFixed(3)} µs, ${told.join(', ')}`);
      if (timezone === 'UTC') continue;
      ratios.forEach((ratio, index) => (least[index] = Math.min(least[index] ?? Infinity, ratio)));
    }
  }
  return least;
}

function secondsOf(peer: Peer, expr: string, timezone: string, from: readonly Date[]): number {
  const walker = peer.parse(expr, timezone);
  const begun = performance.now();
  for (const start of from) {
    const next = walker(start);
    for (let step = 0; step < steps; step++) next();
  }
  return (performance.now() - begun) / 1000;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}

function compareMemory(): void {
  const [own, ...theirs] = [bytesOf(ours, 50_000), bytesOf(croner, 500), bytesOf(cronParser, 2000)];
  const told = theirs.map((bytes, index) => `${peers[index]?.name} ${bytes.toFixed(0)} (× ${(bytes / (own ?? NaN)).toFixed(0)})`);
  console.log(`bytes kept for a parsed expression: ${own?.toFixed(0)}, ${told.join(', ')}`);
}

// What a schedule keeps beyond its text, after it was asked once.
function bytesOf(peer: Peer, count: number): number {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  const texts = many(count);
  const kept: unknown[] = Array.from({ length: count });
  gc();
  const before = process.memoryUsage().heapUsed;
  for (let index = 0; index < count; index++) {
    const walker = peer.parse(texts[index] ?? '', 'America/New_York');
    walker(starts[0] ?? new Date())();
    kept[index] = walker;
  }
  gc();
  const bytes = (process.memoryUsage().heapUsed - before) / count;
  if (kept.length !== count) throw new Error('nothing was kept');
  return bytes;
}

function compareAdvancing(): void {
  const count = 100_000;
  const own = millisecondsToAdvance(ours, count);
  const theirs = [
    { name: croner.name, of: 500 },
    { name: cronParser.name, of: 2000 },
  ].map(({ name, of }, index) => {
    const peer = peers[index] ?? ours;
    return `${name} ${((millisecondsToAdvance(peer, of) * count) / of / 1000).toFixed(1)} s (extrapolated from ${of})`;
  });
  console.log(`advancing ${count} expressions once: ${own.toFixed(0)} ms, ${theirs.join(', ')}`);
}

function millisecondsToAdvance(peer: Peer, count: number): number {
  const walkers = many(count).map((expr, index) => peer.parse(expr, zones[index % zones.length] ?? 'UTC'));
  const steppers = walkers.map((walker, index) => walker(starts[index % starts.length] ?? new Date()));
  const begun = performance.now();
  for (const next of steppers) next();
  return performance.now() - begun;
}

// Texts that differ, so that nothing can be shared.
function many(count: number): string[] {
  return Array.from(
    { length: count },
    (_, index) => `${index % 60} ${index % 24} ${(index % 28) + 1} * ${index % 2 === 0 ? '*' : index % 7}`,
  );
}
