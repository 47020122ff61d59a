// The proxy fails as it says: a fault that does nothing would make every test with it pass.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, test, type TestContext } from 'node:test';
import { startProxy, type Proxy } from './proxy.ts';

describe('a wire', { timeout: 30_000 }, () => {
  test('that is a black hole carries nothing, on new connections neither, and later all of it in order', async (t) => {
    const { proxy, client, asked } = await place(t);
    await client.ask('one');
    proxy.blackhole();
    const late = [client.ask('two'), client.ask('three'), (await open(t, proxy)).ask('four')];
    await assertSilent(late);
    assert.deepEqual(asked, ['one']);
    proxy.pass();
    await Promise.all(late);
    assert.deepEqual(
      asked.filter((word) => word !== 'four'),
      ['one', 'two', 'three'],
    );
  });

  test('that swallows answers brings the question, and the connection is lost in the end', async (t) => {
    const { proxy, client, asked, heard } = await place(t);
    proxy.swallowAnswers();
    const answer = client.ask('one');
    await heard('one');
    await assertSilent([answer]);
    assert.deepEqual(asked, ['one']);
    proxy.pass();
    await client.closed;
    await (await open(t, proxy)).ask('two');
  });

  test('that is slow brings all in order, each later by so much', async (t) => {
    const { proxy, client } = await place(t);
    proxy.delay(100);
    const begun = performance.now();
    await client.ask('one');
    await client.ask('two');
    assert.ok(performance.now() - begun >= 400);
  });
});

/** A server that gives back what it gets, and remembers it; a proxy in front of it, and somebody who asks. */
async function place(t: TestContext) {
  const asked: string[] = [];
  const listeners = new Set<() => void>();
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      asked.push(...String(chunk).trimEnd().split('\n'));
      socket.write(chunk);
      for (const tell of listeners) tell();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const proxy = await startProxy({ after: (end) => t.after(end) }, `redis://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const heard = (word: string): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (asked.includes(word)) resolve();
      };
      listeners.add(look);
      look();
    });
  return { proxy, asked, heard, client: await open(t, proxy) };
}

async function open(t: TestContext, { url }: Proxy) {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('error', () => {});
  t.after(() => void socket.destroy());
  await once(socket, 'connect');
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  let given = '';
  socket.on('data', (chunk) => {
    given += String(chunk);
    socket.emit('given');
  });
  /** Asks, and answers when that came back; never if the connection is lost. */
  const ask = (word: string): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (given.includes(`${word}\n`)) resolve();
      };
      socket.on('given', look);
      socket.write(`${word}\n`);
    });
  return { ask, closed };
}

/** None of these is answered for a while. */
async function assertSilent(answers: readonly Promise<void>[]): Promise<void> {
  const soon = new Promise<string>((resolve) => setTimeout(resolve, 200, 'silent'));
  assert.equal(await Promise.race([soon, ...answers.map((answer) => answer.then(() => 'answered'))]), 'silent');
}
