import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseExpression } from '../../src/crontab/expression.ts';
import { rememberSchedules } from '../../src/crontab/schedules.ts';
import { Refusal } from '../../src/errors.ts';

const job = { name: 'a', expr: '*/5 * * * *', timezone: 'UTC' };

describe('a schedule that was read before', () => {
  test('is the same one for all jobs that say the same', () => {
    const scheduleOf = rememberSchedules();
    assert.equal(scheduleOf(job), scheduleOf({ ...job, name: 'b' }));
  });

  test('is another one in another time zone or of another expression', () => {
    const scheduleOf = rememberSchedules();
    assert.notEqual(scheduleOf(job), scheduleOf({ ...job, timezone: 'Europe/Berlin' }));
    assert.notEqual(scheduleOf(job), scheduleOf({ ...job, expr: '*/6 * * * *' }));
  });

  for (const expr of ['H * * * *', 'H(0-29)/10 * * * *', '@every 5m']) {
    test(`is the job's own where its name decides: ${expr}`, () => {
      const scheduleOf = rememberSchedules();
      const [a, b] = ['job a', 'job b'].map((name) => ({ ...job, name, expr }));
      assert.ok(a && b);
      assert.equal(scheduleOf(a), scheduleOf(a));
      assert.notEqual(scheduleOf(a), scheduleOf(b));
      const at = new Date('2030-01-01T00:00:00Z');
      for (const each of [a, b]) assert.deepEqual(scheduleOf(each).next(at), parseExpression(expr, 'UTC', each.name).next(at));
    });
  }

  test('answers what one does that is read afresh, in whatever order it is asked', () => {
    const expressions = ['* * * * *', '*/7 * * * * *', '30 2 * * *', '0 0 29 2 *', 'H 3 * * MON', '@every 90s'];
    const moments = fc.date({ min: new Date('2026-01-01T00:00:00Z'), max: new Date('2032-01-01T00:00:00Z'), noInvalidDate: true });
    const near = fc.array(fc.integer({ min: -200_000, max: 200_000 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(
        fc.constantFrom(...expressions),
        fc.constantFrom('UTC', 'America/New_York'),
        moments,
        near,
        (expr, timezone, moment, offsets) => {
          const remembered = rememberSchedules()({ name: 'a', expr, timezone });
          for (const offset of offsets) {
            const after = new Date(moment.getTime() + offset);
            assert.deepEqual(remembered.next(after), parseExpression(expr, timezone, 'a').next(after));
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  test('is forgotten when there are too many, the oldest first', () => {
    const scheduleOf = rememberSchedules(2);
    const [first, second, third] = ['1 * * * *', '2 * * * *', '3 * * * *'].map((expr) => ({ ...job, expr }));
    assert.ok(first && second && third);
    const [oldest, newer] = [scheduleOf(first), scheduleOf(second)];
    scheduleOf(third);
    assert.equal(scheduleOf(second), newer);
    assert.notEqual(scheduleOf(first), oldest);
  });
});

describe('an expression that cannot be read', () => {
  test('is refused, every time', () => {
    const scheduleOf = rememberSchedules();
    for (let time = 0; time < 2; time++) assert.throws(() => scheduleOf({ ...job, expr: '61 * * * *' }), Refusal);
    assert.throws(() => scheduleOf({ ...job, timezone: 'Nowhere/Land' }), Refusal);
  });
});
