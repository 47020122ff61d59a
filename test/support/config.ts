// Loads a configuration in a directory of its own, with two executors that only judge commands.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { ConfigError, loadConfig } from '../../src/config.ts';
import type { Config, ExecutorsConfig, Kinds, LoadedConfig } from '../../src/config.ts';
import type { Executor } from '../../src/executors/executor.ts';

export type Given = {
  readonly toml?: string | Uint8Array;
  readonly env?: Record<string, string>;
  readonly loadExecutors?: (executors: ExecutorsConfig, baseDir: string, config: Config) => Promise<Kinds>;
};

export const kinds: Kinds = new Map([
  ['shell', judge('shell')],
  ['http', judge('http')],
]);

/** The directory of this test file, removed at its end. */
export const cwd = await mkdtemp(join(tmpdir(), 'belfry-config-'));
after(() => rm(cwd, { recursive: true }));

export async function load({ toml, env = {}, loadExecutors = () => Promise.resolve(kinds) }: Given): Promise<LoadedConfig> {
  const file = join(cwd, 'config.toml');
  if (toml === undefined) await rm(file, { force: true });
  else await writeFile(file, toml);
  return await loadConfig({ env, cwd, loadExecutors });
}

export async function configOf(given: Given): Promise<Config> {
  return (await load(given)).config;
}

/** The lines of the ConfigError that it must come to. */
export async function faultsOf(given: Given): Promise<string[]> {
  try {
    await load(given);
  } catch (thrown) {
    assert.ok(thrown instanceof ConfigError, String(thrown));
    return thrown.message.split('\n');
  }
  return assert.fail('expected faults');
}

function judge(type: string): Executor {
  return {
    type,
    defaults: { maxAttempts: 1, timeoutMs: 30_000 },
    parse: (command) => {
      if (typeof command['target'] !== 'string') throw new Error('command.target: expected a text, got something else');
      return command;
    },
    execute: () => Promise.reject(new Error('not executed here')),
  };
}
