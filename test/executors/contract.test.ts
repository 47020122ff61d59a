import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, type TestContext } from 'node:test';
import type { Executor } from '../../src/executors/executor.ts';
import { loadExecutors } from '../../src/executors/registry.ts';
import { describeContract, type Subject } from './contract.ts';
import { closeWays, httpHere, serve, shellHere, waysHere } from './subjects.ts';
import { leave, left, tempDir } from './support.ts';

const ways = await waysHere();
after(() => closeWays(ways));

for (const { name, isolation } of ways) {
  describeContract(`shell ${name}`, async (t) => {
    const dir = await tempDir(t);
    return {
      executor: shellHere(undefined, isolation),
      succeeding: { type: 'shell', target: `echo fine; echo once >> ${dir}/effects`, env: { LEVEL: 'info' }, cwd: dir },
      effects: () => linesOf(join(dir, 'effects')),
      failing: { type: 'shell', target: 'echo broken >&2; exit 3' },
      unending: { type: 'shell', target: `${leave(`${dir}/begun`, 'yes')}; exec sleep 1000` },
      begun: () => left(dir, 'begun'),
      hostile: {
        type: 'shell',
        target: String.raw`printf 'a\0b\355\240\200c\377'; head -c 600000 /dev/urandom; head -c 600000 /dev/urandom >&2`,
      },
      telling: { type: 'shell', target: 'env' },
      told: async ({ result }) => String(result['out']),
    };
  });
}

describeContract('http', async (t) => {
  const server = await serve(t, {
    '/fine': (_, answer) => answer.end('fine'),
    '/broken': (_, answer) => answer.writeHead(500).end('broken'),
    '/hostile': (_, answer) => {
      answer.write(Buffer.from('a\0b\uFFFDc'));
      answer.write(Buffer.from([0xed, 0xa0, 0x80, 0xff]));
      answer.end(Buffer.alloc(2_000_000, 0xfe));
    },
    '/never': () => undefined,
  });
  return {
    executor: httpHere(),
    succeeding: { type: 'http', method: 'POST', target: `${server.url}/fine`, headers: { accept: '*/*' }, body: 'x', expect_status: [200] },
    effects: async () => server.seen.length,
    failing: { type: 'http', target: `${server.url}/broken` },
    unending: { type: 'http', target: `${server.url}/never` },
    begun: () => server.next(),
    hostile: { type: 'http', target: `${server.url}/hostile` },
    telling: { type: 'http', target: `${server.url}/fine` },
    told: async () => JSON.stringify(server.seen[0]?.headers),
  };
});

describeContract('the example of a third', logLine);

async function logLine(t: TestContext): Promise<Subject<unknown>> {
  const dir = await tempDir(t);
  const file = join(dir, 'lines.jsonl');
  const executor = await loadExample();
  return {
    executor,
    succeeding: { type: 'log-line', file, text: 'fine' },
    effects: () => linesOf(file),
    failing: { type: 'log-line', file: join(dir, randomUUID(), 'lines'), text: 'nowhere' },
    unending: { type: 'log-line', file, text: 'late', wait_ms: 1_000_000 },
    // It begins before `execute` first waits; nothing of it is seen from outside.
    begun: async () => undefined,
    hostile: { type: 'log-line', file, text: `a\0b\ud800${'c'.repeat(2_000_000)}` },
    telling: { type: 'log-line', file, text: 'told' },
    told: () => readFile(file, 'utf8'),
  };
}

async function loadExample(): Promise<Executor> {
  const executors = await loadExecutors([], { 'log-line': { module: '../../examples/log-line.js' } }, import.meta.dirname);
  const example = executors.get('log-line');
  if (example === undefined) throw new Error('expected the example to be loaded');
  return example;
}

async function linesOf(file: string): Promise<number> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text.split('\n').length - 1;
}
