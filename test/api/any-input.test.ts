// Whatever comes, it is answered as seed-api and /v1 say: never with a 5xx, and what is taken can be read again.

import assert from 'node:assert/strict';
import test from 'node:test';
import * as fc from 'fast-check';
import { openTestDoors, type Envelope } from '../support/doors.ts';

const { ask, v1 } = await openTestDoors(test);

const text = fc.string({ unit: 'binary', maxLength: 300 });
const anything = fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' });

/** A table that has some of these keys and as often as not another. */
function some(values: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<unknown> {
  return fc.oneof(
    { weight: 4, arbitrary: fc.record(values, { requiredKeys: [] }) },
    { weight: 1, arbitrary: fc.dictionary(text, anything) },
  );
}

const count = fc.oneof(fc.integer({ min: 0, max: 100 }), fc.integer(), fc.maxSafeInteger(), fc.double(), text, fc.constant('007'));
const time = fc.oneof(
  fc.date().map((date) => date.toJSON()),
  fc.date({ min: new Date('0000-01-01'), max: new Date('9999-12-31') }),
  text,
);

test('any JSON, and any that is nearly right, is answered by every call, and never with a 5xx', async () => {
  const asked = fc.oneof(
    anything,
    some({ page: count, size: count, from: time, to: time, cursor: count, name: text, state: fc.constantFrom('failed', 'queued', '') }),
    some({ recordId: count }),
    some({ override: fc.oneof(fc.boolean(), count) }),
  );
  await fc.assert(
    fc.asyncProperty(asked, async (body) => {
      for (const path of ['/createJob', '/listJobRecord', '/getJobRecordResult', '/v1/jobs/nobody/trigger']) {
        const answer = await ask(path, JSON.stringify(body));
        assert.ok(answer.status < 500, `${path} ${answer.status}`);
        assert.match(answer.headers.get('content-type') ?? '', /^application\/json/);
      }
    }),
    { numRuns: 300 },
  );
});

test('any bytes and any path are answered, and never with a 5xx', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), fc.webPath(), fc.string(), async (bytes, path, after) => {
      for (const to of ['/createJob', `/v1/jobs${path}`, `/v1/jobs/${encodeURIComponent(after)}`, path]) {
        const { status } = await ask(to, Uint8Array.from(bytes));
        assert.ok(status < 500, `${to} ${status}`);
      }
      const { status } = await v1('GET', `/jobs?limit=${encodeURIComponent(after)}&after=${encodeURIComponent(after)}`);
      assert.ok(status < 500);
    }),
    { numRuns: 200 },
  );
});

test('a job of any texts is made as it was asked for, or refused', async () => {
  const values = fc.dictionary(text, text, { maxKeys: 3 });
  const command = fc.oneof(
    some({ type: fc.constant('shell'), target: text, cwd: text, shell: text, env: values }),
    some({ type: fc.constant('shell'), argv: fc.array(text, { maxLength: 3 }) }),
    some({ type: fc.constant('http'), target: fc.oneof(fc.webUrl(), text), headers: values, body: anything, expect_body: text }),
  );
  const name = fc.oneof({ weight: 1, arbitrary: text }, { weight: 2, arbitrary: fc.uuid() });
  const job = fc.record(
    {
      name,
      remark: text,
      expr: fc.constantFrom('@daily', '* * * * *', '*/5 * * * * *'),
      timezone: fc.constantFrom('UTC', 'utc', 'Europe/Kyiv', ''),
      command,
    },
    { requiredKeys: ['name', 'expr', 'command'] },
  );
  let made = 0;
  await fc.assert(
    fc.asyncProperty(job, async (written) => {
      const answer = await ask('/createJob', written);
      assert.equal(answer.status, 200);
      const { code } = (await answer.json()) as Envelope;
      assert.ok([0, -2, -5].includes(code));
      if (code !== 0) return;
      made++;
      const { status, json } = await v1('GET', `/jobs/${encodeURIComponent(written.name)}`);
      assert.deepEqual([status, json['name'], json['remark']], [200, written.name, written.remark ?? '']);
    }),
    { numRuns: 500 },
  );
  assert.ok(made > 0);
});
