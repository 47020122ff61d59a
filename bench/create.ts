// /createJob requests per second against a bare Hono JSON echo, in one run under the same load.
//   node bench/create.ts [count] [rounds] [connections …]
// Every answer of /createJob says that its job is in PostgreSQL; the bench counts the rows afterwards. An echo waits for nothing and is
// busy with a few connections, a commit has to be waited for, so it takes more of them to see what a node can do.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { startServers } from './support/servers.ts';

const count = Number(process.argv[2] ?? 30_000);
const rounds = Number(process.argv[3] ?? 3);
const loads = process.argv.length > 4 ? process.argv.slice(4).map(Number) : [64, 256];

const servers = await startServers();
const env = {
  PATH: process.env['PATH'],
  BELFRY_DATABASE_URL: servers.databaseUrl,
  BELFRY_ADDR: '127.0.0.1:0',
  BELFRY_NODE: 'bench',
  BELFRY_LOG_FORMAT: 'json',
  BELFRY_CONFIG: fileURLToPath(new URL('support/empty.toml', import.meta.url)),
};
const belfry = await start('../src/main.ts', env, /"address":"http:\/\/127\.0\.0\.1:(\d+)"/);
const echo = await start('support/echo.ts', { PATH: process.env['PATH'] }, /listening on (\d+)/);
try {
  // So long V8 goes on compiling; a service runs for weeks.
  await load(echo.port, 'warm', 20_000, 64);
  await load(belfry.port, 'warm', 20_000, 64);
  for (const connections of loads) {
    const ratios: number[] = [];
    for (let round = 1; round <= rounds; round++) {
      const bare = await load(echo.port, 'echo', count, connections);
      const ours = await load(belfry.port, `bench ${connections} ${round}`, count, connections);
      ratios.push(ours / bare);
      const [echoed, created, ratio] = [bare.toFixed(0), ours.toFixed(0), (ours / bare).toFixed(2)];
      console.log(`${connections} connections, round ${round}: echo ${echoed}/s, /createJob ${created}/s, ratio ${ratio}`);
    }
    ratios.sort((a, b) => a - b);
    console.log(`create: ${connections} connections, median ratio ${ratios[Math.floor(ratios.length / 2)]?.toFixed(2)}`);
  }
  const client = new pg.Client({ connectionString: servers.databaseUrl });
  await client.connect();
  const { rows } = await client.query<{ n: number }>(`select count(*)::integer as n from belfry.jobs where name like 'bench %'`);
  await client.end();
  const made = count * rounds * loads.length;
  if (rows[0]?.n !== made) throw new Error(`expected ${made} jobs in PostgreSQL, got ${rows[0]?.n}`);
  console.log(`create: all ${made} jobs in PostgreSQL`);
} finally {
  for (const { child } of [belfry, echo]) {
    child.kill();
    await once(child, 'exit');
  }
  await servers.stop();
}

async function start(script: string, variables: NodeJS.ProcessEnv, ready: RegExp) {
  const child = spawn(process.execPath, [fileURLToPath(new URL(script, import.meta.url))], {
    env: variables,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface(child.stdout)) {
    const port = ready.exec(line)?.[1];
    if (port === undefined) continue;
    child.stdout.resume();
    return { child, port: Number(port) };
  }
  throw new Error(`${script} ended before it listened`);
}

/** Sends so many requests over so many connections, one after another on each; answers requests per second. */
async function load(port: number, prefix: string, total: number, connections: number): Promise<number> {
  let sent = 0;
  const request = (): string | undefined => {
    if (sent >= total) return undefined;
    const body = JSON.stringify({ name: `${prefix} ${sent++}`, expr: '0 0 1 1 *', command: { type: 'shell', target: 'echo hello' } });
    return `POST /createJob HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  };
  const begun = performance.now();
  await Promise.all(Array.from({ length: connections }, () => one(port, request)));
  return total / ((performance.now() - begun) / 1000);
}

/** One keep-alive connection; answers are told apart by their content-length, so that the client costs next to nothing. */
async function one(port: number, request: () => string | undefined): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  socket.setNoDelay(true);
  await once(socket, 'connect');
  let text = '';
  const next = (): void => {
    const wanted = request();
    if (wanted === undefined) socket.end();
    else socket.write(wanted);
  };
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
    const head = text.indexOf('\r\n\r\n');
    const length = /content-length: (\d+)/i.exec(text)?.[1];
    if (head < 0 || length === undefined || text.length < head + 4 + Number(length)) return;
    if (!text.startsWith('HTTP/1.1 200') || !text.includes('"code":0')) socket.destroy(new Error(`unexpected answer: ${text}`));
    text = '';
    next();
  });
  next();
  await once(socket, 'close');
}
