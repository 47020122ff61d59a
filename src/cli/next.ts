// belfry next: what an expression says, when it is due next, and what it does when the clocks change.

import { readMoment } from '../crontab/moment.ts';
import { previewOf, timezoneOf, type Preview } from '../crontab/preview.ts';
import { Refusal } from '../errors.ts';
import { helpOption, numberOf, outputOption, wantsJson } from './arguments.ts';
import { exits, type Command } from './command.ts';

const defaultTimes = 10;
const mostTimes = 10_000;

export const next: Command = {
  summary: 'says what an expression means, and when it is due next',
  usage: 'EXPR [options]',
  more: `EXPR goes in quotes: belfry next "30 2 * * *" --tz Europe/Berlin
With -o json it prints an array of moments in UTC.`,
  options: {
    tz: { value: 'a time zone such as Europe/Berlin', help: 'the time zone of the job; UTC is the default' },
    from: { value: 'a moment', help: 'due times after this instead of after now; without an offset it is local in --tz' },
    number: { short: 'n', value: 'a number', help: `how many; ${defaultTimes} is the default` },
    name: { value: 'a name', help: 'the job’s name, on which H and @every depend' },
    ...outputOption,
    ...helpOption,
  },
  mostPositionals: 1,
  run: (deps, given) => {
    const [expr] = given.positionals;
    if (expr === undefined) throw new Refusal('bad_input', 'expected an expression such as "30 2 * * *", got nothing');
    const json = wantsJson(given);
    const timezone = timezoneOf(expr, given.value('tz'), 'UTC');
    const from = given.value('from');
    const preview = previewOf({
      expr,
      timezone,
      name: given.value('name') ?? '',
      after: from === undefined ? deps.now : readMoment(from, timezone, '--from'),
      most: numberOf(given, 'number', 1, mostTimes) ?? defaultTimes,
      now: deps.now,
    });
    deps.out(json ? `${JSON.stringify(preview.times.map(({ dueAt }) => dueAt))}\n` : told(preview));
    return Promise.resolve(exits.done);
  },
};

function told({ sentence, timezone, times, clockChanges }: Preview): string {
  const lines = times.map(({ local, dueAt, relative }) => `  ${local}  ${utc(dueAt)}  ${relative}`);
  const changes = clockChanges.map((change) => `  ${change.sentence}`);
  return [
    `${sentence} (${timezone})`,
    '',
    ...(lines.length > 0 ? lines : ['  never again']),
    ...(changes.length > 0 ? ['', 'When the clocks change:', ...changes] : []),
    '',
  ].join('\n');
}

function utc(moment: Date): string {
  return moment.toISOString().replace('.000Z', 'Z');
}
