// config.toml and the environment over defaults → one frozen Config and the jobs of the file. Whatever is wrong is told at
// once, each with its line, or with the variable it came from.

import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, relative, resolve } from 'node:path';
import { inheritedFrom, readEnvironment, whyUnreadable } from './environment.ts';
import type { Environment, Setting, Variables } from './environment.ts';
import { Refusal } from './errors.ts';
import type { Executor } from './executors/executor.ts';
import { describeFault, faultsIn, faultsOf, hostileFaults, isTable, show } from './faults.ts';
import type { Fault, FaultPath } from './faults.ts';
import { parseDefinition } from './jobs/definition.ts';
import type { JobDefinition } from './jobs/definition.ts';
import { settingsShape } from './settings.ts';
import type { Settings } from './settings.ts';
import { readToml, TomlFault } from './toml.ts';
import type { Place, Toml } from './toml.ts';

/** What [executors] says, for whoever makes them. */
export type ExecutorsConfig = {
  readonly shell: { readonly enabled: boolean; readonly isolation: Settings['executors']['shell']['isolation'] };
  readonly http: { readonly responseLimitBytes: number };
  /** By the `type` of their commands; `module` as written, relative to the folder of the file. Other keys are the module's own. */
  readonly modules: Readonly<Record<string, { readonly module: string }>>;
};

export type Config = {
  readonly env: string;
  /** The file it was read from; absent: there was none. */
  readonly file: string | undefined;
  readonly nodeName: string;
  /** What jobs may ask for with `run_on`. */
  readonly labels: readonly string[];
  readonly dataDir: string;
  readonly duties: { readonly web: boolean; readonly crontab: boolean; readonly worker: boolean };
  readonly shutdownGraceMs: number;
  /** A timeout of 0 is none. */
  readonly http: {
    readonly host: string;
    readonly port: number;
    /** Names besides the loopback ones that a Host header may have. */
    readonly hosts: readonly string[];
    readonly readTimeoutMs: number;
    readonly readHeaderTimeoutMs: number;
    readonly writeTimeoutMs: number;
    readonly idleTimeoutMs: number;
    readonly bodyLimitBytes: number;
  };
  readonly database: { readonly url: string | undefined; readonly maxConnections: number };
  readonly redis: { readonly url: string | undefined };
  readonly worker: {
    readonly concurrency: number;
    readonly killGraceMs: number;
    readonly outputLimitBytes: number;
    readonly onCutOff: 'continue' | 'kill';
  };
  readonly log: Settings['log'];
  /** For jobs that name no time zone. */
  /** How many runs a second one node sends to catch up. */
  readonly catchupPerSecond: number;
  readonly timezone: string;
  /** How long finished runs are kept; absent: for ever. */
  readonly retentionMs: number | undefined;
  readonly executors: ExecutorsConfig;
  /** What commands see of our environment. */
  readonly inheritedEnv: Readonly<Record<string, string>>;
  /** What is odd but no fault; for the log. */
  readonly warnings: readonly string[];
};

/** What is wrong with file and environment, a line each: `config.toml:12:3 jobs[1].timeout: expected …, got …`. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

export type Kinds = ReadonlyMap<string, Executor>;

export type LoadedConfig = { readonly config: Config; readonly kinds: Kinds; readonly definitions: JobDefinition[] };

/**
 * Reads the file (`file`, else BELFRY_CONFIG, else config.toml in `cwd` if there is one), the environment over it, the
 * executors by way of `loadExecutors`, and with them the jobs. Throws one ConfigError with every fault.
 */
