// A log whose lines a test can read.

import { pino } from 'pino';
import type { Log } from '../../src/observe/log.ts';

export type LogLine = Record<string, unknown> & { readonly msg: string };

/** A log at level info, and the lines that were written so far. */
export function keptLog(): { log: Log; lines: LogLine[]; messages: () => string[] } {
  const lines: LogLine[] = [];
  const log = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line) as LogLine) });
  return { log, lines, messages: () => lines.map((line) => line.msg) };
}
