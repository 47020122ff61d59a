// The nodes as programs and people see them.

import assert from 'node:assert/strict';
import test, { beforeEach, describe } from 'node:test';
import { openTestDoors } from '../support/doors.ts';

const doors = await openTestDoors(test);
const { v1, nodes, database } = doors;

beforeEach(() => database.sql`delete from belfry.nodes`);

const bell = { version: '1.2.3', address: '127.0.0.1:9000', pid: 42, duties: ['web', 'worker'], slots: 50, labels: ['gpu'] };

async function listed(): Promise<Record<string, unknown>[]> {
  const { status, json } = await v1('GET', '/nodes');
  assert.equal(status, 200);
  return json['nodes'] as Record<string, unknown>[];
}

describe('the list of nodes', () => {
  test('is empty where there are none', async () => assert.deepEqual(await v1('GET', '/nodes'), { status: 200, json: { nodes: [] } }));

  test('says of each what it is, what it does and how busy it is', async () => {
    const incarnation = await nodes.register({ name: 'n1', ...bell });
    await database.sql`update belfry.nodes set busy = 7`;
    const [row] = await database.sql<{ started: Date; beat: Date }[]>`select started_at as started, beat_at as beat from belfry.nodes`;
    assert.deepEqual(await listed(), [
      {
        name: 'n1',
        state: 'living',
        incarnation,
        ...bell,
        busy: 7,
        draining: false,
        started_at: row?.started.toISOString(),
        beat_at: row?.beat.toISOString(),
        ended_at: null,
      },
    ]);
  });

  test('has the living first, and then the last of each name that does not live any more', async () => {
    const ends = { c: ['lost'], b: ['replaced', 'stopped'], a: ['replaced', undefined], d: [undefined] } as const;
    for (const [name, reasons] of Object.entries(ends)) {
      for (const reason of reasons) {
        const incarnation = await nodes.register({ name, ...bell });
        if (reason) await nodes.end(incarnation, reason);
      }
    }
    assert.deepEqual(
      (await listed()).map(({ name, state, ended_at: endedAt }) => [name, state, endedAt !== null]),
      [
        ['a', 'living', false],
        ['d', 'living', false],
        ['b', 'stopped', true],
        ['c', 'lost', true],
      ],
    );
  });

  test('has of those that do not live any more the hundred that ended last', async () => {
    await database.sql`
      insert into belfry.nodes (name, version, pid, duties, ended_at, end_reason)
      select 'n' || n, '1', 1, '{}', now() - interval '1 minute' * n, 'stopped' from generate_series(1, 120) n`;
    await nodes.register({ name: 'here', ...bell });
    const names = (await listed()).map(({ name }) => name);
    assert.deepEqual([names.length, names[0], names[1], names.at(-1)], [101, 'here', 'n1', 'n100']);
  });
});

describe('a node', () => {
  test('is drained and taken back into work, and all nodes hear of it', async (t) => {
    const ended = await nodes.register({ name: 'n 1/2', ...bell });
    await nodes.end(ended, 'stopped');
    const incarnation = await nodes.register({ name: 'n 1/2', ...bell });
    await nodes.register({ name: 'other', ...bell });
    let heard = 0;
    const told = Promise.withResolvers<void>();
    const ear = await database.listen('belfry_nodes', () => {
      heard += 1;
      if (heard === 2) told.resolve();
    });
    t.after(() => ear.stop());

    const { status, json } = await v1('POST', '/nodes/n%201%2F2/drain');
    assert.deepEqual([status, json['incarnation'], json['state'], json['draining']], [200, incarnation, 'living', true]);
    assert.deepEqual(
      (await listed()).map(({ name, draining }) => [name, draining]),
      [
        ['n 1/2', true],
        ['other', false],
      ],
    );
    assert.equal((await v1('POST', '/nodes/n%201%2F2/undrain')).json['draining'], false);
    await told.promise;
    assert.deepEqual(
      doors.lines.filter(({ node }) => node === 'n 1/2').map(({ msg }) => msg),
      ['drained_node', 'undrained_node'],
    );
  });

  test('that does not live is 404, whatever is asked of it', async () => {
    await nodes.end(await nodes.register({ name: 'gone', ...bell }), 'stopped');
    for (const name of ['gone', 'nobody']) {
      for (const what of ['drain', 'undrain']) {
        assert.deepEqual(await v1('POST', `/nodes/${name}/${what}`), {
          status: 404,
          json: { error: 'not_found', message: `node not found: "${name}" is none that lives` },
        });
      }
    }
  });
});
