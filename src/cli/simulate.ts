// belfry simulate: what the jobs of a configuration would do in a range of time, without doing it.

import { readMoment } from '../crontab/moment.ts';
import { simulate, type Peak, type SimulatedJob, type Simulation } from '../crontab/simulate.ts';
import { ConfigError } from '../config.ts';
import { Refusal } from '../errors.ts';
import { show } from '../faults.ts';
import { helpOption, outputOption, wantsJson } from './arguments.ts';
import { exits, type Command } from './command.ts';

const dayMs = 86_400_000;
const defaultDays = 7;
const mostYears = 10;
const mostListed = 20;

export const simulation: Command = {
  summary: 'says how often the jobs of a configuration would run, and when many at once',
  usage: '[config.toml] [options]',
  more: `Nothing is run. The range is [from, to), in full minutes, ${mostYears} years at most. Every due time counts as a run: that one may
still run, fail or be missed is not simulated.`,
  options: {
    from: { value: 'a moment', help: 'the beginning; now is the default, UTC where it has no offset' },
    to: { value: 'a moment', help: `the end, which is left out; ${defaultDays} days after the beginning is the default` },
    ...outputOption,
    ...helpOption,
  },
  mostPositionals: 1,
  run: async (deps, given) => {
    const json = wantsJson(given);
    const { from, to } = rangeOf(given.value('from'), given.value('to'), deps.now);
    const { file, definitions } = await deps.loadJobs(given.positionals[0]);
    if (file === undefined) throw new ConfigError('expected a config.toml here, or the name of one: belfry simulate FILE');
    const result = simulate(definitions, from, to);
    deps.out(json ? `${JSON.stringify(jsonOf(result))}\n` : told(result));
    return exits.done;
  },
};

function rangeOf(fromText: string | undefined, toText: string | undefined, now: Date): { from: Date; to: Date } {
  const from = fromText === undefined ? now : readMoment(fromText, 'UTC', '--from');
  const to = toText === undefined ? new Date(from.getTime() + defaultDays * dayMs) : readMoment(toText, 'UTC', '--to');
  if (to.getTime() - from.getTime() < 60_000) {
    throw new Refusal('bad_input', `--to: expected at least a minute after --from, ${from.toISOString()}, got ${show(to.toISOString())}`);
  }
  if (to.getTime() - from.getTime() > mostYears * 366 * dayMs) {
    throw new Refusal(
      'bad_input',
      `--to: expected at most ${mostYears} years after --from, ${from.toISOString()}, got ${show(to.toISOString())}`,
    );
  }
  return { from, to };
}

function jsonOf(result: Simulation) {
  return {
    from: result.from,
    to: result.to,
    runs: result.dueTimes,
    jobs: result.jobs.map(({ name, expr, timezone, enabled, dueTimes, first }) => ({
      name,
      expr,
      timezone,
      enabled,
      runs: dueTimes,
      first: first ?? null,
    })),
    collisions: { seconds_with_one: result.secondsWithOne, seconds_with_several: result.secondsWithSeveral },
    busiest_second: peakJson(result.busiestSecond),
    busiest_minute: peakJson(result.busiestMinute),
  };
}

function peakJson(peak: Peak | undefined) {
  return peak === undefined ? null : { at: peak.at, runs: peak.dueTimes, jobs: peak.jobs, more_jobs: peak.moreJobs };
}

function told(result: Simulation): string {
  const listed = [...result.jobs].sort((a, b) => b.dueTimes - a.dueTimes).slice(0, mostListed);
  const width = Math.max(4, ...listed.map(({ dueTimes }) => count(dueTimes).length));
  const more = result.jobs.length - listed.length;
  return [
    `From ${minute(result.from)} to before ${minute(result.to)}: ${count(result.dueTimes)} runs of ${count(result.jobs.length)} jobs`,
    '',
    ...listed.map((job) => jobLine(job, width)),
    ...(more > 0 ? [`  … and ${count(more)} more jobs, which run less often (all of them: -o json)`] : []),
    '',
    `Seconds in which one is due: ${count(result.secondsWithOne)}; in which several are: ${count(result.secondsWithSeveral)}`,
    ...peakLine('The busiest second', result.busiestSecond),
    ...peakLine('The busiest minute', result.busiestMinute),
    '',
  ].join('\n');
}

function jobLine({ name, expr, timezone, enabled, dueTimes }: SimulatedJob, width: number): string {
  return `  ${count(dueTimes).padStart(width)}  ${name}  (${enabled ? `${expr}, ${timezone}` : 'disabled'})`;
}

function peakLine(title: string, peak: Peak | undefined): string[] {
  if (peak === undefined) return [];
  const names = peak.jobs.join(', ') + (peak.moreJobs > 0 ? ` and ${count(peak.moreJobs)} more` : '');
  return [`${title}: ${peak.at.toISOString().replace('.000Z', 'Z')} with ${count(peak.dueTimes)} (${names})`];
}

function minute(moment: Date): string {
  return moment.toISOString().slice(0, 16).replace('T', ' ') + ' UTC';
}

// 1 234 567, whatever the machine speaks.
function count(number: number): string {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ' ');
}
