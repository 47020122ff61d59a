// What may stand in config.toml: every key, what it expects and what it is when left out. Jobs and executors' modules are
// looked at by those who know them. Pure.

import { z } from 'zod';
import { show } from './faults.ts';
import { nodeLabel } from './jobs/placing.ts';
import { zoneName } from './jobs/when.ts';
import { byteCount, duration, flag, label, list, oneOf, refuse, table, wholeNumber } from './shapes.ts';

/** Where the HTTP server listens. */
export type Address = { readonly host: string; readonly port: number };

/** Names that are never handed to a command, however they are asked for: what is ours, and where our secrets stand. */
export const keptFromChildren = /^(BELFRY_|DATABASE_URL|REDIS_URL)/;

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

// The two of the house, and a module for each further one, whose other keys are its own.
const executorsShape = z
  .object(
    {
      shell: table({
        enabled: flag().default(true),
        inherit_env: list(variableName(), 200).default([]),
        isolation: oneOf('auto', 'none').default('auto'),
      }).prefault({}),
      http: table({
        response_limit: byteCount(1, 64 * MiB).default(MiB),
      }).prefault({}),
    },
    'expected a table',
  )
  .catchall(z.looseObject({ module: modulePath() }, 'expected a table'))
  .superRefine((executors, context) => {
    for (const name of Object.keys(executors)) {
      if (/^[a-z][a-z0-9_-]{0,49}$/.test(name)) continue;
      const message = `expected a name of small letters, digits, - and _ for an executor, got ${show(name)}`;
      context.addIssue({ code: 'custom', message, path: [name] });
    }
  });

/** All of config.toml. A [[jobs]] list is let through unseen: parseDefinition judges it. */
export const settingsShape = table({
  env: label(50).default('prod'),
  data_dir: label(1000).optional(),
  duties: list(oneOf('web', 'crontab', 'worker'), 3)
    .min(1, 'expected at least one of "web", "crontab" and "worker"')
    .default(['web', 'crontab', 'worker']),
  shutdown_grace: duration('0s', '1h').default(30_000),
  transport: table({
    http: table({
      addr: address().default({ host: '127.0.0.1', port: 9000 }),
      hosts: list(hostName(), 100).default([]),
      read_timeout: duration('0s', '1h', 'seconds').default(30_000),
      read_header_timeout: duration('0s', '1h', 'seconds').default(10_000),
      write_timeout: duration('0s', '1h', 'seconds').default(30_000),
      idle_timeout: duration('0s', '1h', 'seconds').default(60_000),
      body_limit: byteCount(1, GiB).default(MiB),
    }).prefault({}),
  }).prefault({}),
  database: table({
    url: connectionUrl('postgres://user:password@host:5432/belfry', /^postgres(ql)?:\/\/\S+$/).optional(),
    max_connections: wholeNumber(1, 1000).default(10),
  }).prefault({}),
  redis: table({
    url: connectionUrl('redis://:password@host:6379', /^rediss?:\/\/\S+$/).optional(),
  }).prefault({}),
  node: table({ name: label(100).optional(), labels: list(nodeLabel(), 50).default([]) }).prefault({}),
  worker: table({
    concurrency: wholeNumber(1, 10_000).default(50),
    kill_grace: duration('0s', '10m').default(10_000),
    output_limit: byteCount(1, 64 * MiB).default(256 * KiB),
    on_cut_off: oneOf('continue', 'kill').default('continue'),
  }).prefault({}),
  log: table({
    level: oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent').default('info'),
    format: oneOf('auto', 'json', 'pretty').default('auto'),
  }).prefault({}),
  crontab: table({ timezone: zoneName().default('UTC'), catchup_rate: wholeNumber(1, 100_000).default(100) }).prefault({}),
  retention: table({ runs: duration('0s', '36500d').default(30 * 86_400_000) }).prefault({}),
  executors: executorsShape.prefault({}),
  jobs: z.unknown().optional(),
});

export type Settings = z.output<typeof settingsShape>;

function address() {
  return z.unknown().transform((value, context): Address => {
    const parts = typeof value === 'string' ? /^(|[^:[\]\s]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})$/.exec(value) : null;
    const port = Number(parts?.[2] ?? NaN);
    if (parts?.[1] === undefined || !(port <= 65_535)) {
      return refuse(context, value, 'expected an address such as ":9000" or "127.0.0.1:9000" with a port up to 65535');
    }
    const host = parts[1] === '' ? '127.0.0.1' : parts[1].replace(/^\[|\]$/g, '').toLowerCase();
    if (isLoopback(host)) return { host, port };
    const why = 'until sign-in exists, Belfry can be reached from its own machine only';
    return refuse(context, value, `expected a loopback address such as "127.0.0.1:9000" (${why})`);
  });
}

function modulePath() {
  return z.unknown().transform((value, context): string => {
    if (typeof value === 'string' && value !== '' && value.length <= 1000) return value;
    return refuse(context, value, 'expected a module such as "./mine.js" (every executor but shell and http has one)');
  });
}

// As it is written, with no look-up: names and short forms such as 127.1 mean something else elsewhere.
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/.test(host);
}

// The value is not repeated: it may hold a password.
function connectionUrl(example: string, pattern: RegExp) {
  return z.unknown().transform((value, context): string => {
    if (typeof value === 'string' && pattern.test(value)) return value;
    const scheme = typeof value === 'string' ? /^[a-z][a-z0-9+.-]{0,20}:\/\//i.exec(value)?.[0] : undefined;
    const came = scheme === undefined ? 'something else' : `${scheme}…`;
    const message = `expected a URL such as "${example}", got ${came} (not shown, it may hold a password)`;
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  });
}

function hostName() {
  return z.unknown().transform((value, context): string => {
    const isName = typeof value === 'string' && /^(?=.{1,253}$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(value);
    return isName ? value.toLowerCase() : refuse(context, value, 'expected the name of a host, without port, such as "belfry.lan"');
  });
}

function variableName() {
  return z.unknown().transform((value, context): string => {
    if (typeof value !== 'string' || !/^[A-Za-z_][A-Za-z0-9_]{0,200}$/.test(value)) {
      return refuse(context, value, 'expected the name of an environment variable such as "GOPATH"');
    }
    return keptFromChildren.test(value) ? refuse(context, value, 'expected a variable that is not Belfry’s own') : value;
  });
}
