// Takes messages out of the queue and hands the ids of their runs on. A message is done when its runs are claimed: from
// there PostgreSQL holds them, and BullMQ's locks and stalls decide nothing.

import { z } from 'zod';
import type { Backend, Consumer } from './backend.ts';
import { fetchersPerWorker } from './producer.ts';

const message = z.object({ runs: z.array(z.int().positive()).max(1000) });

/**
 * Consumes until closed. `take` answers when the worker could take more: as long as it has no free slot, nothing is fetched.
 * A message that is not of ours is dropped.
 */
export async function startConsumer(backend: Backend, take: (runs: readonly number[]) => Promise<void>): Promise<Consumer> {
  return await backend.consume(async (data) => {
    const parsed = message.safeParse(data);
    if (parsed.success) await take(parsed.data.runs);
  }, fetchersPerWorker);
}
