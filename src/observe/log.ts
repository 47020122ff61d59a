// Log lines: JSON for machines, coloured text on a terminal. One line per thing that happened.

import { pino, type Logger } from 'pino';
import pretty from 'pino-pretty';

export type Log = Logger;

/**
 * The log of this process, on standard output. `auto` is readable text on a terminal and JSON elsewhere. Lines carry `time`
 * (ISO 8601, UTC), `level`, `msg` (a stable event name) and fields; never a command's output, a header or a secret.
 */
export function makeLog(options: { readonly level: string; readonly format: 'auto' | 'json' | 'pretty' }): Log {
  const readable = options.format === 'pretty' || (options.format === 'auto' && process.stdout.isTTY);
  const common = {
    level: options.level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  if (!readable) return pino(common);
  const stream = pretty({ colorize: process.stdout.isTTY, translateTime: 'SYS:HH:MM:ss.l', singleLine: true, ignore: 'pid,hostname', sync: true });
  return pino(common, stream);
}
