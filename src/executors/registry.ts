// Which kinds of commands this node can run: the built-in ones, and those that config.toml adds.

import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { messageOf, Refusal } from '../errors.ts';
import type { Executor } from './executor.ts';
import { heldToContract } from './guest.ts';
import type { HttpCommand } from './http.ts';
import type { ShellCommand } from './shell.ts';

/** An executor that comes with the house. */
export type BuiltIn = Executor<ShellCommand> | Executor<HttpCommand>;

/** `[executors.NAME]`: NAME is the `type` of its commands; other keys are the module's own. */
export type ModuleEntry = { readonly module: string };

/**
 * All executors by the `type` of their commands. A module's path is relative to `baseDir` (where config.toml lies); its
 * default export is an executor, or a function that is given its entry of config.toml and returns one, also as a promise.
 * Throws Refusal('bad_input') with everything that is wrong with the modules.
 */
export async function loadExecutors(
  builtIn: readonly BuiltIn[],
  modules: Readonly<Record<string, ModuleEntry>>,
  baseDir: string,
): Promise<Map<string, Executor>> {
  // The one place that forgets the type of the command: `execute` is only ever given what the same executor's `parse` returned.
  const executors = new Map(builtIn.map((executor) => [executor.type, executor as Executor]));
  const faults: string[] = [];
  for (const [name, entry] of Object.entries(modules)) {
    try {
      if (executors.has(name)) throw new Error('expected a name that is not taken, got one of a built-in executor');
      executors.set(name, heldToContract(await loadModule(name, entry, resolve(baseDir, entry.module))));
    } catch (thrown) {
      faults.push(`executors.${name}: ${messageOf(thrown)}`);
    }
  }
  if (faults.length > 0) throw new Refusal('bad_input', faults.join('; '));
  return executors;
}

async function loadModule(name: string, entry: ModuleEntry, path: string): Promise<Executor> {
  const { default: exported } = await importFrom(path);
  const executor: unknown = typeof exported === 'function' ? await exported(entry) : exported;
  const fault = faultOf(executor, name);
  if (fault !== undefined) throw new Error(`expected the default export of ${path} to be ${fault}`);
  return executor as Executor;
}

async function importFrom(path: string): Promise<{ default?: unknown }> {
  try {
    return (await import(pathToFileURL(path).href)) as { default?: unknown };
  } catch (thrown) {
    const [first] = messageOf(thrown).split('\n');
    throw new Error(`expected a module at ${path}, got: ${first}`, { cause: thrown });
  }
}

/** What it should be and is not. */
function faultOf(executor: unknown, name: string): string | undefined {
  if (typeof executor !== 'object' || executor === null) {
    return `an executor or a function that returns one, got ${executor === null ? 'null' : typeof executor}`;
  }
  const { type, defaults, parse, execute }: Partial<Record<keyof Executor, unknown>> = executor;
  const wrong = [
    type === name ? '' : `type: ${JSON.stringify(name)} (the name it has in config.toml), got ${JSON.stringify(type)}`,
    typeof parse === 'function' ? '' : `parse: a function, got ${typeof parse}`,
    typeof execute === 'function' ? '' : `execute: a function, got ${typeof execute}`,
    hasDefaults(defaults) ? '' : 'defaults: { maxAttempts, timeoutMs }, both whole numbers from 1 on',
  ].filter((part) => part !== '');
  return wrong.length === 0 ? undefined : `an executor with ${wrong.join(', ')}`;
}

function hasDefaults(defaults: unknown): boolean {
  if (typeof defaults !== 'object' || defaults === null) return false;
  const { maxAttempts, timeoutMs }: Partial<Record<keyof Executor['defaults'], unknown>> = defaults;
  return [maxAttempts, timeoutMs].every((value) => Number.isInteger(value) && Number(value) >= 1);
}
