// Takes messages out of the lanes that this node serves and hands the ids of their runs on. A message is done when its runs are
// claimed: from there PostgreSQL holds them, and BullMQ's locks and stalls decide nothing.

import { z } from 'zod';
import { fetchersPerWorker } from './producer.ts';
import type { Backend, Consumer, Message } from './transport.ts';

const message = z.object({ runs: z.array(z.int().positive()).max(1000) });

type Deps = {
  readonly backend: Pick<Backend, 'consume'>;
  /** What this node may run; '' is among them. */
  readonly lanes: readonly string[];
  /** Answers when the worker could take more: as long as it has no free slot, nothing is fetched. */
  readonly take: (runs: readonly number[]) => Promise<void>;
  /** Told of every message, before it is taken. */
  readonly heard: () => void;
  readonly onFault: (fault: unknown) => void;
};

export type Consuming = {
  readonly start: () => Promise<void>;
  /** Listens in these lanes too, as far as this node serves them: a lane costs a connection, and most have nothing in them. */
  readonly listenIn: (lanes: readonly string[]) => void;
  /** Hangs up and listens anew, on new connections. */
  readonly relisten: () => void;
  readonly close: () => Promise<void>;
};

/** Makes a consumer that has not started. A message that is not of ours is dropped. */
export function makeConsumer(deps: Deps): Consuming {
  const open = new Map<string, Promise<Consumer>>();
  let isOpen = false;

  const take = async (data: Message): Promise<void> => {
    deps.heard();
    const parsed = message.safeParse(data);
    if (parsed.success) await deps.take(parsed.data.runs);
  };
  const listen = (lane: string): Promise<Consumer> => {
    const known = open.get(lane);
    if (known) return known;
    const consumer = deps.backend.consume(lane, take, fetchersPerWorker);
    open.set(lane, consumer);
    consumer.catch((fault: unknown) => {
      if (open.get(lane) === consumer) open.delete(lane);
      deps.onFault(fault);
    });
    return consumer;
  };
  const settled = async (): Promise<Consumer[]> =>
    (await Promise.allSettled(open.values())).flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));

  return {
    start: async () => {
      isOpen = true;
      await listen('');
    },
    listenIn: (lanes) => {
      if (isOpen) for (const lane of lanes) if (deps.lanes.includes(lane)) void listen(lane);
    },
    relisten: () => {
      if (!isOpen) return;
      const before = new Map(open);
      open.clear();
      for (const [lane, consumer] of before) {
        void consumer.then(
          ({ drop }) => drop(),
          () => undefined,
        );
        void listen(lane);
      }
    },
    close: async () => {
      isOpen = false;
      await Promise.all((await settled()).map((consumer) => consumer.close()));
    },
  };
}
