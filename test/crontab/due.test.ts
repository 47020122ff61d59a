import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { expand, type DueJob } from '../../src/crontab/due.ts';
import { parseExpression } from '../../src/crontab/expression.ts';

const everyMinute = parseExpression('* * * * *', 'UTC', 'a job');
const at = (time: string): Date => new Date(`2030-01-01T${time}Z`);
const job: DueJob = { nextDueAt: at('10:00:00'), misfire: 'once', overlap: 'skip', catchupWindowMs: undefined, maxCatchup: 100 };

describe('with somebody looking all the time', () => {
  test('a due time fires once and the cursor goes to the next', () => {
    const { fires, next } = expand(job, everyMinute, at('10:00:00'), undefined);
    assert.deepEqual(fires, [{ dueAt: at('10:00:00'), dueCount: 1, catchup: false }]);
    assert.deepEqual(next, at('10:01:00'));
  });

  test('due times that are late by our own load all fire', () => {
    const { fires, next } = expand(job, everyMinute, at('10:02:30'), undefined);
    assert.deepEqual(
      fires.map((fire) => fire.dueAt),
      [at('10:00:00'), at('10:01:00'), at('10:02:00')],
    );
    assert.ok(fires.every((fire) => !fire.catchup && fire.reason === undefined));
    assert.deepEqual(next, at('10:03:00'));
  });

  test('nothing fires before its time', () => {
    assert.deepEqual(expand(job, everyMinute, at('09:59:59'), undefined), { fires: [], next: at('10:00:00') });
  });
});

describe('after an hour in which nobody looked', () => {
  const gap = { from: at('09:59:30'), to: at('10:59:55') };
  const now = at('11:00:00');
  const live = { dueAt: at('11:00:00'), dueCount: 1, catchup: false };

  test('skip: the missed ones are one row with a count', () => {
    const { fires } = expand({ ...job, misfire: 'skip' }, everyMinute, now, gap);
    assert.deepEqual(fires, [{ dueAt: at('10:00:00'), lastDueAt: at('10:59:00'), dueCount: 60, reason: 'missed', catchup: false }, live]);
  });

  test('once: the latest missed one is caught up', () => {
    const { fires } = expand(job, everyMinute, now, gap);
    assert.deepEqual(fires, [
      { dueAt: at('10:00:00'), lastDueAt: at('10:58:00'), dueCount: 59, reason: 'missed', catchup: false },
      { dueAt: at('10:59:00'), dueCount: 1, catchup: true },
      live,
    ]);
  });

  test('all: each is caught up, one after another', () => {
    const { fires } = expand({ ...job, misfire: 'all', catchupWindowMs: 7_200_000 }, everyMinute, now, gap);
    assert.equal(fires.length, 61);
    assert.ok(fires.slice(0, 60).every((fire) => fire.catchup && fire.overlap === 'wait_all'));
  });

  test('all: at most max_catchup, the latest', () => {
    const { fires } = expand({ ...job, misfire: 'all', maxCatchup: 5 }, everyMinute, now, gap);
    assert.deepEqual(fires[0], { dueAt: at('10:00:00'), lastDueAt: at('10:54:00'), dueCount: 55, reason: 'missed', catchup: false });
    assert.equal(fires.filter((fire) => fire.catchup).length, 5);
  });

  test('what is older than the window is not caught up', () => {
    const { fires } = expand({ ...job, catchupWindowMs: 1000 }, everyMinute, now, gap);
    assert.deepEqual(
      fires.filter((fire) => fire.catchup),
      [],
    );
  });

  test('a cursor far behind is moved on in steps, and the latest missed one still is the only one caught up', () => {
    const everySecond = parseExpression('* * * * * *', 'UTC', 'a job');
    let cursor: Date | undefined = job.nextDueAt;
    let rows = 0;
    const caughtUp: Date[] = [];
    let missed = 0;
    while (cursor && cursor <= now) {
      const step = expand({ ...job, nextDueAt: cursor }, everySecond, now, gap);
      caughtUp.push(...step.fires.filter((fire) => fire.catchup).map((fire) => fire.dueAt));
      missed += step.fires.filter((fire) => fire.reason === 'missed').reduce((sum, fire) => sum + fire.dueCount, 0);
      rows += step.fires.length;
      cursor = step.next;
    }
    assert.deepEqual(caughtUp, [at('10:59:55')]);
    assert.equal(missed, 3595);
    assert.ok(rows < 20);
  });
});
