// Opens what carries the messages: BullMQ on Redis (or Valkey) where one is configured, else on PostgreSQL.

import { openPostgres } from './postgres.ts';
import { openRedis } from './redis.ts';
import type { Backend, Options } from './transport.ts';

/** Opens the queue. A Redis that does not answer is told of in the log, and used when it is there. */
export async function openBackend(options: Options): Promise<Backend> {
  return options.redisUrl === undefined ? await openPostgres(options) : await openRedis(options, options.redisUrl);
}
