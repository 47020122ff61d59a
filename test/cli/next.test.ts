import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { belfry } from '../support/command.ts';

const newYork = ['30 2 * * *', '--tz', 'America/New_York', '--from', '2026-03-07T12:00:00Z'];

describe('belfry next', () => {
  test('prints the sentence, the times in the zone, in UTC and from now, and what happens when clocks change', async () => {
    const { code, out, err } = await belfry(['next', ...newYork, '-n', '2']);
    assert.deepEqual([code, err], [0, '']);
    const lines = out.split('\n');
    assert.equal(lines[0], 'At 02:30, every day (America/New_York)');
    assert.match(lines[2] ?? '', /^ {2}2026-03-08T03:00:00-04:00 {2}2026-03-08T07:00:00Z {2}(in .+|.+ ago)$/);
    assert.match(lines[3] ?? '', /^ {2}2026-03-09T02:30:00-04:00 {2}2026-03-09T06:30:00Z {2}/);
    assert.deepEqual(lines.slice(4), [
      '',
      'When the clocks change:',
      '  2026-03-08 02:30 does not exist: runs at 03:00',
      '  2027-03-14 02:30 does not exist: runs at 03:00',
      '',
    ]);
  });

  test('prints an array of moments in UTC with -o json', async () => {
    const { code, out, err } = await belfry(['next', ...newYork, '-n', '3', '-o', 'json']);
    assert.deepEqual([code, err], [0, '']);
    assert.deepEqual(JSON.parse(out), ['2026-03-08T07:00:00.000Z', '2026-03-09T06:30:00.000Z', '2026-03-10T06:30:00.000Z']);
  });

  test('goes from now, ten times, in UTC', async () => {
    const before = Date.now();
    const times = JSON.parse((await belfry(['next', '* * * * *', '-o', 'json'])).out) as string[];
    assert.equal(times.length, 10);
    assert.ok(Date.parse(times[0] ?? '') > before);
    assert.ok(Date.parse(times[0] ?? '') <= Date.now() + 60_000);
  });

  test('reads --from without an offset as a wall of the zone shows it', async () => {
    const { out } = await belfry(['next', '@hourly', '--tz', 'Europe/Berlin', '--from', '2026-07-01T00:00', '-n', '1', '-o', 'json']);
    assert.deepEqual(JSON.parse(out), ['2026-06-30T23:00:00.000Z']);
  });

  test('takes the zone of the expression, and the name of a job for H', async () => {
    const { out } = await belfry(['next', 'CRON_TZ=Europe/Berlin H 0 * * *', '--from', '2026-07-01', '-n', '1', '--name', 'backup']);
    assert.match(out, /^At 00:23, every day \(H: a place of this job’s own\) \(Europe\/Berlin\)\n/);
  });

  test('says when it is never due again', async () => {
    const { code, out } = await belfry(['next', '@at 2020-01-01T00:00:00Z']);
    assert.deepEqual([code, out], [0, 'Once, at 2020-01-01 00:00:00 UTC (UTC)\n\n  never again\n']);
    assert.equal((await belfry(['next', '@at 2020-01-01T00:00:00Z', '-o', 'json'])).out, '[]\n');
  });

  for (const [what, args, message] of [
    ['a bad expression, as the parser does', ['61 * * * *'], /^belfry: expr: minute: expected 0-59, got "61" at column 1\n$/],
    ['no expression', [], /^belfry: expected an expression such as "30 2 \* \* \*", got nothing\n$/],
    [
      'an expression whose quotes were forgotten',
      ['30', '2', '*'],
      /^belfry: expected one word, got "2" as well \(an expression needs quotes/,
    ],
    ['a zone that is none', ['@daily', '--tz', 'Berlin'], /^belfry: timezone: expected an IANA time zone/],
    ['a moment that is none', ['@daily', '--from', 'soon'], /^belfry: --from: expected a moment such as .*, got "soon"\n$/],
    ['a number that is none', ['@daily', '-n', 'many'], /^belfry: --number: expected a whole number from 1 to 10000, got "many"\n$/],
  ] as const) {
    test(`refuses ${what}, with exit code 2`, async () => {
      const { code, out, err } = await belfry(['next', ...args]);
      assert.deepEqual([code, out], [2, '']);
      assert.match(err, message);
    });
  }
});
