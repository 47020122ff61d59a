// What the tests of executors share: an attempt to make, a folder to make it in, and ways to wait for what happened.

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, watch } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { AttemptRequest, AttemptResult, Executor } from '../../src/executors/executor.ts';
import { statOf } from '../../src/executors/processes.ts';

/** The overall limit of everything that is waited for. */
export const limit = { timeout: 120_000 };

export const dueAt = new Date('2026-03-29T01:30:00.000Z');
export const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

/** Named after the test process, so that two that run at once do not see each other's processes. */
export const marker = `test-${process.pid}`;

/** One attempt at a command, as written down. */
export function attempt<C>(
  executor: Executor<C>,
  command: Record<string, unknown>,
  more: Partial<AttemptRequest> = {},
): Promise<AttemptResult> {
  return executor.execute({
    job: 'nightly',
    runId: '42',
    attempt: 2,
    dueAt,
    cause: 'schedule',
    idempotencyKey: `nightly:${dueAt.toISOString()}`,
    traceparent,
    timeoutMs: 20_000,
    killGraceMs: 5_000,
    marker,
    keepOutput: true,
    signal: new AbortController().signal,
    ...more,
    command: executor.parse(command),
  });
}

export async function tempDir(t: { after: TestContext['after'] }): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'belfry-executors-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** Shell text that makes a file appear with all of its content at once. */
export function leave(file: string, content: string): string {
  return `echo ${content} > ${file}.part && mv ${file}.part ${file}`;
}

/** Waits until somebody has left the file, and returns its content. */
export async function left(dir: string, name: string): Promise<string> {
  const path = join(dir, name);
  const given = new AbortController();
  try {
    const changes = watch(dir, { signal: given.signal })[Symbol.asyncIterator]();
    // The watch begins when it is first asked.
    let change = changes.next();
    while (!existsSync(path)) {
      await change;
      change = changes.next();
    }
    change.catch(() => undefined);
    return (await readFile(path, 'utf8')).trim();
  } finally {
    given.abort();
  }
}

/** The number of a process of ours by the one that it has for itself: in a namespace they differ (NSpid of proc(5)). */
export function outside(inside: number): number {
  const found = readdirSync('/proc')
    .map(Number)
    .find((pid) => Number.isInteger(pid) && isIt(pid, inside));
  if (found === undefined) throw new Error(`expected a process of ours that is ${inside} for itself, found none`);
  return found;
}

function isIt(pid: number, inside: number): boolean {
  try {
    const [, numbers = ''] = /^NSpid:(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return numbers.endsWith(`\t${inside}`) && readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`BELFRY_MARKER=${marker}`);
  } catch {
    return false;
  }
}

/** Whether the process is there and no zombie. */
export function lives(pid: number): boolean {
  const stat = statOf(pid);
  return stat !== undefined && stat.state !== 'Z';
}

/** Whether PostgreSQL would take this as text and as JSON. */
export function isStorable(value: unknown): boolean {
  const texts: string[] = [];
  JSON.stringify(value, (key, part: unknown) => {
    texts.push(key);
    if (typeof part === 'string') texts.push(part);
    return part;
  });
  return texts.every((text) => text.isWellFormed() && !text.includes('\0'));
}

export function messageThrownBy(work: () => unknown): string {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof Error) return thrown.message;
  }
  throw new Error('expected it to throw an Error');
}

export function run(program: string, ...args: string[]): string {
  return execFileSync(program, args, { encoding: 'utf8' });
}
