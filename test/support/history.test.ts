// The history checker finds what is wrong, each kind of it; and nothing in a history that is right.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { stalledIn, unsettledIn, violationsIn, type History, type HistoryJob, type HistoryRun, type Note } from './history.ts';
import { parseLedger, type Line } from './ledger.ts';

const begin = Date.parse('2030-01-23T09:00:00Z');
const at = (second: number): number => begin + 1000 * second;

const plain: HistoryJob = { name: 'plain', everyMs: 1000, from: begin, maxAttempts: 1, onLost: 'fail', overlap: 'allow', misfire: 'once' };
const again: HistoryJob = { ...plain, name: 'again', everyMs: 2000, maxAttempts: 3, onLost: 'retry', misfire: 'all' };
const alone: HistoryJob = { ...plain, name: 'alone', everyMs: 5000, maxAttempts: 2, overlap: 'skip' };

const succeeded = (attempt = 1): Note => ({ attempt, outcome: 'succeeded', exit_code: 0 });
const failed = (attempt = 1): Note => ({ attempt, outcome: 'failed', exit_code: 3 });
const lost = (attempt = 1): Note => ({ attempt, outcome: 'lost' });

/** Ten seconds of three jobs, with what is right to happen: a lost run, a failed attempt, missed ticks, one that overlaps. */
function rightHistory(): History {
  const runs: HistoryRun[] = [];
  const lines: Line[] = [];
  const add = (job: HistoryJob, second: number, attempts: readonly Note[], changed: Partial<HistoryRun> = {}): void => {
    const id = runs.length + 1;
    const dueAt = at(second);
    const state = attempts.at(-1)?.outcome === 'succeeded' ? 'succeeded' : attempts.length > 0 ? 'failed' : 'skipped';
    const reason = state === 'succeeded' ? undefined : state;
    const base = { lastDueAt: undefined, dueCount: 1, catchup: false, readyAt: undefined };
    runs.push({ id, job: job.name, dueAt, state, reason, attempts, ...base, ...changed });
    for (const { attempt, outcome } of attempts) {
      const line = { job: job.name, runId: id, attempt, dueAt, pid: 1000 + id, at: dueAt + 5 };
      lines.push({ ...line, event: 'begin' });
      if (outcome !== 'lost') lines.push({ ...line, event: 'end' });
    }
  };
  for (const second of [0, 1, 2]) add(plain, second, [succeeded()]);
  add(plain, 3, [lost()]);
  add(plain, 4, [], { reason: 'missed', dueCount: 3, lastDueAt: at(6) });
  add(plain, 7, [succeeded()], { catchup: true });
  for (const second of [8, 9]) add(plain, second, [succeeded()]);
  add(again, 0, [lost(), failed(2), succeeded(3)]);
  for (const second of [2, 4, 6]) add(again, second, [succeeded()], { catchup: true });
  add(again, 8, [failed(), failed(2), failed(3)]);
  add(alone, 0, [failed(), succeeded(2)]);
  add(alone, 5, [], { reason: 'overlap' });
  return { jobs: [plain, again, alone], runs, ledger: { lines, torn: [] }, upTo: at(9) };
}

