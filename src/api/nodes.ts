// The calls about nodes: who lives and how busy they are, and keeping work off one of them.

import { Hono, type Context } from 'hono';
import { z } from 'zod';
import { Refusal } from '../errors.ts';
import { show } from '../faults.ts';
import { table } from '../shapes.ts';
import type { ListedNode } from '../store/nodes.ts';
import { shaped, type DoorEnv } from './wire.ts';

export type NodesDeps = {
  readonly nodes: {
    readonly list: (ended: number) => Promise<readonly ListedNode[]>;
    readonly drain: (name: string, isDraining: boolean) => Promise<ListedNode | undefined>;
  };
};

// Of the names that do not live any more, so many.
const mostEnded = 100;

/** The calls under /v1/nodes. */
export function nodesApi({ nodes }: NodesDeps): Hono<DoorEnv> {
  const app = new Hono<DoorEnv>();
  app.get('/', async (c) => c.json({ nodes: (await nodes.list(mostEnded)).map(nodeOf) }));
  app.post('/:name/drain', (c) => drain(c, true));
  app.post('/:name/undrain', (c) => drain(c, false));
  return app;

  async function drain(c: Context<DoorEnv>, isDraining: boolean): Promise<Response> {
    const { name } = shaped(nodePath, c.req.param());
    const node = await nodes.drain(name, isDraining);
    if (!node) throw new Refusal('not_found', `node not found: ${show(name)} is none that lives`);
    c.get('log').info({ node: name }, isDraining ? 'drained_node' : 'undrained_node');
    return c.json(nodeOf(node));
  }
}

const nodePath = table({ name: z.string() });

function nodeOf(node: ListedNode) {
  return {
    name: node.name,
    state: node.state,
    incarnation: node.incarnation,
    version: node.version,
    address: node.address,
    pid: node.pid,
    duties: node.duties,
    labels: node.labels,
    slots: node.slots,
    busy: node.busy,
    draining: node.isDraining,
    started_at: node.startedAt,
    beat_at: node.beatAt,
    ended_at: node.endedAt,
  };
}
