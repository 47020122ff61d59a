// Messages that a test sends, and a taker that keeps what comes.

import type { Backend, Message } from '../../src/queue/transport.ts';

/** Takes messages and keeps them; `gate` holds each until it is let go. */
export function taker(gate: () => Promise<void> = () => Promise.resolve()) {
  const taken: Message[] = [];
  const watchers = new Set<() => void>();
  let busy = 0;
  let most = 0;
  const take = async (message: Message): Promise<void> => {
    taken.push(message);
    most = Math.max(most, ++busy);
    for (const look of watchers) look();
    await gate();
    busy -= 1;
  };
  /** Resolves when so many messages have come. */
  const came = (count: number): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (taken.length < count) return;
        watchers.delete(look);
        resolve();
      };
      watchers.add(look);
      look();
    });
  const ids = (): number[] => taken.flatMap(({ runs }) => runs).sort((a, b) => a - b);
  return { take, taken, came, ids, most: () => most };
}

export const numbers = (count: number, from = 1): number[] => Array.from({ length: count }, (_, index) => from + index);
export const messagesOf = (ids: readonly number[]): Message[] => ids.map((id) => ({ runs: [id] }));

/** Sends a run again until it comes, as the producer does: a message that was under way when its connection went may be lost. */
export async function untilCome(backend: Backend, id: number, ids: () => number[]): Promise<void> {
  while (!ids().includes(id)) {
    await untilSent(backend, messagesOf([id]));
    for (let look = 0; look < 40 && !ids().includes(id); look++) await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Does it again until it is taken, as the producer does. */
export async function untilSent(backend: Backend, messages: readonly Message[]): Promise<void> {
  for (;;) {
    try {
      return await backend.send(messages);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