describe('the history checker', () => {
  test('has nothing against a history that is right', () => assert.deepEqual(violationsIn(rightHistory()), []));

  finds('a record that is not there', /^the tick of plain at .*09:00:01.* is missing$/, (right) => ({
    ...right,
    runs: right.runs.filter(({ id }) => id !== 2),
    ledger: { lines: linesBut(right, 2), torn: [] },
  }));
  finds('a record that is there twice', /^the tick of plain at .*09:00:01.* is recorded 2 times$/, (right) => ({
    ...right,
    runs: [
      ...right.runs,
      ...right.runs.filter(({ id }) => id === 2).map((run) => ({ ...run, id: 99, state: 'skipped', reason: 'missed' })),
    ],
  }));
  finds('a record that was moved', /^run 2 .* is outside of its schedule$/, changing(2, { dueAt: at(1) + 1 }));
  finds('the tick that a moved record left', /^the tick of plain at .*09:00:01.* is missing$/, changing(2, { dueAt: at(1) + 1 }));
  finds('a record from before its job was due', /^run 1 .* is outside of its schedule$/, changing(1, { dueAt: at(-5) }));
  finds('a record of a job that nobody made', /^run 2 \(other, .* is of a job that nobody made$/, changing(2, { job: 'other' }));
  finds(
    'a row that covers a tick which has a row',
    /^the tick of plain at .*09:00:07.* is recorded 2 times$/,
    changing(5, { lastDueAt: at(7), dueCount: 4 }),
  );
  finds('a row that covers too few', /^the tick of plain at .*09:00:06.* is missing$/, changing(5, { lastDueAt: at(5), dueCount: 2 }));
  finds('a row whose count is not what it covers', /^run 5 .* stands for 9 due times, and covers 3$/, changing(5, { dueCount: 9 }));
  finds(
    'missed ticks of a job that catches up all',
    /^run 10 .* is not caught up, and misfire is all$/,
    changing(10, { state: 'skipped', reason: 'missed' }),
  );
  finds(
    'a skip for which there is no reason',
    /^run 15 .* is skipped for no reason of its job: paused$/,
    changing(15, { reason: 'paused' }),
  );
  finds(
    'missed ticks of which none is made up for',
    /^the missed ticks of plain up to .*09:00:06.* are not made up for by the next$/,
    changing(6, { catchup: false }),
  );
  finds('a run that was cancelled', /^run 2 .* is cancelled/, changing(2, { state: 'cancelled' }));

  finds(
    'a run that was executed and recorded as skipped',
    /^run 2 .* is recorded as skipped and was executed$/,
    changing(2, { state: 'skipped', reason: 'missed' }),
  );
  finds('an execution of a run that is in no record', /^run 99 \(plain\) is in the ledger and in no record$/, adding(2, { runId: 99 }));
  finds('an execution under the name of another job', /^run 2 .* began as again due /, adding(2, { job: 'again' }));
  finds('an execution for another due time', /^run 2 .* began as plain due /, adding(2, { dueAt: at(3) }));
  finds('a second begin', /^run 2 .* began 2 times, of 1 permitted$/, adding(2, {}));
  finds('a second begin of one attempt', /^run 9 .* began its attempt 2 2 times$/, adding(9, { attempt: 2 }));
  finds('a second attempt, where one is permitted', /^run 2 .* began an attempt 2, of 1 permitted$/, adding(2, { attempt: 2 }));
  finds(
    'a begin after a lost attempt, where that is the end',
    /^run 14 .* began attempt 2 while the outcome of an earlier one was unknown/,
    changing(14, { attempts: [lost(), succeeded(2)] }),
  );
  finds(
    'a begin after an attempt of which nothing is recorded',
    /^run 14 .* began attempt 2 while the outcome/,
    changing(14, { attempts: [succeeded(2)] }),
  );
  finds('a success that nobody saw begin', /^run 2 .* has an attempt 1 that succeeded, and not in the ledger$/, removing(2, 'begin'));
  finds('a success that nobody saw end', /^run 2 .* has an attempt 1 that succeeded, and not in the ledger$/, removing(2, 'end'));
  finds('a failure that nobody saw', /^run 9 .* has an attempt 2 that failed, and not in the ledger$/, removing(9, 'begin'));
  finds(
    'more attempts in the record than are permitted',
    /^run 2 .* has a record of 2 attempts, of 1 permitted$/,
    changing(2, { attempts: [failed(), succeeded(2)] }),
  );
  finds(
    'two outcomes of one attempt',
    /^run 9 .* has 2 outcomes of attempt 2$/,
    changing(9, { attempts: [lost(), failed(2), failed(2), succeeded(3)] }),
  );
  finds(
    'a run that ended by an attempt before its last',
    /^run 9 .* is succeeded by attempt 1, though attempt 2 had begun$/,
    changing(9, { attempts: [lost(), succeeded()] }),
  );
  finds('a success of which no attempt tells', /^run 2 .* is succeeded, and none of its attempts is$/, changing(2, { attempts: [lost()] }));
  finds('a failure though an attempt succeeded', /^run 2 .* is failed, and an attempt of it succeeded$/, changing(2, { state: 'failed' }));
  finds(
    'a run that was given up too early',
    /^run 13 .* was given up after attempt 2 of 3$/,
    changing(13, { attempts: [failed(), failed(2)] }),
  );
  finds('a lost run that was not tried again', /^run 13 .* was given up after attempt 1 of 3$/, changing(13, { attempts: [lost()] }));
  finds('runs at the same time, of a job that minds', /^run 15 .* ran while run 14 .* did, and its job minds overlap$/, (right) => {
    const [first, ...others] = linesOf(right, 14);
    const own = linesOf(right, 14)
      .slice(0, 2)
      .map((line) => ({ ...line, runId: 15, attempt: 1, dueAt: at(5) }));
    const run = right.runs.filter(({ id }) => id === 15).map((each) => ({ ...each, state: 'succeeded', attempts: [succeeded()] }));
    return {
      ...right,
      runs: [...right.runs.filter(({ id }) => id !== 15), ...run],
      ledger: { lines: [...linesBut(right, 14), ...(first ? [first] : []), ...own, ...others], torn: [] },
    };
  });
  finds('half a line', /^the ledger has a line that is not whole: "plain 2 1 2030/, (right) => {
    const text = 'plain 1 1 2030-01-23T09:00:00.000Z begin 7 1 .\nplain 2 1 2030-01-23T09:00:01.000Z be';
    return { ...right, ledger: { ...right.ledger, torn: parseLedger(text).torn } };
  });
});

