// LISTEN for the whole process on one session, which comes back by itself after an outage.

import { setTimeout as sleep } from 'node:timers/promises';
import { escapeIdentifier, type ClientConfig } from 'pg';
import { endsConnection, openSession, type Session } from './connection.ts';

type Ear = { readonly channel: string; readonly heard: (payload: string) => void; readonly resumed: (() => void) | undefined };

export type Listener = {
  /**
   * Hears a channel, from when this resolves, which takes as long as an outage does. What was sent during an outage is
   * missed: `resumed` says that one is over. Rejects when the listener is closed first.
   */
  readonly listen: (channel: string, heard: (payload: string) => void, resumed?: () => void) => Promise<{ stop(): Promise<void> }>;
  readonly close: () => Promise<void>;
};

/** Makes a listener; it connects when somebody listens. */
export function makeListener(settings: ClientConfig, onError: (fault: unknown) => void): Listener {
  const ears = new Set<Ear>();
  const closing = new AbortController();
  let current: Promise<Session> | undefined;

  const session = (): Promise<Session> => (current ??= connect());

  async function connect(): Promise<Session> {
    for (let faults = 0; ; faults++) {
      closing.signal.throwIfAborted();
      try {
        return await openSession(settings, { lost, notified });
      } catch (fault) {
        onError(fault);
        await sleep(Math.min(100 * 2 ** faults, 5000), undefined, { signal: closing.signal });
      }
    }
  }

  async function begin(channel: string): Promise<void> {
    for (;;) {
      closing.signal.throwIfAborted();
      const opened = await session();
      try {
        await opened.query(`listen ${escapeIdentifier(channel)}`);
        return;
      } catch (fault) {
        if (!endsConnection(fault)) throw fault;
      }
    }
  }

  function lost(why: unknown): void {
    current = undefined;
    onError(why);
    void resume().catch(() => undefined); // Closed, or lost again: that has begun another one.
  }

  async function resume(): Promise<void> {
    const opened = await session();
    for (const channel of new Set([...ears].map((ear) => ear.channel))) await opened.query(`listen ${escapeIdentifier(channel)}`);
    for (const ear of ears) tell(() => ear.resumed?.());
  }

  function notified(channel: string, payload: string): void {
    for (const ear of ears) if (ear.channel === channel) tell(() => ear.heard(payload));
  }

  function tell(call: () => void): void {
    try {
      call();
    } catch (fault) {
      onError(fault);
    }
  }

  return {
    listen: async (channel, heard, resumed) => {
      await begin(channel);
      const ear = { channel, heard, resumed };
      ears.add(ear);
      return {
        stop: async () => {
          ears.delete(ear);
          const isHeard = [...ears].some((other) => other.channel === channel);
          if (isHeard || closing.signal.aborted) return;
          // Without an ear a notification that still comes is for nobody; a session that is not there has nothing to forget.
          void current?.then((opened) => opened.query(`unlisten ${escapeIdentifier(channel)}`)).catch(() => undefined);
        },
      };
    },
    close: async () => {
      closing.abort();
      await current?.then((opened) => opened.close()).catch(() => undefined);
    },
  };
}
