// Jobs whose time has passed, on a real PostgreSQL.

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { parseDefinition } from '../../src/jobs/definition.ts';
import { applyFile, createJob } from '../../src/jobs/manage.ts';
import { jobNow, openStores } from '../support/jobs.ts';
import { managingOn } from '../support/managing.ts';
import { testDatabase } from '../support/postgres.ts';

const { url } = await testDatabase(test);
const stores = openStores(test, url);
const { deps } = managingOn(stores);
const input = { name: 'once', expr: '@at 2000-01-01T00:00:00Z', command: { type: 'noop', target: 'x' } };

describe('a job that will never be due again', () => {
  test('is refused when somebody asks for it', async () => {
    await assert.rejects(
      createJob(deps, input, 'a trace'),
      /expr: expected a time to come, got .*@at 2000.*, which never fires after 2100-01-01T12:00:00.000Z/,
    );
  });

  test('of a file, as it is at each start after its one time, is at its end and shown so', async () => {
    const parsed = parseDefinition(input, deps);
    assert.ok(parsed.ok);
    await applyFile(deps, '/a.toml', [parsed.definition]);
    const { nextDueAt, endedAt } = await jobNow(stores, 'once');
    assert.deepEqual([nextDueAt, endedAt === null], [null, false]);
    assert.deepEqual((await stores.jobs.look(10)).unknown, [], 'no tick works it out again');
  });
});
