// The first minutes of somebody who has nothing but Node: an empty folder, the shipped config.toml, the calls of the README.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import {
  folder,
  freePort,
  launchBelfry,
  limitMs,
  processesOf,
  startBelfry,
  startRefused,
  suiteScope,
  until,
  type Belfry,
  type Told,
} from '../support/belfry.ts';

const shipped = await readFile(new URL('../../config.toml', import.meta.url), 'utf8');
const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');

describe('the quick start: an empty folder, the shipped config.toml, no database, no Redis', { timeout: 3 * limitMs }, () => {
  const scope = suiteScope();
  let cwd: string;
  let port: number;
  let belfry: Belfry;
  let recordsBefore: readonly Told[];
  let firstStart: { ending: unknown; left: unknown };

  // All of it as it is shipped, but for the port: another Belfry may have it.
  const start = (more = ''): Promise<Belfry> => {
    const config = more + shipped.replaceAll('127.0.0.1:9000', `127.0.0.1:${port}`).replace('#addr = ":9000"', `addr = ":${port}"`);
    return startBelfry({ cwd, config, env: { BELFRY_ADDR: undefined } });
  };
  /** A sample call of the README, as it stands but for the port and the wish to see headers. */
  const sample = async (path: string) => {
    const line = readme.split('\n').find((each) => each.startsWith('curl -d ') && each.endsWith(`http://127.0.0.1:9000${path}`)) ?? '';
    assert.notEqual(line, '', `the README has a sample of ${path}`);
    return await sh(line.replace('curl ', 'curl -si ').replace(':9000', `:${port}`));
  };

  before(async () => {
    cwd = await folder(scope);
    port = await freePort();
    const first = await launchBelfry({ cwd });
    await until(() => processesOf(cwd).find(({ name }) => name === 'postgres' || name === 'initdb'));
    first.pressCtrlC();
    firstStart = { ending: await first.exited, left: processesOf(cwd) };
    belfry = await start();
  });

  test('it was not harmed by a Ctrl-C in the middle of its first start', () => {
    assert.deepEqual(firstStart, { ending: { code: 0, signal: null }, left: [] });
  });

  test('it listens where its config.toml says, on this machine only', async () => {
    assert.equal(belfry.address, `http://127.0.0.1:${port}`);
    const answer = await fetch(`${belfry.address}/ping`);
    assert.deepEqual([answer.status, await answer.text()], [200, 'OK']);
  });

  test('curl makes a job', async () => {
    const { status, type, body } = await sample('/createJob');
    assert.deepEqual([status, type], [200, 'application/json; charset=utf-8']);
    assert.match(body, /^\{"code":0,"message":"success","currentTime":\d{10},"data":\{"id":\d+\}\}$/);
  });

  test('curl makes a job of that name once', async () => {
    const { status, body } = await sample('/createJob');
    assert.equal(status, 200);
    assert.match(body, /^\{"code":-5,"message":".*create-http-job-1.*","currentTime":\d{10},"data":\{\}\}$/);
  });

  test('each of the three sample jobs, and the one of curl, has records within a minute', async () => {
    const [hello, ping] = await Promise.all([
      until(async () => (await belfry.records({ name: 'hello', state: 'succeeded' })).at(-1)),
      until(async () => (await belfry.records({ name: 'ping', state: 'succeeded' })).at(-1)),
      until(async () => (await belfry.records({ name: 'create-http-job-1', state: 'succeeded' })).at(-1)),
      until(async () => (await belfry.records({ name: 'sometimes' })).at(-1)),
    ]);
    assert.match(String((await belfry.resultOf(hello.id))['out']), /^hello, world, it is \d\d:\d\d:\d\d\n$/);
    const { status, body } = await belfry.resultOf(ping.id);
    assert.deepEqual([status, body], [200, 'OK']);
  });

  test('curl lists the newest record', async () => {
    const { status, type, body } = await sample('/listJobRecord');
    assert.deepEqual([status, type], [200, 'application/json; charset=utf-8']);
    assert.match(body, /^\{"code":0,"message":"success","currentTime":\d{10},"data":\[\{"id":\d+,"name":"/);
    const [record, ...others] = dataOf(body) as Record<string, unknown>[];
    assert.deepEqual(others, []);
    const first = ['id', 'name', 'type', 'command', 'result', 'failed_cnt', 'create_time', 'started_time', 'finished_time'];
    const added = ['state', 'attempts', 'due_time', 'node', 'trace_id', 'reason'];
    assert.deepEqual(Object.keys(record ?? {}).slice(0, 15), [...first, ...added]);
  });

  test('curl shows the output of a record; of one that is not there, that it is not', async () => {
    const [record] = await belfry.records({ name: 'create-http-job-1', state: 'succeeded' });
    assert.deepEqual([typeof record?.failed_cnt, JSON.parse(record?.command ?? '')], ['number', { type: 'shell', target: 'echo hello' }]);
    for (const moment of [record?.create_time, record?.started_time, record?.finished_time, record?.due_time]) {
      assert.match(String(moment), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
    }
    const there = await sh(`curl -si -d '{"recordId":"${record?.id}"}' ${belfry.address}/getJobRecordResult`);
    const { out, err, stderr, exitCode } = dataOf(there.body) as Record<string, unknown>;
    assert.deepEqual({ out, err, stderr, exitCode }, { out: 'hello\n', err: '<nil>', stderr: '', exitCode: 0 });
    assert.deepEqual(JSON.parse(record?.result ?? ''), dataOf(there.body));

    const absent = await sh(`curl -si -d '{"recordId":1000000}' ${belfry.address}/getJobRecordResult`);
    assert.equal(absent.status, 200);
    assert.match(absent.body, /^\{"code":-4,"message":"record not found","currentTime":\d{10},"data":\{\}\}$/);
    // The one of the README names record 44, which may not be there yet.
    assert.match(
      (await sample('/getJobRecordResult')).body,
      /^\{"code":(0,"message":"success"|-4,"message":"record not found"),"currentTime"/,
    );
  });

  test('a second Belfry on the same data directory is refused with a sentence', async () => {
    const { code, stderr } = await startRefused({ cwd });
    assert.equal(code, 1);
    assert.equal(
      stderr,
      `belfry: another Belfry is using ${cwd}/data (process ${belfry.pid}); stop it, or give this one its own BELFRY_DATA_DIR\n`,
    );
    assert.equal((await fetch(`${belfry.address}/ping`)).status, 200, 'the first one goes on');
  });

  test('Ctrl-C ends it with 0 and leaves no process', async () => {
    recordsBefore = await allRecords(belfry);
    assert.ok(
      processesOf(cwd).some(({ name }) => name === 'postgres'),
      'it had a PostgreSQL of its own',
    );
    belfry.pressCtrlC();
    assert.deepEqual(await belfry.exited, { code: 0, signal: null });
    assert.deepEqual(processesOf(cwd), []);
  });

  test('started again, jobs and records are there, and no due time has two records', async () => {
    belfry = await start('shutdown_grace = "1h"\n');
    const { jobs } = await belfry.call<{ jobs: { name: string; enabled: boolean }[] }>('/v1/jobs', undefined, 'GET');
    assert.deepEqual(
      jobs.map(({ name, enabled }) => `${name} ${enabled}`),
      ['create-http-job-1 true', 'hello true', 'ping true', 'sometimes true'],
    );

    const newest = recordsBefore[0]?.id ?? 0;
    await until(async () => (await belfry.records({ name: 'hello', state: 'succeeded' })).find(({ id }) => id > newest));
    const recordsNow = await allRecords(belfry);
    const ended = recordsBefore.filter((record) => record.finished_time !== null);
    for (const name of ['hello', 'ping', 'create-http-job-1']) {
      assert.ok(
        ended.some((record) => record.name === name),
        `${name} had ended before`,
      );
    }
    assert.deepEqual(
      recordsNow.filter(({ id }) => ended.some((record) => record.id === id)),
      ended,
      'what has ended is as it was',
    );
    const dueTimes = recordsNow.map(({ name, due_time }) => `${name} ${due_time}`);
    assert.deepEqual(dueTimes, [...new Set(dueTimes)]);
  });

  test('a second Ctrl-C while a long job runs ends it at once, and the job with it', async () => {
    await belfry.create({ name: 'long', expr: '@yearly', command: { type: 'shell', target: 'sleep 1000; true' } });
    await belfry.trigger('long');
    await until(() => processesOf(cwd).find(({ name }) => name === 'sleep'));
    belfry.pressCtrlC();
    await belfry.logged(({ msg }) => msg === 'stopping');
    // The grace is an hour here.
    assert.deepEqual(await belfry.insist(), { code: 0, signal: null });
    assert.deepEqual(processesOf(cwd), []);
  });
});

/** Runs a line of shell that asks with `curl -i`. */
async function sh(line: string): Promise<{ status: number; type: string; body: string }> {
  const { stdout } = await promisify(execFile)('/bin/sh', ['-c', line]);
  const [head = '', body = ''] = stdout.split(/\r\n\r\n(.*)/s);
  return { status: Number(/^HTTP\S+ (\d+)/.exec(head)?.[1]), type: /^content-type: (.*)$/im.exec(head)?.[1]?.trim() ?? '', body };
}

function dataOf(body: string): unknown {
  return (JSON.parse(body) as { data: unknown }).data;
}

/** From the newest on back: what comes meanwhile moves nothing. */
async function allRecords(belfry: Belfry): Promise<readonly Told[]> {
  const all: Told[] = [];
  for (;;) {
    const last = all.at(-1);
    const records = await belfry.records(last ? { cursor: last.id } : {});
    all.push(...records);
    if (records.length < 100) return all;
  }
}
