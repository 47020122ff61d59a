// All faults that are tried, in the order in which the README tells them, and the table made of their tests.

import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Fault } from './faults.ts';

const checkout = fileURLToPath(new URL('../..', import.meta.url));
const readme = join(checkout, 'README.md');

/** Each is the name of a test made by `fault`. */
export const faultList: readonly string[] = [
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
  'Redis restarted empty',
  'FLUSHALL on Redis',
  'Redis down for a minute',
  'Redis hung (SIGSTOP)',
  'Redis out of memory (maxmemory)',
  'Redis made a replica (READONLY)',
  'Redis with another password',
  'an HTTP server where Redis should be',
  'PostgreSQL restarted (fast)',
  'PostgreSQL restarted (immediate)',
  'PostgreSQL down for a minute',
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
  'a worker cut off from Redis alone',
  'a worker paused for 90 seconds (SIGSTOP)',
  'an event loop blocked for 75 seconds',
  'a clock of a node an hour off',
  'a clock of a node ten years off',
  'the clock of the database stepped by two hours',
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
  'twenty trees of shells with escapees, killed with their worker',
  'a fork bomb under a process limit',
  'a working directory that is gone',
  'a shell that is not there',
  'an argument or environment that is too long',
  'out of file descriptors',
  'the disk of the spool full',
  'config.toml broken while running',
  'config.toml half written while running',
  'config.toml replaced while running',
  'config.toml deleted while running',
  'a hundred thousand jobs due in one second',
  'an outage of an hour with 10 000 jobs a minute',
  'a job that kills its worker every time',
  'two nodes of one name',
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
  const rows = faultList.flatMap((name) => {
    const each = tried.get(name);
    return each ? [`| ${each.fault} | ${each.seen} |`] : [];
  });
  const [before, rest] = halves(readFileSync(readme, 'utf8'), begin);
  const [, after] = halves(rest, end);
  return [before, begin, '\n\n| fault | what is seen |\n|---|---|\n', rows.join('\n'), '\n\n', end, after].join('');
}

/** Where the README lies. */
export const readmeFile = readme;

function halves(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  if (at < 0) throw new Error(`README.md: expected the mark ${mark}`);
  return [text.slice(0, at), text.slice(at + mark.length)];
}