export async function loadConfig(options: {
  readonly env?: Variables;
  readonly cwd: string;
  readonly file?: string;
  /**
   * Makes the executors; throws a Refusal that tells what is wrong with [executors]. Where other settings are at fault it
   * gets their defaults: the executors only judge the commands then, and loadConfig throws.
   */
  readonly loadExecutors: (executors: ExecutorsConfig, baseDir: string, config: Config) => Promise<Kinds>;
}): Promise<LoadedConfig> {
  const { env = process.env, cwd } = options;
  const source = await readSource(options.file ?? env['BELFRY_CONFIG'], cwd);
  const environment = await readEnvironment(env, cwd);
  const table = environment.settings.reduce(overlay, source.toml?.table ?? {});
  const settings = readSettings(table);
  const assumed = settings.data ?? settingsShape.safeParse({ executors: table['executors'] }).data;
  const config = assumed && freeze(makeConfig(assumed, environment, env, cwd, source));
  const executors = await readExecutors(config, (made) => options.loadExecutors(made.executors, source.baseDir, made));
  const jobs = readJobs(table['jobs'], executors.kinds, config?.timezone ?? 'UTC', source.toml);

  const faults = [...settings.faults, ...executors.faults, ...jobs.faults];
  const lines = [...source.faults, ...tellAll(faults, source, environment.settings), ...environment.faults];
  if (lines.length > 0 || !config || !executors.kinds) throw new ConfigError(lines.join('\n'));
  return { config, kinds: executors.kinds, definitions: jobs.definitions };
}

type Source = {
  /** What it is called in messages. */
  readonly name: string;
  readonly file: string | undefined;
  readonly baseDir: string;
  readonly toml: Toml | undefined;
  readonly faults: readonly string[];
};

async function readSource(named: string | undefined, cwd: string): Promise<Source> {
  const file = resolve(cwd, named || 'config.toml');
  const inside = relative(cwd, file);
  const name = inside === '' || inside.startsWith('..') ? file : inside;
  const source = { name, file, baseDir: dirname(file), toml: undefined };
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file));
  } catch (thrown) {
    const why = whyUnreadable(thrown);
    const isLeftOut = !named && thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT';
    if (isLeftOut) return { ...source, file: undefined, baseDir: cwd, faults: [] };
    return { ...source, faults: [`${name}: expected a configuration file that can be read: ${why}`] };
  }
  try {
    return { ...source, toml: readToml(text), faults: [] };
  } catch (thrown) {
    if (!(thrown instanceof TomlFault)) throw thrown;
    return { ...source, faults: [`${at(name, thrown.place)} expected TOML, got a fault in it: ${thrown.message}`] };
  }
}

// Sets a value in a copy. Where the file has something else than a table on the way, that is the fault that is told.
function overlay(table: Record<string, unknown>, { path, value }: Pick<Setting, 'path' | 'value'>): Record<string, unknown> {
  const [key, ...rest] = path;
  if (typeof key !== 'string') return table;
  if (rest.length === 0) return { ...table, [key]: value };
  const inner = Object.hasOwn(table, key) ? table[key] : {};
  return isTable(inner) ? { ...table, [key]: overlay(inner, { path: rest, value }) } : table;
}

function readSettings(table: Record<string, unknown>): { data?: Settings; faults: Fault[] } {
  const { jobs: _, ...withoutJobs } = table;
  const faults = hostileFaults(withoutJobs);
  const parsed = settingsShape.safeParse(table);
  if (parsed.success) return { data: parsed.data, faults };
  return { faults: [...faults, ...faultsOf(parsed.error, table, settingsShape)] };
}

async function readExecutors(
  config: Config | undefined,
  load: (config: Config) => Promise<Kinds>,
): Promise<{ kinds?: Kinds; faults: Fault[] }> {
  // Without one [executors] itself is at fault, which is told with the other settings.
  if (!config) return { faults: [] };
  try {
    return { kinds: await load(config), faults: [] };
  } catch (thrown) {
    if (!(thrown instanceof Refusal)) throw thrown;
    return { faults: faultsIn(thrown.message, ['executors']) };
  }
}

function readJobs(
  jobs: unknown = [],
  kinds: Kinds | undefined,
  defaultTimezone: string,
  toml: Toml | undefined,
): { definitions: JobDefinition[]; faults: Fault[] } {
  if (!Array.isArray(jobs)) {
    return { definitions: [], faults: [{ path: ['jobs'], message: `expected tables headed [[jobs]], got ${show(jobs)}` }] };
  }
  const definitions: JobDefinition[] = [];
  const faults: Fault[] = [];
  const firstOf = new Map<string, number>();
  for (const [index, job] of jobs.entries()) {
    const parsed = parseDefinition(job, { kinds: kinds ?? new Map(), defaultTimezone });
    if (parsed.ok) definitions.push(parsed.definition);
    else faults.push(...parsed.faults.map((fault) => ({ ...fault, path: ['jobs', index, ...fault.path] })));
    const name: unknown = isTable(job) ? job['name'] : undefined;
    if (typeof name !== 'string') continue;
    const first = firstOf.get(name);
    if (first === undefined) firstOf.set(name, index);
    else {
      const line = toml?.placeOf(['jobs', first, 'name'])?.line ?? '?';
      const message = `expected a name that no other job has, got ${show(name)}, the name of jobs[${first}] in line ${line}`;
      faults.push({ path: ['jobs', index, 'name'], message });
    }
  }
  // Without executors nobody knows which commands are right.
  const isKnown = ({ path }: Fault): boolean => kinds !== undefined || path[2] !== 'command';
  return { definitions, faults: faults.filter(isKnown) };
}

