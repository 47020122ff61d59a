// Something that speaks PostgreSQL's protocol as a proxy in transaction mode does: all its clients share one session behind it.

import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { Client } from 'pg';

type Scope = { after(fn: () => Promise<void>): void };

/** Starts it before the server of a URL. It knows simple queries only. `answers` are its own instead of the server's. */
export async function startPooler(scope: Scope, to: string, answers: Record<string, string> = {}): Promise<{ url: string }> {
  const session = new Client(to);
  await session.connect();

  const answer = async (question: string): Promise<Buffer[]> => {
    const own = answers[question];
    const rows = own === undefined ? (await session.query<unknown[]>({ text: question, rowMode: 'array' })).rows : [[own]];
    const columns = rows[0] ?? [];
    const described = columns.map(() => Buffer.concat([text('column'), numbers([4, 0], [2, 0], [4, 25], [2, -1], [4, -1], [2, 0])]));
    return [
      ...(columns.length > 0 ? [message('T', numbers([2, columns.length]), ...described)] : []),
      ...rows.map((row) =>
        message(
          'D',
          numbers([2, row.length]),
          ...row.flatMap((value) => [numbers([4, Buffer.byteLength(String(value))]), Buffer.from(String(value))]),
        ),
      ),
      message('C', text('SELECT')),
    ];
  };

  const ready = message('Z', Buffer.from('I'));
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let isStarted = false;
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      if (!isStarted) {
        isStarted = true;
        socket.write(Buffer.concat([message('R', numbers([4, 0])), ready]));
      } else if (chunk.toString('latin1', 0, 1) === 'Q') {
        void answer(chunk.toString('utf8', 5, chunk.length - 1)).then((messages) => socket.write(Buffer.concat([...messages, ready])));
      } else {
        socket.end();
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.after(async () => {
    server.close();
    for (const socket of sockets) socket.destroy();
    await session.end();
  });
  return { url: `postgres://belfry:secret@127.0.0.1:${(server.address() as AddressInfo).port}/belfry` };
}

function message(kind: string, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from(kind), numbers([4, body.length + 4]), body]);
}

/** Each of so many bytes, most significant first. */
function numbers(...pairs: [size: 2 | 4, value: number][]): Buffer {
  return Buffer.concat(
    pairs.map(([size, value]) => {
      const bytes = Buffer.alloc(size);
      bytes.writeIntBE(value, 0, size);
      return bytes;
    }),
  );
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}
