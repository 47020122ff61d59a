// The command line as a shell has it: the real program as a child process, its output and its words beside it apart.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

type Scope = { after(fn: () => Promise<void>): void };

export type Ended = { readonly code: number | null; readonly out: string; readonly err: string };

type Given = { readonly cwd?: string; readonly input?: string; readonly env?: Record<string, string> };

const checkout = fileURLToPath(new URL('../..', import.meta.url));

/** The file that npm links as `belfry`. */
export const bin = join(checkout, 'bin/belfry.js');

/** Runs `belfry` with some words under the Node of the tests. */
export async function belfry(args: readonly string[], given: Given = {}): Promise<Ended> {
  return await run(process.execPath, [bin, ...args], given);
}

/** Runs a program to its end. */
export async function run(program: string, args: readonly string[], { cwd = tmpdir(), input = '', env = {} }: Given = {}): Promise<Ended> {
  const child = spawn(program, args, { cwd, env: { PATH: process.env['PATH'], HOME: tmpdir(), ...env } });
  child.stdin.end(input);
  const [out, err, ended] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code: ended[0] as number | null, out, err };
}

/** The PATH of somebody who has not got our Node: without the folders of node_modules, where npm puts it first. */
export const pathOfOthers = (process.env['PATH'] ?? '')
  .split(delimiter)
  .filter((folder) => !folder.includes('node_modules'))
  .join(delimiter);

/** A folder with a config.toml, gone after the test. */
export async function folderWith(t: Scope, config: string): Promise<string> {
  const cwd = await mkdtemp(join(tmpdir(), 'belfry-cli-'));
  t.after(() => rm(cwd, { recursive: true }));
  await writeFile(join(cwd, 'config.toml'), config);
  return cwd;
}
