// A crontab → the jobs it means, as they are written down here, and a warning for each thing that would be another. Pure. The
// rules are those of Vixie's cron, which Debian and (as cronie) Red Hat have: crontab(5).

import { isTimezone } from '../crontab/zone.ts';
import { show } from '../faults.ts';
import { nameFor } from './crontab-name.ts';
import { fieldsIn } from './crontab-fields.ts';

/** Something to be looked at by a person; `line` is counted from 1. */
export type Warning = { readonly line: number; readonly message: string };

export type CrontabJob = {
  readonly line: number;
  readonly name: string;
  readonly expr: string;
  readonly timezone: string | undefined;
  /** As it was written. */
  readonly command: string;
  /** What the shell is given, with the PATH of the crontab. */
  readonly target: string;
  readonly shell: string | undefined;
  readonly cwd: string | undefined;
  readonly env: Readonly<Record<string, string>>;
};

export type Crontab = { readonly jobs: readonly CrontabJob[]; readonly warnings: readonly Warning[] };

export type CrontabOptions = {
  /** Whether the sixth word of a line is a user, as in /etc/crontab and /etc/cron.d. */
  readonly hasUsers: boolean;
};

// What the lines so far have set for those below them.
type Settings = {
  readonly env: Map<string, string>;
  timezone: string | undefined;
  shell: string | undefined;
  path: string | undefined;
  cwd: string | undefined;
};

type Warn = (message: string) => void;

/** Reads a crontab. Never throws: what can't be carried over is left out and told. */
export function readCrontab(text: string, options: CrontabOptions): Crontab {
  const warnings: Warning[] = [];
  const jobs: CrontabJob[] = [];
  const names = new Map<string, number>();
  const settings: Settings = { env: new Map(), timezone: undefined, shell: undefined, path: undefined, cwd: undefined };
  for (const [index, written] of text.split('\n').entries()) {
    const line = index + 1;
    const trimmed = written.replace(/^[ \t]+/, '').replace(/\r$/, '');
    const warn = (message: string): void => void warnings.push({ line, message });
    if (trimmed === '' || trimmed.startsWith('#')) continue;
    const variable = variableIn(trimmed);
    if (variable) set(settings, variable, warn);
    else {
      const job = jobIn(trimmed, settings, options, warn);
      if (job) jobs.push({ line, name: nameFor(job.command, names), ...job });
    }
  }
  return { jobs, warnings };
}

/** Whether each job of a crontab begins its command with `root`, which no command is called: then it is a user. */
export function looksLikeUsers(text: string): boolean {
  const lines = text.split('\n').filter((line) => /^[ \t]*[^#\s]/.test(line) && !variableIn(line.trim()));
  return lines.length > 0 && lines.every((line) => /^\s*(@\w+|-?\S+\s+\S+\s+\S+\s+\S+\s+\S+)\s+root\s/.test(line));
}

type Variable = { readonly name: string; readonly value: string };

function variableIn(line: string): Variable | undefined {
  const parts = /^(?:([A-Za-z_]\w*)|"([^"]*)"|'([^']*)')[ \t]*=[ \t]*(.*?)[ \t]*$/.exec(line);
  const name = parts?.[1] ?? parts?.[2] ?? parts?.[3];
  if (name === undefined) return undefined;
  const value = parts?.[4] ?? '';
  return { name, value: /^(["'])(.*)\1$/s.exec(value)?.[2] ?? value };
}

const noMail = 'Belfry sends no mail of what a command prints; the output is kept with each run instead';
const ownSetting = 'cron’s own setting has no like here; left out';

// What can't be carried over.
const dropped: Readonly<Record<string, string>> = {
  MAILTO: noMail,
  MAILFROM: noMail,
  CONTENT_TYPE: ownSetting,
  CONTENT_TRANSFER_ENCODING: ownSetting,
  RANDOM_DELAY: ownSetting,
  START_HOURS_RANGE: ownSetting,
};

function set(settings: Settings, { name, value }: Variable, warn: Warn): void {
  if (Object.hasOwn(dropped, name)) {
    // An empty MAILTO asks for no mail, which is what it gets.
    if (value !== '') warn(`${name}: ${dropped[name]}`);
  } else if (name === 'SHELL') settings.shell = value === '/bin/sh' || value === '' ? undefined : value;
  else if (name === 'PATH') settings.path = value;
  else if (name === 'CRON_TZ') setTimezone(settings, value, warn);
  else {
    if (name === 'HOME' && value.startsWith('/')) settings.cwd = value;
    if (name === 'TZ')
      warn('TZ: carried into the environment only; where cron reads it as the time zone of the schedule, say CRON_TZ or --tz');
    settings.env.set(name, value);
  }
}

function setTimezone(settings: Settings, value: string, warn: Warn): void {
  settings.timezone = value === '' ? undefined : value;
  if (value !== '' && !isTimezone(value))
    warn(`CRON_TZ: expected an IANA time zone such as Europe/Berlin, got ${show(value)}; the jobs below it are left out`);
}

type Read = Omit<CrontabJob, 'line' | 'name'>;

function jobIn(line: string, settings: Settings, { hasUsers }: CrontabOptions, warn: Warn): Read | undefined {
  const [, fields, rest = ''] = /^(@\S+|(?:\S+[ \t]+){4}\S+)(?:[ \t]+(.*))?$/s.exec(line) ?? [];
  if (fields === undefined) {
    warn(`expected five fields and a command, @daily and a command, or NAME=value, got ${show(line)}; left out`);
    return undefined;
  }
  const user = hasUsers ? (/^\S+/.exec(rest)?.[0] ?? '') : undefined;
  const command = commandIn(user === undefined ? rest : rest.slice(user.length).trimStart(), warn);
  if (command.trim() === '') {
    warn(`expected a command${hasUsers ? ' after the user' : ''}, got nothing; left out`);
    return undefined;
  }
  const expr = fieldsIn(fields, settings.timezone ?? 'UTC', warn);
  if (expr === undefined) return undefined;
  warnOfUser(user, command, warn);
  return {
    expr,
    timezone: settings.timezone,
    command,
    target: withPath(command, settings, warn),
    shell: settings.shell,
    cwd: settings.cwd,
    env: Object.fromEntries(settings.env),
  };
}

function warnOfUser(user: string | undefined, command: string, warn: Warn): void {
  if (user !== undefined) warn(`runs as the user ${show(user)} under cron; Belfry runs it as its own user`);
  else if (/^root[ \t]/.test(command)) warn('the command begins with "root": if that is a user, say --system');
}

// The first % that has no backslash ends the command; what follows would be its standard input, with each % a line break.
function commandIn(written: string, warn: Warn): string {
  const end = /(?<!\\)%/.exec(written)?.index ?? written.length;
  const input = written
    .slice(end + 1)
    .replaceAll(/(?<!\\)%/g, '\n')
    .replaceAll('\\%', '%');
  if (end < written.length && input.trim() !== '') {
    warn(`everything after the first % was standard input under cron; commands of Belfry have none, so ${show(input)} is left out`);
  }
  return written.slice(0, end).replaceAll('\\%', '%').trimEnd();
}

// A job may not set PATH beside its command, but in it, where it is seen.
function withPath(command: string, { path, shell }: Settings, warn: Warn): string {
  if (path === undefined) return command;
  if (/csh|fish/.test(shell ?? '')) {
    warn(`PATH: ${show(shell)} sets it in a way of its own; left out, put it into the command`);
    return command;
  }
  return `export PATH='${path.replaceAll("'", `'\\''`)}'; ${command}`;
}