// Each fault with its line, in the order of the file, one a place; those of the environment with their variable, at the end.
function tellAll(faults: readonly Fault[], source: Source, settings: readonly Setting[]): string[] {
  const lines: { readonly text: string; readonly place: Place | undefined }[] = [];
  const seen = new Set<string>();
  for (const fault of faults) {
    const path = JSON.stringify(fault.path);
    if (seen.has(path)) continue;
    seen.add(path);
    const setting = settings.find((each) => startsWith(fault.path, each.path));
    const place = setting ? undefined : source.toml?.placeOf(fault.path);
    lines.push({ text: setting ? `${setting.name}: ${fault.message}` : `${at(source.name, place)} ${describeFault(fault)}`, place });
  }
  const order = (place: Place | undefined): number => (place ? place.line * 1e6 + place.column : Infinity);
  return lines.sort((a, b) => order(a.place) - order(b.place) || 0).map(({ text }) => text);
}

function makeConfig(settings: Settings, { port, warnings }: Environment, env: Variables, cwd: string, source: Source): Config {
  const http = settings.transport.http;
  const address = { ...http.addr, ...(port === undefined ? {} : { port }) };
  return {
    env: settings.env,
    file: source.file,
    nodeName: settings.node.name ?? `${hostname()}:${address.port}`,
    labels: [...new Set(settings.node.labels)],
    dataDir: settings.data_dir === undefined ? resolve(cwd, 'data') : resolve(source.baseDir, settings.data_dir),
    duties: {
      web: settings.duties.includes('web'),
      crontab: settings.duties.includes('crontab'),
      worker: settings.duties.includes('worker'),
    },
    shutdownGraceMs: settings.shutdown_grace,
    http: {
      ...address,
      hosts: http.hosts,
      readTimeoutMs: http.read_timeout,
      // Node refuses to wait longer for the head than for the whole; the original's own sample asks for it.
      readHeaderTimeoutMs: http.read_timeout === 0 ? http.read_header_timeout : Math.min(http.read_header_timeout, http.read_timeout),
      writeTimeoutMs: http.write_timeout,
      idleTimeoutMs: http.idle_timeout,
      bodyLimitBytes: http.body_limit,
    },
    database: { url: settings.database.url, maxConnections: settings.database.max_connections },
    redis: { url: settings.redis.url },
    worker: {
      concurrency: settings.worker.concurrency,
      killGraceMs: settings.worker.kill_grace,
      outputLimitBytes: settings.worker.output_limit,
      onCutOff: settings.worker.on_cut_off,
    },
    log: settings.log,
    timezone: settings.crontab.timezone,
    catchupPerSecond: settings.crontab.catchup_rate,
    retentionMs: settings.retention.runs === 0 ? undefined : settings.retention.runs,
    executors: executorsOf(settings.executors),
    inheritedEnv: inheritedFrom(env, settings.executors.shell.inherit_env),
    warnings,
  };
}

function executorsOf({ shell, http, ...modules }: Settings['executors']): ExecutorsConfig {
  return { shell: { enabled: shell.enabled, isolation: shell.isolation }, http: { responseLimitBytes: http.response_limit }, modules };
}

function startsWith(path: FaultPath, start: FaultPath): boolean {
  return start.every((key, index) => path[index] === key);
}

function at(name: string, place: Place | undefined): string {
  return place === undefined ? name : `${name}:${place.line}:${place.column}`;
}

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) Object.values(Object.freeze(value)).forEach(freeze);
  return value;
}
