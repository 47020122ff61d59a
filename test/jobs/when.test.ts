// What a definition may say about when, and how each part is refused.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Executor } from '../../src/executors/executor.ts';
import { describeFaults } from '../../src/faults.ts';
import { parseDefinition, type JobDefinition } from '../../src/jobs/definition.ts';

const noop: Executor = {
  type: 'noop',
  defaults: { maxAttempts: 1, timeoutMs: 1000 },
  parse: (command) => command,
  execute: () => Promise.reject(new Error('not executed here')),
};

function read(when: Record<string, unknown>): JobDefinition | string {
  const input = { name: 'a job', expr: '0 9 * * *', command: { type: 'noop' }, ...when };
  const parsed = parseDefinition(input, { kinds: new Map([['noop', noop]]), defaultTimezone: 'UTC' });
  return parsed.ok ? parsed.definition : describeFaults(parsed.faults);
}

function part(when: Record<string, unknown>, key: keyof JobDefinition): unknown {
  const definition = read(when);
  return typeof definition === 'string' ? definition : definition[key];
}

describe('a definition that says when', () => {
  test('may have several expressions', () => {
    assert.equal(part({ expr: ['0 9 * * *', '@hourly'] }, 'expr'), '0 9 * * *\n@hourly');
    assert.equal(part({ expr: ['CRON_TZ=Asia/Tokyo 0 9 * * *', '@hourly'] }, 'timezone'), 'Asia/Tokyo');
  });

  test('may say when not, from when to when, how often, and how far it is spread', () => {
    assert.deepEqual(part({ except: ['2030-12-24/2031-01-01', '* * * * 7'] }, 'blackouts'), ['2030-12-24/2031-01-01', '* * * * 7']);
    assert.deepEqual(part({ starts_at: '2030-01-01T00:00:00+01:00' }, 'startsAt'), new Date('2029-12-31T23:00:00Z'));
    assert.deepEqual(part({ ends_at: '2030-01-01T00:00:00Z' }, 'endsAt'), new Date('2030-01-01T00:00:00Z'));
    assert.deepEqual([part({ max_runs: 3 }, 'maxRuns'), part({ spread: '30s' }, 'spreadMs')], [3, 30_000]);
    assert.equal(part({ pause_after_failures: 5 }, 'pauseAfterFailures'), 5);
  });

  const refused: [string, Record<string, unknown>, RegExp][] = [
    ['no expression', { expr: [] }, /^expr: expected an expression/],
    ['a bad one among several', { expr: ['0 9 * * *', '61 * * * *'] }, /^expr\[1\]: minute.*61/],
    ['an expression that is no text', { expr: 5 }, /^expr: expected an expression such as .*, got 5/],
    ['expressions in two zones', { expr: ['TZ=Asia/Tokyo 0 9 * * *', 'TZ=Europe/Berlin 0 9 * * *'] }, /^expr: .*Asia\/Tokyo/],
    ['a day that does not exist', { except: ['2030-02-30'] }, /^except\[0\]: expected .*2030-02-30/],
    ['what says nothing', { except: ['christmas'] }, /^except\[0\]: .*christmas/],
    ['a moment without an offset', { starts_at: '2030-01-01T00:00:00' }, /^starts_at: expected a moment with its offset/],
    [
      'an end before its begin',
      { starts_at: '2030-01-02T00:00:00Z', ends_at: '2030-01-01T00:00:00Z' },
      /^ends_at: expected a moment after starts_at/,
    ],
    ['no runs', { max_runs: 0 }, /^max_runs: /],
    ['a spread of more than a day', { spread: '2d' }, /^spread: /],
    ['a pause after no failure', { pause_after_failures: 0 }, /^pause_after_failures: /],
  ];
  for (const [what, when, message] of refused) {
    test(`is refused with ${what}`, () => {
      const answer = read(when);
      assert.match(typeof answer === 'string' ? answer : 'read', message);
    });
  }
});
