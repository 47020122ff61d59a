// What an expression says, as a sentence. cronstrue words those of which it was seen to be right; it reads `0 0 13 * 5` as both
// days, `*/7` as every seven minutes and knows no lists of # and W. All others are worded here: plainly, and never wrong.

import cronstrue from 'cronstrue';
import { show } from '../faults.ts';
import { parseField } from './fields.ts';
import { timesInWords, daysInWords, monthsInWords, yearsInWords } from './wording.ts';
import { withoutZone } from './expression.ts';
import { fieldsOf, isSpread, kindsOfField } from './spelled-out.ts';

/**
 * A sentence without a full stop for an expression that parseExpression took: "At 02:30, every day". Says nothing of the time
 * zone. Never throws.
 */
export function sentenceOf(expr: string, seed: string): string {
  const text = withoutZone(expr);
  const fields = fieldsOf(expr, seed);
  if (fields === undefined) return wordSentence(text);
  const sentence = (isPlain(fields) ? plainSentence(fields) : undefined) ?? ownSentence(fields, seed);
  return isSpread(expr) ? `${sentence} (H: a place of this job’s own)` : sentence;
}

function wordSentence(text: string): string {
  const [word, rest = ''] = text.split(/[ \t]+/, 2);
  if (word === '@every') return `Every ${rest}, counted from a moment of this job’s own`;
  const at = new Date(rest.replace(/^(\S{16})(?!:)/, '$1:00'));
  return Number.isNaN(at.getTime()) ? `As ${show(text)} says` : `Once, at ${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

type Kind = 'any' | 'zero' | 'one' | 'list' | 'range' | 'step' | 'other';

// Which forms of second, minute and hour cronstrue words so that they cannot be read in another way.
const plainTimes: Readonly<Record<string, readonly Kind[]>> = {
  'zero one': ['any', 'one', 'list', 'range', 'step'],
  'zero any': ['any', 'one', 'range'],
  'zero step': ['any', 'one', 'range'],
  'zero range': ['any'],
  'zero list': ['any', 'range', 'step'],
  'one one': ['one'],
  'one any': ['any'],
  'any any': ['any'],
  'step any': ['any'],
};

function isPlain(fields: readonly string[]): boolean {
  return isPlainTime(fields) && isPlainDate(fields.slice(3));
}

function isPlainTime([second = '', minute = '', hour = '']: readonly string[]): boolean {
  const seconds = second === '0' ? 'zero' : kindOf(second, 60);
  const hours = hour === '22-2' ? 'range' : kindOf(hour, 24);
  return plainTimes[`${seconds} ${kindOf(minute, 60)}`]?.includes(hours) === true;
}

// Of two fields for the day it words neither as it is meant.
function isPlainDate([day = '', month = '', weekday = '', year = '']: readonly string[]): boolean {
  if (!isAny(day) && !isAny(weekday)) return false;
  return isPlainDay(day) && isPlainWeekday(weekday) && isPlainMonth(month) && /^(any|one|range)$/.test(kindOf(year, 0));
}

function isAny(field: string): boolean {
  return field === '*' || field === '?';
}

function isPlainDay(field: string): boolean {
  return isAny(field) || /^(L|LW|[1-9]\d?W)$/i.test(field) || /^(one|list|range)$/.test(kindOf(field, 0));
}

const weekdayName = '(?:SUN|MON|TUE|WED|THU|FRI|SAT)';

function isPlainWeekday(field: string): boolean {
  const named = new RegExp(`^(${weekdayName}|[0-6])(L|#[1-5])$|^${weekdayName}(,${weekdayName})*$|^MON-FRI$|^FRI-MON$`, 'i');
  return isAny(field) || named.test(field) || /^[0-6](,[0-6])*$|^7$|^1-5$/.test(field);
}

function isPlainMonth(field: string): boolean {
  const name = '(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)';
  return (
    isAny(field) || new RegExp(`^${name}(,${name})*$|^${name}-${name}$`, 'i').test(field) || /^(one|list|range)$/.test(kindOf(field, 0))
  );
}

// `size`: a step has to go into it, or the last pause of the hour or the day is a shorter one.
function kindOf(field: string, size: number): Kind {
  if (isAny(field)) return 'any';
  if (/^(0|[1-9]\d*)$/.test(field)) return 'one';
  if (/^(0|[1-9]\d*)(,(0|[1-9]\d*))+$/.test(field)) return 'list';
  const range = /^(0|[1-9]\d*)-([1-9]\d*)$/.exec(field);
  if (range !== null) return Number(range[1]) < Number(range[2]) ? 'range' : 'other';
  const step = Number(/^(?:\*|\?|0)\/([1-9]\d*)$/.exec(field)?.[1] ?? 0);
  return step > 1 && step < size && size % step === 0 ? 'step' : 'other';
}

// Without years it is given six fields, as its seventh words "every year" too.
function plainSentence(fields: readonly string[]): string | undefined {
  const given = fields.map((field, index) => (index === 6 && isAny(field) ? '' : field.replace('?', '*').toUpperCase()));
  try {
    return cronstrue.toString(given.join(' ').trim(), { use24HourTimeFormat: true, verbose: true, throwExceptionOnParseError: true });
  } catch {
    // Whatever it does not understand is worded here.
    return undefined;
  }
}

function ownSentence(fields: readonly string[], seed: string): string {
  const both = fields[5]?.startsWith('+') === true;
  const [seconds, minutes, hours, days, months, weekdays, years] = kindsOfField.map((kind, index) => {
    const text = fields[index] ?? '*';
    return parseField(kind, text.startsWith('+') ? text.slice(1) : text, 0, seed);
  });
  if (!seconds || !minutes || !hours || !days || !months || !weekdays || !years) return '';
  return [
    timesInWords(seconds.values, minutes.values, hours.values),
    daysInWords(days, weekdays, both),
    ...monthsInWords(months.values),
    ...(years.any ? [] : yearsInWords(years.values)),
  ].join(', ');
}
