// What the environment says: settings over those of config.toml, names that look like ours and are not, and what of it a
// command may see. Gets the variables handed in; only config.ts looks at the process.

import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { messageOf } from './errors.ts';
import { didYouMean, show } from './faults.ts';
import type { FaultPath } from './faults.ts';
import { keptFromChildren } from './settings.ts';

export type Variables = Readonly<Record<string, string | undefined>>;

/** A value for a place in config.toml, and the variable it came from. */
export type Setting = { readonly name: string; readonly path: FaultPath; readonly value: unknown };

export type Environment = {
  readonly settings: readonly Setting[];
  /** PORT, which changes nothing but the port of the address; BELFRY_ADDR wins over it. */
  readonly port: number | undefined;
  readonly faults: readonly string[];
  readonly warnings: readonly string[];
};

type Known = {
  readonly path: FaultPath;
  /** The first one that is set wins. */
  readonly names: readonly string[];
  /** Whether `<name>_FILE` may name a file that holds the value, as container platforms hand out secrets. */
  readonly orFile?: true;
  readonly read?: (text: string, cwd: string) => unknown;
};

const known: readonly Known[] = [
  { path: ['transport', 'http', 'addr'], names: ['BELFRY_ADDR'] },
  { path: ['data_dir'], names: ['BELFRY_DATA_DIR'], read: (text, cwd) => resolve(cwd, text) },
  { path: ['database', 'url'], names: ['BELFRY_DATABASE_URL', 'DATABASE_URL'], orFile: true },
  { path: ['redis', 'url'], names: ['BELFRY_REDIS_URL', 'REDIS_URL'], orFile: true },
  { path: ['duties'], names: ['BELFRY_DUTIES'], read: listOf },
  { path: ['log', 'level'], names: ['BELFRY_LOG_LEVEL'] },
  { path: ['log', 'format'], names: ['BELFRY_LOG_FORMAT'] },
  { path: ['node', 'name'], names: ['BELFRY_NODE'] },
  { path: ['node', 'labels'], names: ['BELFRY_LABELS'], read: listOf },
  { path: ['worker', 'concurrency'], names: ['BELFRY_CONCURRENCY'], read: (text) => (/^\d{1,15}$/.test(text) ? Number(text) : text) },
];

function listOf(text: string): string[] {
  return text.split(',').map((word) => word.trim());
}

const ownNames = [
  'BELFRY_CONFIG',
  ...known.flatMap(({ names, orFile }) => (orFile ? names.flatMap((name) => [name, `${name}_FILE`]) : names)),
].filter((name) => name.startsWith('BELFRY_'));

/** Reads what is set; a variable that is set to nothing counts as not set. */
export async function readEnvironment(env: Variables, cwd: string): Promise<Environment> {
  const settings: Setting[] = [];
  const faults: string[] = [];
  for (const each of known) {
    const found = await readSetting(each, env, cwd);
    if (typeof found === 'string') faults.push(found);
    else if (found !== undefined) settings.push(found);
  }
  const port = env['BELFRY_ADDR'] ? undefined : env['PORT'] || undefined;
  const isPort = port === undefined || (/^\d{1,5}$/.test(port) && Number(port) <= 65_535);
  if (!isPort) faults.push(`PORT: expected a port from 0 to 65535, got ${show(port)}`);
  return { settings, port: port !== undefined && isPort ? Number(port) : undefined, faults, warnings: warningsOf(env) };
}

// What a program needs to find its way; everything else of our environment is ours.
const handedOn = /^(PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_[A-Z]+|TZ|TMPDIR)$/;

/** The variables that commands get: the usual few and those named in `inherit_env`. */
export function inheritedFrom(env: Variables, extra: readonly string[]): Record<string, string> {
  const inherited: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || keptFromChildren.test(name)) continue;
    if (name === 'PATH') {
      const path = withoutNpm(value);
      if (path !== '') inherited[name] = path;
    } else if (handedOn.test(name) || extra.includes(name)) inherited[name] = value;
  }
  return inherited;
}

/** Why a file could not be read, in words. */
export function whyUnreadable(thrown: unknown): string {
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : '';
  switch (code) {
    case 'ENOENT':
      return 'there is no such file';
    case 'EISDIR':
      return 'it is a directory';
    case 'EACCES':
    case 'EPERM':
      return 'this user may not read it';
    case 'ERR_ENCODING_INVALID_ENCODED_DATA':
      return 'it is no UTF-8 text';
    default:
      return code === '' ? messageOf(thrown) : code;
  }
}

async function readSetting({ path, names, orFile, read }: Known, env: Variables, cwd: string): Promise<Setting | string | undefined> {
  for (const name of names) {
    const text = env[name];
    const file = orFile ? env[`${name}_FILE`] : undefined;
    if (text && file) return `${name}: expected either ${name} or ${name}_FILE, got both`;
    if (text) return { name, path, value: read ? read(text, cwd) : text };
    if (!file) continue;
    try {
      return { name: `${name}_FILE`, path, value: (await readFile(resolve(cwd, file), 'utf8')).trim() };
    } catch (thrown) {
      return `${name}_FILE: expected a file that can be read, got ${show(file)}: ${whyUnreadable(thrown)}`;
    }
  }
  return undefined;
}

// BELFRY_TEST_ is what our own tests are steered by.
function warningsOf(env: Variables): string[] {
  return Object.keys(env)
    .filter((name) => name.startsWith('BELFRY_') && !name.startsWith('BELFRY_TEST_') && !ownNames.includes(name))
    .map((name) => {
      const near = didYouMean(
        name.slice('BELFRY_'.length),
        ownNames.map((each) => each.slice('BELFRY_'.length)),
      );
      return `${name} is not a variable that Belfry knows${near === undefined ? '' : `; did you mean BELFRY_${near}?`}`;
    });
}

// `npm start` puts the programs of our own packages in front of everybody's.
function withoutNpm(path: string): string {
  return path
    .split(':')
    .filter((entry) => !/node_modules\/\.bin\/?$|node-gyp-bin/.test(entry))
    .join(':');
}
