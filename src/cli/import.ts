// belfry import crontab: the jobs of a crontab as [[jobs]] for a config.toml, and what is to be looked at.

import { readFile } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { isTimezone, zoneExpected } from '../crontab/zone.ts';
import { Refusal } from '../errors.ts';
import { describeFaults, hintFor, show } from '../faults.ts';
import { looksLikeUsers, readCrontab, type CrontabJob, type Warning } from '../jobs/crontab-file.ts';
import { parseDefinition } from '../jobs/definition.ts';
import { helpOption, outputOption, wantsJson, type Arguments } from './arguments.ts';
import { exits, type Command, type Deps } from './command.ts';
import { jobInToml } from './toml-text.ts';

export const importing: Command = {
  summary: 'turns a crontab into jobs for a config.toml',
  usage: 'crontab FILE [options]',
  more: `FILE may be - for standard input: crontab -l | belfry import crontab - >> config.toml
The jobs go to standard output; what they can't carry over is told on standard error, with the line.
A job is made to do as it does under cron: no retry, no catching up, no waiting for the one before.`,
  options: {
    system: { help: 'the sixth word is a user, as in /etc/crontab and /etc/cron.d, where it is understood' },
    user: { help: 'there is no word for a user, as in what crontab -l prints' },
    tz: { value: 'a time zone such as Europe/Berlin', help: 'the zone of the machine that the crontab is from; for jobs without CRON_TZ' },
    ...outputOption,
    ...helpOption,
  },
  mostPositionals: 2,
  run: async (deps, given) => {
    const [kind = '', file] = given.positionals;
    if (kind !== 'crontab') throw new Refusal('bad_input', `expected crontab and a file, got ${show(kind)}${hintFor(kind, ['crontab'])}`);
    if (file === undefined) throw new Refusal('bad_input', 'expected a file, or - for standard input, after crontab, got nothing');
    const timezone = zoneOf(given);
    const json = wantsJson(given);
    const text = await textOf(deps, file);
    const { jobs, warnings } = readCrontab(text, { hasUsers: hasUsers(given, deps, file, text) });
    const { kept, refused } = await check(deps, jobs, timezone);
    if (kept.some((job) => job['timezone'] === undefined)) {
      const message = 'cron reads these times in the zone of its machine, Belfry in that of [crontab], UTC by default: say --tz to name it';
      deps.err(`belfry: ${message}\n`);
    }
    for (const { line, message } of [...warnings, ...refused].sort((a, b) => a.line - b.line))
      deps.err(`${fileName(file)}:${line}: ${message}\n`);
    deps.out(json ? `${JSON.stringify({ jobs: kept })}\n` : kept.map(jobInToml).join('\n'));
    return exits.done;
  },
};

function zoneOf(given: Arguments): string | undefined {
  const zone = given.value('tz');
  if (zone === undefined || isTimezone(zone)) return zone;
  throw new Refusal('bad_input', `--tz: expected ${zoneExpected}, got ${show(zone)}`);
}

async function textOf(deps: Deps, file: string): Promise<string> {
  if (file === '-') return await deps.readInput();
  try {
    return await readFile(resolve(deps.cwd, file), 'utf8');
  } catch (thrown) {
    const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'unreadable';
    throw new Refusal('bad_input', `expected a crontab that can be read, got ${show(file)} (${code})`);
  }
}

function hasUsers(given: Arguments, { cwd }: Deps, file: string, text: string): boolean {
  if (given.isSet('user') && given.isSet('system')) throw new Refusal('bad_input', 'expected --user or --system, got both');
  if (given.isSet('user') || given.isSet('system')) return given.isSet('system');
  return (file !== '-' && /^\/etc\/(crontab$|cron\.d\/)/.test(resolve(cwd, file))) || looksLikeUsers(text);
}

type Written = Record<string, unknown>;

// What the loader of config.toml would refuse is left out here, and told.
async function check(deps: Deps, jobs: readonly CrontabJob[], timezone: string | undefined) {
  const kinds = await deps.kinds();
  const kept: Written[] = [];
  const refused: Warning[] = [];
  for (const job of jobs) {
    const written = writtenOf(job, timezone);
    const parsed = parseDefinition(written, { kinds, defaultTimezone: 'UTC' });
    if (parsed.ok) kept.push(written);
    else refused.push({ line: job.line, message: `${describeFaults(parsed.faults)}; left out` });
  }
  return { kept, refused };
}

// cron neither tries again nor catches up, starts a job beside the one that still runs, and ends none; 24 days are the most here.
function writtenOf({ line, name, expr, timezone, target, shell, cwd, env }: CrontabJob, defaultZone: string | undefined): Written {
  const zone = timezone ?? defaultZone;
  return {
    name,
    remark: `line ${line} of a crontab`,
    expr,
    ...(zone === undefined ? {} : { timezone: zone }),
    timeout: '24d',
    overlap: 'allow',
    misfire: 'skip',
    retry: { max_attempts: 1 },
    command: {
      type: 'shell',
      target,
      ...(shell === undefined ? {} : { shell }),
      ...(cwd === undefined ? {} : { cwd }),
      ...(Object.keys(env).length === 0 ? {} : { env }),
    },
  };
}

function fileName(file: string): string {
  return file === '-' ? 'standard input' : basename(file);
}