describe('a history that is not at its end', () => {
  const open = (id: number, changed: Partial<HistoryRun>): History => changing(id, { state: 'queued', ...changed })(rightHistory());
  const unsettled = (history: History): string[] => unsettledIn(history, at(9), at(20));

  test('has a run that nobody holds', () =>
    assert.deepEqual(unsettled(open(2, { way: '{"sends":1}' })), [
      'run 2 (plain, due 2030-01-23T09:00:01.000Z) is not at its end: queued {"sends":1}',
    ]));
  test('has a run that runs for ever', () => assert.equal(unsettled(open(2, { state: 'running' })).length, 1));
  test('waits rightly for a retry to come', () => assert.deepEqual(unsettled(open(9, { state: 'retrying', readyAt: at(21) })), []));
  test('waits in vain for one that should have come', () =>
    assert.equal(unsettled(open(9, { state: 'retrying', readyAt: at(19) })).length, 1));
  test('waits rightly for another run of its job, which is told', () => {
    const right = open(15, {});
    const runs = right.runs.map((run) => (run.id === 14 ? { ...run, state: 'running' } : run));
    assert.deepEqual(
      unsettled({ ...right, runs }).map((text) => text.slice(0, 6)),
      ['run 14'],
    );
  });
  test('waits in vain for another run where its job does not mind', () => {
    const right = open(2, {});
    const runs = right.runs.map((run) => (run.id === 1 ? { ...run, state: 'running' } : run));
    assert.equal(unsettled({ ...right, runs }).length, 2);
  });
  test('is not asked about what is due later', () => assert.deepEqual(unsettledIn(open(8, {}), at(8), at(20)), []));
});

describe('fresh ticks', () => {
  test('are begun of every job, or told', () => {
    assert.deepEqual(stalledIn(rightHistory(), at(7)), ['fresh ticks of alone are not started again']);
    assert.deepEqual(stalledIn(rightHistory(), at(-1)), []);
  });
});

/** Damages the right history and looks for the sentence that tells it. */
function finds(what: string, sentence: RegExp, damage: (right: History) => History): void {
  test(`finds ${what}`, () => {
    const found = violationsIn(damage(rightHistory()));
    assert.ok(
      found.some((each) => sentence.test(each)),
      `found ${JSON.stringify(found, undefined, 2)}`,
    );
  });
}

/** A run that is not as it was. */
function changing(id: number, changed: Partial<HistoryRun>): (right: History) => History {
  return (right) => ({ ...right, runs: right.runs.map((run) => (run.id === id ? { ...run, ...changed } : run)) });
}

/** One more begin in the ledger, like the first of this run but for what changed. */
function adding(id: number, changed: Partial<Line>): (right: History) => History {
  return (right) => ({
    ...right,
    ledger: {
      lines: [
        ...right.ledger.lines,
        ...linesOf(right, id)
          .slice(0, 1)
          .map((line) => ({ ...line, ...changed })),
      ],
      torn: [],
    },
  });
}

/** The lines of one kind of this run are not there. */
function removing(id: number, event: Line['event']): (right: History) => History {
  return (right) => ({
    ...right,
    ledger: { lines: right.ledger.lines.filter((line) => line.runId !== id || line.event !== event), torn: [] },
  });
}

function linesOf({ ledger }: History, id: number): Line[] {
  return ledger.lines.filter(({ runId }) => runId === id);
}

function linesBut({ ledger }: History, id: number): Line[] {
  return ledger.lines.filter(({ runId }) => runId !== id);
}
