import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { openTestDoors, type Doors } from '../support/doors.ts';
import { suiteScope } from '../support/belfry.ts';

describe('GET /v1/schedule/preview', () => {
  const scope = suiteScope();
  let doors: Doors;
  before(async () => {
    doors = await openTestDoors(scope);
  });
  const ask = (query: Record<string, string>) => doors.v1('GET', `/schedule/preview?${new URLSearchParams(query).toString()}`);

  test('answers the sentence, the next times, and what happens when clocks change', async () => {
    const { status, json } = await ask({ expr: '30 2 * * *', timezone: 'America/New_York', from: '2026-03-07T12:00:00Z', n: '2' });
    assert.equal(status, 200);
    const { times, ...rest } = json as { times: Record<string, unknown>[] };
    assert.deepEqual(
      times.map(({ due_at, local }) => [due_at, local]),
      [
        ['2026-03-08T07:00:00.000Z', '2026-03-08T03:00:00-04:00'],
        ['2026-03-09T06:30:00.000Z', '2026-03-09T02:30:00-04:00'],
      ],
    );
    const change = { kind: 'gap', count: 1 };
    assert.deepEqual(rest, {
      expr: '30 2 * * *',
      timezone: 'America/New_York',
      sentence: 'At 02:30, every day',
      clock_changes: [
        {
          ...change,
          at: '2026-03-08T07:00:00.000Z',
          from: '2026-03-08T02:00:00',
          to: '2026-03-08T03:00:00',
          named: '2026-03-08T02:30:00',
          sentence: '2026-03-08 02:30 does not exist: runs at 03:00',
        },
        {
          ...change,
          at: '2027-03-14T07:00:00.000Z',
          from: '2027-03-14T02:00:00',
          to: '2027-03-14T03:00:00',
          named: '2027-03-14T02:30:00',
          sentence: '2027-03-14 02:30 does not exist: runs at 03:00',
        },
      ],
    });
  });

  test('goes from now in the zone of the configuration, and tells ten times as seen from now', async () => {
    const { json } = await ask({ expr: '@every 1h', name: 'a job' });
    assert.equal(json['timezone'], 'UTC');
    const times = json['times'] as { due_at: string; relative: string }[];
    assert.equal(times.length, 10);
    assert.ok(Date.parse(times[0]?.due_at ?? '') > doors.clock.now().getTime());
    assert.match(times[0]?.relative ?? '', /^in \d+ (minute|second)/);
  });

  test('tells how many other jobs start in the same second', async () => {
    const command = { type: 'shell', target: 'true' };
    await doors.ask('/createJob', { name: 'each hour', expr: '0 * * * *', command });
    await doors.ask('/createJob', { name: 'at four', expr: '0 4 * * *', command });
    await doors.ask('/createJob', { name: 'never at four', expr: '* * * * *', except: ['* 4 * * *'], command });
    const othersOf = async (query: Record<string, string>): Promise<unknown[]> => {
      const { json } = await ask({ from: '2100-01-01T02:30:00Z', n: '2', ...query });
      return (json['times'] as { others: number }[]).map(({ others }) => others);
    };
    assert.deepEqual(await othersOf({ expr: '0 3,4 * * *' }), [2, 2]);
    assert.deepEqual(await othersOf({ expr: '0 3,4 * * *', name: 'at four' }), [2, 1], 'not the job itself');
    assert.deepEqual(await othersOf({ expr: '30 0 3,4 * * *' }), [0, 0]);
  });

  test('reads the zone in the expression', async () => {
    assert.equal((await ask({ expr: 'CRON_TZ=Europe/Berlin 0 0 * * *' })).json['timezone'], 'Europe/Berlin');
  });

  for (const [what, query, message] of [
    ['no expression', {}, /^expr: expected an expression such as .*, got nothing$/],
    ['one that can’t be read', { expr: '61 * * * *' }, /^expr: minute: expected 0-59, got "61" at column 1$/],
    ['one that never fires', { expr: '0 0 30 2 *' }, /never fires/],
    ['a zone that is none', { expr: '@daily', timezone: 'Nowhere' }, /^timezone: expected an IANA time zone/],
    ['two zones', { expr: 'TZ=Europe/Berlin @daily', timezone: 'UTC' }, /^expr: expected the time zone of the job/],
    ['a moment that is none', { expr: '@daily', from: 'soon' }, /^from: expected a moment such as .*, got "soon"$/],
    ['too many', { expr: '@daily', n: '1001' }, /^n: expected a whole number from 1 to 1000/],
    ['a word it does not know', { expr: '@daily', tiemzone: 'UTC' }, /^tiemzone: unknown key; did you mean "timezone"\?$/],
  ] as const) {
    test(`refuses ${what} with 400 and why`, async () => {
      const { status, json } = await ask(query);
      assert.equal(status, 400);
      assert.equal(json['error'], 'bad_input');
      assert.match(String(json['message']), message);
    });
  }
});
