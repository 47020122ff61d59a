// What one attempt comes to, and whether there is another: commands that fail, hang, shout, and servers that refuse.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, describe, test } from 'node:test';
import { folder, freePort, limitMs, processesOfRun, startBelfry, suiteScope, until, type Attempt, type Belfry } from '../support/belfry.ts';
import { testDatabase } from '../support/postgres.ts';
import { startTarget } from '../support/target.ts';
import { fault } from '../support/faults.ts';

const limit = { timeout: 2 * limitMs };

/** Pauses that can be told to the millisecond, each twice as long as the one before. */
const steady = { delay: '200ms', jitter: 0 };

const scope = suiteScope();
let cwd: string;
let belfry: Belfry;

before(async () => {
  const { url } = await testDatabase(scope, 'empty');
  cwd = await folder(scope);
  belfry = await startBelfry({ cwd, config: 'worker.kill_grace = "500ms"', env: { BELFRY_DATABASE_URL: url } });
});

/** Makes a job that is due once a year and runs it now; answers the run. */
async function begin(name: string, job: Record<string, unknown>): Promise<number> {
  await belfry.create({ name, expr: '@yearly', ...job });
  return await belfry.trigger(name);
}

describe('a shell job', limit, () => {
  test('that fails is tried three times, with growing pauses, and every attempt is recorded', async () => {
    const run = await belfry.finished(await begin('exit-3', { retry: steady, command: { type: 'shell', target: 'exit 3' } }));
    assert.deepEqual([run.state, run.reason, run.failed_cnt, run.error], ['failed', 'failed', 3, 'exit status 3']);
    const told = run.attempts.map(({ attempt, outcome, exit_code, error }) => [attempt, outcome, exit_code, error]);
    assert.deepEqual(
      told,
      [1, 2, 3].map((attempt) => [attempt, 'failed', 3, 'exit status 3']),
    );
    const [first = 0, second = 0] = pauses(run.attempts);
    assert.ok(first >= 200, `the first pause was ${first} ms`);
    assert.ok(second >= 400, `the second pause was ${second} ms`);
  });

  test('that takes longer than its timeout is ended with everything it started', async () => {
    const target = 'cd /; setsid sleep 100 & (sleep 100; true) & trap "" TERM; sleep 100; sleep 100';
    // Longer than any pause of this machine: all four are seen before it is over.
    const id = await begin('too-long', { timeout: '10s', retry: { max_attempts: 1 }, command: { type: 'shell', target } });
    await until(() => processesOfRun(cwd, id).length >= 4 || undefined);
    const run = await belfry.finished(id);
    assert.deepEqual(processesOfRun(cwd, id), []);
    assert.deepEqual([run.state, run.reason, run.failed_cnt, run.error], ['failed', 'timed_out', 1, 'timed out after 10s']);
  });

  test('that shouts without end has its output cut, with a note, and Belfry does not grow', async () => {
    const grownFrom = peakMemory(belfry.pid);
    const id = await begin('yes', { timeout: '6s', retry: { max_attempts: 1 }, command: { type: 'shell', target: 'yes' } });
    const run = await belfry.finished(id);
    assert.equal(run.reason, 'timed_out');
    const { out, cut } = (await belfry.resultOf(id)) as { out: string; cut: number };
    assert.match(out, /^(y\n){1000,}\n?… \d+ bytes left out …\n(y?\n)(y\n){1000,}$/);
    assert.ok(out.length < 257 * 1024, `${out.length} characters are kept`);
    assert.ok(cut > 10_000_000, `${cut} bytes are not`);
    const grown = peakMemory(belfry.pid) - grownFrom;
    assert.ok(grown < 150_000, `it grew by ${grown} kB`);
  });

  fault(
    { fault: 'bad UTF-8 and NUL', seen: 'both are kept as U+FFFD, since PostgreSQL takes neither, and the result is recorded' },
    async () => {
      const id = await begin('binary', { command: { type: 'shell', target: String.raw`printf 'a\0b\377c'; printf '\0\200' >&2` } });
      assert.equal((await belfry.finished(id)).state, 'succeeded');
      const { out, stderr } = await belfry.resultOf(id);
      assert.deepEqual([out, stderr], ['a\uFFFDb\uFFFDc', '\uFFFD\uFFFD']);
    },
  );

  test('sees what it is for in its environment, and nothing of Belfry', async () => {
    const id = await begin('environment', { command: { type: 'shell', target: 'env' } });
    const run = await belfry.finished(id);
    const env = new Map(
      String((await belfry.resultOf(id))['out'])
        .split('\n')
        .map((line) => line.split(/=(.*)/s) as [string, string]),
    );
    const { BELFRY_JOB, BELFRY_RUN_ID, BELFRY_ATTEMPT, BELFRY_DUE_AT, BELFRY_CAUSE } = Object.fromEntries(env);
    const told = [BELFRY_JOB, Number(BELFRY_RUN_ID), BELFRY_ATTEMPT, BELFRY_DUE_AT, BELFRY_CAUSE];
    assert.deepEqual(told, ['environment', id, '1', run.due_time, 'manual']);
    assert.equal(env.has('BELFRY_DATABASE_URL'), false);
  });
});

