// The five fields of a crontab line → an expression of ours that means the same, with a warning where crons differ. Pure.

import { parseExpression } from '../crontab/expression.ts';
import { messageOf, Refusal } from '../errors.ts';
import { show } from '../faults.ts';

type Warn = (message: string) => void;

/** The expression of a line; undefined, and a warning, where it can't be carried over. */
export function fieldsIn(written: string, timezone: string, warn: Warn): string | undefined {
  if (written.startsWith('@')) return checked(written.toLowerCase(), timezone, warn);
  const text = written.replace(/^-(?=[\d*])/, '');
  if (text !== written) warn('the "-" before the minute (no entry in the system’s log) is left out');
  const fields = text.split(/[ \t]+/).map((field) => spreadOf(field, warn));
  const [, , day = '', , weekday = ''] = fields;
  if (fields.some((field) => /(^|,)\d+\//.test(field))) {
    warn('a step after a single number, such as 5/15, is read by Belfry as 5-59/15; not every cron does so');
  }
  // Vixie's cron takes a field that begins with a star for one that restricts nothing, and then asks both.
  const isStarred = (field: string): boolean => field.startsWith('*') && field !== '*';
  if ((isStarred(day) && weekday !== '*') || (isStarred(weekday) && day !== '*')) {
    warn('day of month and day of week: cron asks both of them here, as one has a step after a star; written with a +');
    fields[4] = `+${weekday}`;
  } else if (day !== '*' && weekday !== '*') {
    warn('day of month and day of week are both given: due when either matches, under cron and here');
  }
  return checked(fields.join(' '), timezone, warn);
}

// cronie and OpenBSD write a random number of a range as 0~59.
function spreadOf(field: string, warn: Warn): string {
  const parts = /^(\d*)~(\d*)(\/\d+)?$/.exec(field);
  if (parts === null) return field;
  const [, from, to, step = ''] = parts;
  const spread = from === '' || to === '' ? `H${step}` : `H(${from}-${to})${step}`;
  warn(`${show(field)} is a random number under cron; written as ${spread}, which stays the same for a job`);
  return spread;
}

function checked(expr: string, timezone: string, warn: Warn): string | undefined {
  if (expr === '@reboot') {
    warn('@reboot: Belfry knows of no boot; left out (a unit of systemd can run it)');
    return undefined;
  }
  try {
    parseExpression(expr, timezone, '');
    return expr;
  } catch (thrown) {
    if (!(thrown instanceof Refusal)) throw thrown;
    if (!thrown.message.startsWith('timezone:')) warn(`${messageOf(thrown)}; left out`);
    return undefined;
  }
}
