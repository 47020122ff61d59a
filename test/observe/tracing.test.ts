// One trace from a request to all it causes (W3C Trace Context), as callers see it and as the log tells it.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { newTraceId, traceIdOf } from '../../src/observe/tracing.ts';
import { openTestDoors, sample } from '../support/doors.ts';

const theirs = '4bf92f3577b34da6a3ce929d0e0e4736';

const taken: Record<string, string> = {
  sampled: `00-${theirs}-00f067aa0ba902b7-01`,
  'not sampled': `00-${theirs}-00f067aa0ba902b7-00`,
  'with spaces around it': ` 00-${theirs}-00f067aa0ba902b7-01 `,
  'of a version to come': `cc-${theirs}-00f067aa0ba902b7-01`,
  'of a version to come that says more': `cc-${theirs}-00f067aa0ba902b7-01-what-the-future-brings`,
};

const replaced: Record<string, string> = {
  empty: '',
  'of another form': 'hello',
  'of version ff': `ff-${theirs}-00f067aa0ba902b7-01`,
  'of version 00 that says more': `00-${theirs}-00f067aa0ba902b7-01-more`,
  'of a version to come that goes on without a dash': `cc-${theirs}-00f067aa0ba902b7-01.more`,
  'in capitals': `00-${theirs.toUpperCase()}-00f067aa0ba902b7-01`,
  'with a trace id of zeros': `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
  'with a parent of zeros': `00-${theirs}-${'0'.repeat(16)}-01`,
  'with a trace id that is too short': `00-${theirs.slice(1)}-00f067aa0ba902b7-01`,
  'with a trace id that is not hexadecimal': `00-${theirs.slice(1)}g-00f067aa0ba902b7-01`,
  'without flags': `00-${theirs}-00f067aa0ba902b7`,
  'that came twice': `00-${theirs}-00f067aa0ba902b7-01, 00-${theirs}-00f067aa0ba902b7-01`,
};

describe('a traceparent', () => {
  for (const [what, header] of Object.entries(taken)) {
    test(`is taken: ${what}`, () => assert.equal(traceIdOf(header), theirs));
  }

  for (const [what, header] of Object.entries(replaced)) {
    test(`is not taken: ${what}`, () => assert.equal(traceIdOf(header), undefined));
  }

  test('is not taken where there is none', () => assert.equal(traceIdOf(undefined), undefined));
});

test('a new trace id is 32 hexadecimal digits, and no other is like it', () => {
  const made = Array.from({ length: 10_000 }, newTraceId);
  assert.ok(made.every((id) => /^[0-9a-f]{32}$/.test(id) && !/^0+$/.test(id)));
  assert.equal(new Set(made).size, made.length);
});

describe('a request', async () => {
  const { app, ask, lines } = await openTestDoors(test);

  function tracesOf(answer: Response): { traceId: string; spanId: string } {
    const found = /^00-([0-9a-f]{32})-([0-9a-f]{16})-01$/.exec(answer.headers.get('traceparent') ?? '');
    const [, traceId = '', spanId = ''] = found ?? [];
    assert.equal(answer.headers.get('x-trace-id'), traceId);
    return { traceId, spanId };
  }

  test('that comes with a trace is answered under it, as a span of our own', async () => {
    for (const path of ['/ping', '/createJob', '/listJobRecord', '/v1/jobs', '/']) {
      const answer = await ask(path, undefined, { method: 'GET', headers: { traceparent: taken['sampled'] ?? '' } });
      const { traceId, spanId } = tracesOf(answer);
      assert.equal(traceId, theirs);
      assert.notEqual(spanId, '00f067aa0ba902b7');
    }
  });

  test('that comes with none, or with one that is none, is answered under a new one', async () => {
    const seen = new Set<string>();
    for (const traceparent of [undefined, ...Object.values(replaced)]) {
      const { traceId } = tracesOf(await ask('/ping', undefined, { headers: traceparent === undefined ? {} : { traceparent } }));
      assert.notEqual(traceId, theirs);
      seen.add(traceId);
    }
    assert.equal(seen.size, Object.keys(replaced).length + 1);
  });

  test('has its trace on every line of the log that it causes, one of which is the access log', async () => {
    lines.length = 0;
    const { traceId } = tracesOf(await ask('/createJob', sample('traced')));
    await ask('/v1/jobs/traced/disable', undefined, { headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` } });
    await ask('/v1/jobs/traced/trigger', undefined, { headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` } });
    await ask('/v1/jobs/traced', undefined, { method: 'DELETE', headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` } });
    assert.deepEqual(
      lines.map((line) => [line.msg, line['trace_id']]),
      ['add_httpcreate_job_successed', 'disabled_job', 'triggered_job', 'deleted_job'].flatMap((event) => [
        [event, traceId],
        ['accesslog_http', traceId],
      ]),
    );
  });

  test('has its trace in the answer also when it is refused', async () => {
    for (const answer of [
      await app.request('/createJob', { headers: { host: 'evil.example' } }),
      await ask('/createJob', '{'),
      await ask('/nothing'),
      await ask('/v1/jobs/nobody'),
      await ask('/createJob', 'x'.repeat(2 ** 20 + 1)),
    ]) {
      assert.match(tracesOf(answer).traceId, /^[0-9a-f]{32}$/);
    }
  });
});