describe('an HTTP job', limit, () => {
  const get = (target: string) => ({ type: 'http', target });

  test('is tried again on 503, every time with the same Idempotency-Key and trace', async (t) => {
    const target = await startTarget(t, (_, calls) => ({ status: calls < 2 ? 503 : 200, body: 'at last' }));
    const id = await begin('unavailable-twice', { retry: { ...steady, max_attempts: 3 }, command: get(target.url) });
    const run = await belfry.finished(id);
    assert.deepEqual([run.state, run.failed_cnt, run.attempts.map(({ status }) => status)], ['succeeded', 2, [503, 503, 200]]);
    const { status, body } = await belfry.resultOf(id);
    assert.deepEqual([status, body], [200, 'at last']);

    const headers = target.asked.map((asked) => asked.headers);
    assert.deepEqual(
      headers.map((each) => each['x-belfry-attempt']),
      ['1', '2', '3'],
    );
    assert.deepEqual(
      headers.map((each) => each['idempotency-key']),
      Array(3).fill(`unavailable-twice:${run.due_time}:${id}`),
    );
    assert.deepEqual(
      headers.map((each) => String(each['traceparent']).split('-')[1]),
      Array(3).fill(run.trace_id),
    );
  });

  test('is tried once, unless it asks for more', async (t) => {
    const target = await startTarget(t, () => ({ status: 503 }));
    const run = await belfry.finished(await begin('unavailable', { command: get(target.url) }));
    assert.deepEqual([run.state, run.failed_cnt, run.error], ['failed', 1, 'unexpected status 503']);
  });

  test('is not tried again on 404', async (t) => {
    const target = await startTarget(t, () => ({ status: 404 }));
    const run = await belfry.finished(await begin('not-there', { retry: { ...steady, max_attempts: 3 }, command: get(target.url) }));
    assert.deepEqual([run.state, run.reason, run.failed_cnt, run.error], ['failed', 'failed', 1, 'unexpected status 404']);
  });

  test('waits as long as a 429 says in Retry-After', async (t) => {
    const target = await startTarget(t, (_, calls) => (calls < 1 ? { status: 429, headers: { 'retry-after': '2' } } : { status: 200 }));
    const run = await belfry.finished(await begin('too-many', { retry: { ...steady, max_attempts: 2 }, command: get(target.url) }));
    assert.deepEqual([run.state, run.attempts.map(({ status }) => status)], ['succeeded', [429, 200]]);
    const [pause = 0] = pauses(run.attempts);
    assert.ok(pause >= 2000, `the pause was ${pause} ms`);
  });

  test('whose connection is refused is known to have had no effect: it is tried again', async () => {
    const command = get(`http://127.0.0.1:${await freePort()}`);
    const run = await belfry.finished(await begin('refused', { retry: { ...steady, max_attempts: 2 }, command }));
    assert.deepEqual([run.state, run.reason, run.failed_cnt], ['failed', 'failed', 2]);
    assert.match(String(run.error), /^cannot connect: connect ECONNREFUSED/);
  });
});

describe('a trace', limit, () => {
  test('leads from the request that makes a job to its runs, their log lines, and their commands', async () => {
    const given = '0af7651916cd43dd8448eb211c80319c';
    const job = { name: 'traced', expr: '* * * * * *', command: { type: 'shell', target: 'echo $TRACEPARENT' } };
    const headers = { traceparent: `00-${given}-b7ad6b7169203331-01` };
    const answer = await fetch(`${belfry.address}/createJob`, { method: 'POST', headers, body: JSON.stringify(job) });
    assert.equal(answer.headers.get('x-trace-id'), given);
    assert.match(answer.headers.get('traceparent') ?? '', new RegExp(`^00-${given}-[0-9a-f]{16}-01$`));

    const run = await until(async () => (await belfry.records({ name: 'traced', state: 'succeeded' }))[0]);
    await belfry.call('/v1/jobs/traced/disable');
    assert.equal(run.trace_id, given);
    assert.match(String((await belfry.resultOf(run.id))['out']), new RegExp(`^00-${given}-[0-9a-f]{16}-01\n$`));

    await belfry.logged(({ msg, run: id }) => msg === 'execed_job' && id === run.id);
    const way = belfry.lines.filter(({ trace_id, run: id = run.id }) => trace_id === given && id === run.id).map(({ msg }) => msg);
    assert.deepEqual(way.toSorted(), ['accesslog_http', 'add_httpcreate_job_successed', 'arrived_job', 'execed_job']);
    const ofTheJob = belfry.lines.filter((line) => line['job'] === 'traced' && line.msg !== 'disabled_job');
    assert.deepEqual([...new Set(ofTheJob.map(({ trace_id }) => trace_id))], [given]);
  });

  test('is made up for a request that brings none', async () => {
    const { headers } = await fetch(`${belfry.address}/ping`);
    assert.match(headers.get('x-trace-id') ?? '', /^[0-9a-f]{32}$/);
    assert.equal(headers.get('traceparent')?.split('-')[1], headers.get('x-trace-id'));
  });
});

/** Milliseconds from the end of each attempt to the start of the next, as recorded. */
function pauses(attempts: readonly Attempt[]): number[] {
  return attempts.slice(1).map((attempt, index) => Date.parse(attempt.started_at) - Date.parse(attempts[index]?.finished_at ?? ''));
}

/** The most memory that a process ever had, in kB. */
function peakMemory(pid: number): number {
  return Number(/^VmHWM:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}
