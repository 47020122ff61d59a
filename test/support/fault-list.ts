// All faults that are tried, in the order in which the README tells them, and the table made of their tests.

import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Fault } from './faults.ts';

const checkout = fileURLToPath(new URL('../..', import.meta.url));
const readme = join(checkout, 'README.md');

type Listed = string | { readonly fault: string; readonly comesIn: string };

/** Each is the name of a test made by `fault`. One with `comesIn` has none yet: the name of the file that is to have it. */
export const faultList: readonly Listed[] = [
  'kill -9 of the only process while runs are on',
  'kill -9 of one of three crontab nodes',
  'kill -9 of one of three workers with 20 runs on',
  'kill -9 of everything, Redis and PostgreSQL (immediate) included',
  'a crash after a tick was committed, before its node knew',
  'a crash after messages were sent, before their node knew',
  'a crash after a claim, before the command began',
  'a crash after the command began',
  'a crash before a result was recorded',
  'a crash after a result was recorded, before its node knew',
  'SIGTERM, and the run ends within the grace',
  'SIGTERM, and the run takes longer than the grace',
  'SIGTERM twice',
  'SIGTERM with hundreds of runs on',
  'SIGHUP again and again, also while it starts',
  { fault: 'Redis restarted empty', comesIn: 'test/system/redis-*.test.ts' },
  { fault: 'FLUSHALL on Redis', comesIn: 'test/system/redis-*.test.ts' },
  { fault: 'Redis down for a minute', comesIn: 'test/system/redis-*.test.ts' },
  { fault: 'Redis hung (SIGSTOP)', comesIn: 'test/system/redis-*.test.ts' },
  { fault: 'Redis out of memory (maxmemory)', comesIn: 'test/system/redis-*.test.ts' },
  { fault: 'Redis made a replica (READONLY)', comesIn: 'test/system/redis-*.test.ts' },
  { fault: 'Redis with another password', comesIn: 'test/system/redis-*.test.ts' },
  { fault: 'an HTTP server where Redis should be', comesIn: 'test/system/redis-*.test.ts' },
  'PostgreSQL restarted (fast)',
  'PostgreSQL restarted (immediate)',
  'PostgreSQL down for a while',
  'PostgreSQL down at the start',
  'PostgreSQL ending all our connections',
  'PostgreSQL read-only',
  'PostgreSQL silent on every open connection (half-open)',
  'PostgreSQL slow (50 ms on every round trip)',
  'a table of ours locked by somebody else',
  'PostgreSQL out of connections',
  'the disk of PostgreSQL full',
  'serialization failures',
  'a worker cut off from PostgreSQL alone',
  { fault: 'a worker cut off from Redis alone', comesIn: 'test/system/redis-*.test.ts' },
  { fault: 'a worker paused for 90 seconds (SIGSTOP)', comesIn: 'test/system/paused.test.ts' },
  { fault: 'an event loop blocked for 40 seconds', comesIn: 'test/system/paused.test.ts' },
  { fault: 'a clock of a node an hour or ten years off', comesIn: 'test/system/clocks.test.ts' },
  { fault: 'the clock of the database stepped', comesIn: 'test/system/clocks.test.ts' },
  'a server that never answers (slow-loris)',
  'an answer that drips',
  'an endless body',
  'a gzip bomb',
  'redirects in a circle',
  'a redirect to a private address',
  'a command that prints without end (yes)',
  'gigabytes of zeros',
  'a line of ten megabytes',
  'bad UTF-8 and NUL',
  'a command that ignores TERM',
  'a pipe held by a grandchild',
  'a process that left its group (setsid)',
  { fault: 'twenty trees of shells with escapees, killed with their worker', comesIn: 'test/executors/namespace*.test.ts' },
  'a fork bomb under a process limit',
  'a working directory that is gone',
  'a shell that is not there',
  'an argument or environment that is too long',
  'out of file descriptors',
  { fault: 'the disk of the spool full', comesIn: 'test/runs/spool*.test.ts' },
  'config.toml broken while running',
  'config.toml half written while running',
  'config.toml replaced while running',
  'config.toml deleted while running',
  'a hundred thousand jobs due in one second',
  'an outage of an hour with 10 000 jobs a minute',
  'a job that kills its worker every time',
  { fault: 'two nodes of one name', comesIn: 'test/system/two-nodes*.test.ts' },
  'a migration killed half way',
  'a database newer than the program',
  'a log viewer that never reads',
];

export type Tried = Fault & { readonly file: string };

const literal = String.raw`(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")`;
const call = new RegExp(String.raw`^ *fault\(\s*\{\s*fault: ${literal},\s*seen:\s*${literal},?\s*\}`, 'gm');

/** The faults that the tests name. Throws where one is not written down in plain literals. */
export async function faultsTried(): Promise<readonly Tried[]> {
  const folder = join(checkout, 'test');
  const files = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.test.ts')).toSorted();
  const found = await Promise.all(files.map((name) => faultsIn(join(folder, name))));
  return found.flat();
}

async function faultsIn(path: string): Promise<Tried[]> {
  const source = await readFile(path, 'utf8');
  const file = relative(checkout, path);
  const tried = [...source.matchAll(call)].map(([, a, b, c, d]) => ({ fault: unescaped(a ?? b), seen: unescaped(c ?? d), file }));
  const calls = source.match(/^ *fault\(/gm) ?? [];
  if (calls.length !== tried.length) throw new Error(`${file}: expected each fault to begin with { fault: '…', seen: '…' }`);
  return tried;
}

function unescaped(text = ''): string {
  return text.replace(/\\(.)/g, '$1');
}

const begin = '<!-- faults: written by npm run faults -->';
const end = '<!-- /faults -->';

/** The README with the table that the tests make. */
export async function readmeWithTable(): Promise<string> {
  const tried = new Map((await faultsTried()).map((each) => [each.fault, each]));
  const rows = faultList.flatMap((listed) => {
    const each = tried.get(nameOf(listed));
    return each ? [`| ${each.fault} | ${each.seen} |`] : [];
  });
  const [before, rest] = halves(readFileSync(readme, 'utf8'), begin);
  const [, after] = halves(rest, end);
  return [before, begin, '\n\n| fault | what is seen |\n|---|---|\n', rows.join('\n'), '\n\n', end, after].join('');
}

/** Where the README lies. */
export const readmeFile = readme;

/** The name of a listed fault. */
export function nameOf(listed: Listed): string {
  return typeof listed === 'string' ? listed : listed.fault;
}

function halves(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  if (at < 0) throw new Error(`README.md: expected the mark ${mark}`);
  return [text.slice(0, at), text.slice(at + mark.length)];
}
