// Jobs made and changed, by request and by file, on a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { Refusal, type RefusalKind } from '../../src/errors.ts';
import { parseDefinition, type JobDefinition } from '../../src/jobs/definition.ts';
import { applyFile, createJob, deleteJob, setEnabled, workOut } from '../../src/jobs/manage.ts';
import { clear, jobNow, noon, openStores, placeJob, seconds } from '../support/jobs.ts';
import { kinds } from '../support/kinds.ts';
import { managingOn } from '../support/managing.ts';
import { execute, testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const { jobs } = stores;

beforeEach(() => clear(stores));

const nodeOf = (given = stores) => managingOn(given);

const input = { name: 'asked for', expr: '0 0 13 * * *', command: { type: 'noop', target: 'x' } };

function definition(changed: Record<string, unknown> = {}): JobDefinition {
  const parsed = parseDefinition({ ...input, ...changed }, { kinds, defaultTimezone: 'UTC' });
  assert.ok(parsed.ok);
  return parsed.definition;
}

function refusal(kind: RefusalKind, ...says: RegExp[]): (thrown: unknown) => boolean {
  return (thrown) => {
    assert.ok(thrown instanceof Refusal, String(thrown));
    assert.equal(thrown.kind, kind);
    for (const each of says) assert.match(thrown.message, each);
    return true;
  };
}

describe('a job that somebody asks for', () => {
  test('is written down with every default, due next from now', async () => {
    const { deps } = nodeOf();
    const made = await createJob(deps, input, 'the trace of the request');
    const row = await jobNow(stores, 'asked for');
    assert.deepEqual(made, { id: row.id, name: 'asked for' });
    const { source, configId, traceId, timezone, nextDueAt, command, enabled, overlap, policy } = row;
    assert.deepEqual(
      { source, configId, traceId, timezone, nextDueAt, command, enabled, overlap, policy },
      {
        source: 'api',
        configId: null,
        traceId: 'the trace of the request',
        timezone: 'UTC',
        nextDueAt: seconds(3600),
        command: { type: 'noop', target: 'x' },
        enabled: true,
        overlap: 'skip',
        policy: {
          retry: { maxAttempts: 1, delayMs: 1000, maxDelayMs: 300_000, factor: 2, jitter: 0.2 },
          timeoutMs: 30_000,
          onLost: 'fail',
          log: true,
        },
      },
    );
  });

  test('may have its numbers as digits, as scripts of old send them', async () => {
    await createJob(nodeOf().deps, { ...input, retry: { max_attempts: '3' } }, '');
    assert.equal((await jobNow(stores, 'asked for')).retry['max_attempts'], 3);
  });

  test('is refused with all that is wrong with it, and nothing is written', async () => {
    const bad = { name: '', expr: '61 * * * *', command: { type: 'noop' }, overlap: 'never', timeout: 'soon', retries: 3 };
    await assert.rejects(
      createJob(nodeOf().deps, bad, ''),
      refusal(
        'bad_input',
        /name: /,
        /expr: .*61/,
        /command\.target: expected a text/,
        /overlap: .*never/,
        /timeout: .*soon/,
        /retries: unknown key/,
      ),
    );
    assert.deepEqual(await jobs.list('', 10), []);
  });

  for (const nothing of [undefined, null, 'job', 7, [], {}]) {
    test(`is refused where it is none: ${JSON.stringify(nothing)}`, async () => {
      await assert.rejects(createJob(nodeOf().deps, nothing, ''), refusal('bad_input'));
    });
  }

  test('is refused under a name that is taken, wherever the other came from', async () => {
    const { deps } = nodeOf();
    await applyFile(deps, '/a.toml', [definition()]);
    await assert.rejects(createJob(deps, input, ''), refusal('conflict', /name: a job named "asked for" exists already/));
  });

  test('has its name free again after it was deleted', async () => {
    const { deps } = nodeOf();
    const first = await createJob(deps, input, '');
    await deleteJob(deps, 'asked for');
    await assert.rejects(deleteJob(deps, 'asked for'), refusal('not_found', /asked for/));
    assert.notEqual((await createJob(deps, input, '')).id, first.id);
  });

  test('comes to the same when its row is read again', async () => {
    const { deps } = nodeOf();
    const full = {
      timezone: 'Europe/Berlin',
      timeout: '90s',
      catchup_window: '2h',
      retry: { max_attempts: 4, delay: '5s', statuses: ['5xx', 404] },
    };
    await createJob(deps, { ...input, ...full }, 'trace');
    const before = await jobNow(stores, 'asked for');
    await workOut(deps, before, noon);
    assert.deepEqual(await jobNow(stores, 'asked for'), { ...before, revision: before.revision + 1 });
  });
});

describe('a job that is switched off and on', () => {
  test('goes on from now: what was due in between is not caught up', async () => {
    const { deps, clock } = nodeOf();
    await createJob(deps, input, '');
    await setEnabled(deps, 'asked for', false);
    assert.equal((await jobNow(stores, 'asked for')).nextDueAt, null);
    clock.set(seconds(3600 * 48));
    await setEnabled(deps, 'asked for', true);
    const { enabled, nextDueAt } = await jobNow(stores, 'asked for');
    assert.deepEqual({ enabled, nextDueAt }, { enabled: true, nextDueAt: seconds(3600 * 49) });
  });

  test('while it is on already keeps its cursor', async () => {
    const { deps, clock } = nodeOf();
    await createJob(deps, input, '');
    const before = await jobNow(stores, 'asked for');
    clock.set(seconds(3600 * 48));
    await setEnabled(deps, 'asked for', true);
    assert.deepEqual(await jobNow(stores, 'asked for'), before);
  });

  test('is refused where there is none', () => assert.rejects(setEnabled(nodeOf().deps, 'nobody', true), refusal('not_found', /nobody/)));

  test('is refused when its row cannot be understood, and stays off', async () => {
    const { deps } = nodeOf();
    const job = await placeJob(stores, { enabled: false, expr: '61 * * * *', command: { type: 'gone' } });
    await assert.rejects(setEnabled(deps, job.name, true), refusal('conflict', /expr: .*61/, /command\.type: .*gone/));
    assert.deepEqual(await jobNow(stores, job.name), job);
    await setEnabled(deps, job.name, false);
  });

  test('loses its fault when it is mended and switched on', async () => {
    const { deps } = nodeOf();
    const job = await placeJob(stores, { command: { type: 'noop', target: 'x' } });
    await jobs.disableFaulty(job.id, job.revision, 'something');
    await setEnabled(deps, job.name, true);
    assert.equal((await jobNow(stores, job.name)).fault, null);
  });

  test('after an edit by SQL runs as it was edited', async () => {
    const { deps } = nodeOf();
    await createJob(deps, input, '');
    await setEnabled(deps, 'asked for', false);
    await execute(url, `update belfry.jobs set timeout_ms = 5000 where name = 'asked for'`);
    await setEnabled(deps, 'asked for', true);
    await workOutWhatIsNot(deps);
    const { policy, nextDueAt } = await jobNow(stores, 'asked for');
    assert.deepEqual([policy?.['timeoutMs'], nextDueAt], [5000, seconds(3600)]);
  });

  test('that was written by hand and off is worked out before it is due', async () => {
    const { deps } = nodeOf();
    await execute(
      url,
      `insert into belfry.jobs (name, expr, enabled, command) values ('by hand', '0 0 13 * * *', false, '{"type": "noop", "target": "x"}')`,
    );
    await setEnabled(deps, 'by hand', true);
    await workOutWhatIsNot(deps);
    const { policy, nextDueAt } = await jobNow(stores, 'by hand');
    assert.deepEqual([policy?.['timeoutMs'], nextDueAt], [30_000, seconds(3600)]);
  });

  /** What the next tick does first. */
  async function workOutWhatIsNot(deps: Parameters<typeof workOut>[0]): Promise<void> {
    for (const job of (await jobs.look(10)).unknown) await workOut(deps, job, noon);
  }
});

describe('the jobs of a file', () => {
  test('are made when they are new', async () => {
    const { deps, lines } = nodeOf();
    await applyFile(deps, '/a.toml', [definition({ name: 'one' }), definition({ name: 'two' })]);
    const { source, configId, traceId, nextDueAt } = await jobNow(stores, 'one');
    assert.deepEqual(
      { source, configId, traceId, nextDueAt },
      { source: 'file', configId: '/a.toml', traceId: 'trace 1', nextDueAt: seconds(3600) },
    );
    assert.deepEqual(lines.map(({ msg, job, trace_id: trace }) => `${msg} ${String(job)} ${String(trace)}`).sort(), [
      'add_job_successed one trace 1',
      'add_job_successed two trace 2',
    ]);
  });

  test('keep their cursor and revision when nothing changed, however often the file is read', async () => {
    const { deps, clock } = nodeOf();
    const definitions = [definition({ retry: { jitter: 0.5, factor: 3, statuses: ['5xx'] }, catchup_window: '1h' })];
    await applyFile(deps, '/a.toml', definitions);
    const before = await jobNow(stores, 'asked for');
    clock.pass(3600 * 48 * 1000);
    await applyFile(deps, '/a.toml', definitions);
    assert.deepEqual(await jobNow(stores, 'asked for'), before);
  });

  const changes = {
    expr: '0 0 14 * * *',
    command: { type: 'noop', target: 'y' },
    timeout: '5s',
    overlap: 'wait',
    remark: 'new',
    enabled: false,
    retry: { max_attempts: 2 },
  };
  for (const [field, value] of Object.entries(changes)) {
    test(`are changed when the file changes: ${field}; only what says when makes their cursor anew`, async () => {
      const { deps, clock } = nodeOf();
      await applyFile(deps, '/a.toml', [definition()]);
      const before = await jobNow(stores, 'asked for');
      clock.pass(3600 * 48 * 1000);
      await applyFile(deps, '/a.toml', [definition({ [field]: value })]);
      const after = await jobNow(stores, 'asked for');
      assert.deepEqual([after.id, after.revision, after.traceId], [before.id, before.revision + 1, before.traceId]);
      const due = { enabled: null, expr: seconds(3600 * 50) }[field];
      assert.deepEqual(after.nextDueAt, due === undefined ? before.nextDueAt : due);
    });
  }

  test('are switched off when they are no longer in it, and on again when they are back', async () => {
    const { deps, messages } = nodeOf();
    await applyFile(deps, '/a.toml', [definition()]);
    await applyFile(deps, '/a.toml', []);
    await applyFile(deps, '/a.toml', []);
    assert.equal((await jobNow(stores, 'asked for')).enabled, false);
    assert.deepEqual(messages().slice(1), ['disabled_job_not_in_file']);
    await applyFile(deps, '/a.toml', [definition()]);
    const { enabled, nextDueAt } = await jobNow(stores, 'asked for');
    assert.deepEqual({ enabled, nextDueAt }, { enabled: true, nextDueAt: seconds(3600) });
  });

  test('do not take the name of a job that is not of the file: it is told, the others are made', async () => {
    const { deps, lines } = nodeOf();
    const taken = await placeJob(stores, { name: 'taken' });
    await applyFile(deps, '/b.toml', [definition({ name: 'taken by a file' })]);
    const other = await jobNow(stores, 'taken by a file');
    await applyFile(
      deps,
      '/a.toml',
      ['taken', 'taken by a file', 'free'].map((name) => definition({ name })),
    );
    assert.deepEqual([await jobNow(stores, 'taken'), await jobNow(stores, 'taken by a file')], [taken, other]);
    assert.equal((await jobNow(stores, 'free')).configId, '/a.toml');
    const failed = lines.filter(({ msg }) => msg === 'add_job_failed').map(({ job, fault }) => [job, fault]);
    assert.deepEqual(
      failed,
      ['taken', 'taken by a file'].map((name) => [name, 'the name is taken by a job that this file does not own']),
    );
  });

  test('are brought in line by two nodes that start at once with the same file, and neither complains', async (t) => {
    const [one, other] = [nodeOf(), nodeOf(openStores(t, url))];
    await other.deps.jobs.list('', 1);
    const definitions = Array.from({ length: 20 }, (_, index) => definition({ name: `job of both ${index}` }));
    await Promise.all([applyFile(one.deps, '/a.toml', definitions), applyFile(other.deps, '/a.toml', definitions)]);
    assert.equal((await jobs.ofFile('/a.toml')).length, 20);
    assert.deepEqual([...new Set([...one.messages(), ...other.messages()])], ['add_job_successed']);
  });

  test('are no concern of another file', async () => {
    const { deps } = nodeOf();
    await applyFile(deps, '/b.toml', [definition()]);
    const before = await jobNow(stores, 'asked for');
    await applyFile(deps, '/a.toml', []);
    assert.deepEqual(await jobNow(stores, 'asked for'), before);
  });
});
