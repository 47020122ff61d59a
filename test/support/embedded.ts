// For the tests of the private PostgreSQL: processes that own one, and looks at what is left of it.

import assert from 'node:assert/strict';
import { spawn, type ChildProcessByStdio, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import { setInterval } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { z } from 'zod';
import { startEmbedded, type Embedded } from '../../src/embedded.ts';
import { Refusal, type RefusalKind } from '../../src/errors.ts';

export const checkout = fileURLToPath(new URL('../..', import.meta.url));
export const isRoot = process.getuid?.() === 0;

export type Owner = ChildProcessByStdio<null, Readable, Readable>;

const answer = z.object({ url: z.string().optional(), kind: z.string().optional(), message: z.string().optional() });

/** A directory of the test's own, which others may enter. */
export async function makeBase(): Promise<string> {
  const base = await fs.mkdtemp(join(tmpdir(), 'belfry-embedded-test-'));
  await fs.chmod(base, 0o755);
  return base;
}

/**
 * A process that has the server until the test ends, and says its URL or why not. On SIGINT it asks its server once more,
 * says the answer, and stops it.
 */
export function own(t: TestContext, dataDir: string, options: SpawnOptions = {}, { from = checkout, prelude = '' } = {}): Owner {
  const script = `
    ${prelude}
    const { startEmbedded } = await import(${JSON.stringify(join(from, 'src/embedded.ts'))});
    const { default: pg } = await import(${JSON.stringify(import.meta.resolve('pg'))});
    const say = (what) => console.log(JSON.stringify(what));
    const progress = (line) => console.error(line);
    try {
      const db = await startEmbedded({ dataDir: ${JSON.stringify(dataDir)}, progress });
      process.once('SIGINT', async () => {
        const client = new pg.Client({ connectionString: db.url });
        await client.connect();
        say((await client.query('select answer from kept')).rows);
        await client.end();
        await db.stop();
      });
      say({ url: db.url });
    } catch ({ kind, message }) {
      say({ kind, message });
    }`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: '/',
    ...options,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stderr.resume();
  t.after(() => end(child));
  return child;
}

/** What the owner says first. */
export async function answerOf(child: Owner): Promise<z.infer<typeof answer>> {
  const [line] = z.tuple([z.string()]).parse(await once(createInterface({ input: child.stdout }), 'line'));
  return answer.parse(JSON.parse(line));
}

/** kill -9. */
export async function end(child: Owner): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** Starts the server in this process, and stops it whatever the look at it finds. */
export async function whileRunning(dataDir: string, look: (db: Embedded) => Promise<unknown>): Promise<void> {
  const db = await startEmbedded({ dataDir });
  try {
    await look(db);
  } finally {
    await db.stop();
  }
}

/** The rows of one statement, on a connection of its own. */
export async function ask(url: string, statement: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(statement)).rows;
  } finally {
    await client.end();
  }
}

/** For assert.rejects: a Refusal of this kind that says this. */
export function refusal(kind: RefusalKind, message: string | RegExp): (thrown: unknown) => boolean {
  return (thrown) => {
    assert.ok(thrown instanceof Refusal, String(thrown));
    assert.equal(thrown.kind, kind);
    if (typeof message === 'string') assert.equal(thrown.message, message);
    else assert.match(thrown.message, message);
    return true;
  };
}

/** The processes at home in a directory: the server, its children, its watcher. */
export async function processesIn(directory: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await fs.readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const home = await fs.readlink(`/proc/${pid}/cwd`).catch(() => '');
    if (home.startsWith(directory)) found.push(`${pid} ${await fs.readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')}`);
  }
  return found;
}

/** Waits until a directory is nobody's home: processes that are not our children have no event for their end. */
export async function nobodyIn(directory: string): Promise<void> {
  for await (const _ of setInterval(20)) if ((await processesIn(directory)).length === 0) return;
}
