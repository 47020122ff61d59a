// Log lines: JSON for machines, coloured text on a terminal. One line per thing that happened.

import { pino, type DestinationStream, type Logger } from 'pino';
import pretty from 'pino-pretty';
import type { Clock } from '../clock.ts';

export type Log = Logger;

/**
 * The log of this process, on standard output (or in the file `to`). `auto` is readable text on a terminal and JSON elsewhere. Lines carry `time`
 * (ISO 8601, UTC), `level`, `msg` (a stable event name) and fields; never a command's output, a header or a secret.
 */
export function makeLog(options: { readonly level: string; readonly format: 'auto' | 'json' | 'pretty'; readonly to?: string }): Log {
  const readable = options.format === 'pretty' || (options.format === 'auto' && process.stdout.isTTY);
  const common = {
    level: options.level,
    base: null,
    timestamp: timeField(),
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: shownFault },
  };
  const out = inTurns(options.to === undefined ? patient(process.stdout) : pino.destination(options.to));
  if (!readable) return pino(common, out);
  const format = pretty.prettyFactory({
    colorize: process.stdout.isTTY,
    translateTime: 'SYS:HH:MM:ss.l',
    messageFormat: asSentence,
    hideObject: true,
  });
  return pino(common, { write: (line) => out.write(format(line)) });
}

/** What pino puts into each line: `,"time":"2030-01-23T09:00:00.123Z"`. Under load many lines have the same millisecond. */
function timeField(): () => string {
  let at = 0;
  let field = '';
  return () => {
    const now = Date.now();
    if (now !== at) field = `,"time":"${new Date(now).toISOString()}"`;
    at = now;
    return field;
  };
}

/**
 * For what may go wrong many times a second: the first fault is told at once, those after it at most once a minute, with how many
 * `others` came meanwhile.
 */
export function seldom(
  clock: Pick<Clock, 'monotonic'>,
  tell: (fault: unknown, others: { readonly others?: number }) => void,
): (fault: unknown) => void {
  let toldAt = -Infinity;
  let others = 0;
  return (fault) => {
    if (clock.monotonic() - toldAt < seldomMs) {
      others++;
      return;
    }
    tell(fault, others > 0 ? { others } : {});
    toldAt = clock.monotonic();
    others = 0;
  };
}

const seldomMs = 60_000;

/** Writes together what one turn of the event loop logs: a line a system call is what costs most of a line. */
function inTurns(destination: DestinationStream): DestinationStream {
  let lines = '';
  const flush = (): void => {
    const written = lines;
    lines = '';
    if (written !== '') destination.write(written);
  };
  process.on('exit', flush);
  return {
    write: (line) => {
      if (lines === '') setImmediate(flush);
      lines += line;
    },
  };
}

const mostWaiting = 4 * 1024 * 1024;

/**
 * Waits for nobody: what a reader has not read yet is kept up to a limit, and what comes beyond it is left out, counted, and told
 * when there is room again. pino's own way to a pipe stops the whole process until somebody reads.
 */
function patient(stream: NodeJS.WriteStream): DestinationStream {
  let leftOut = 0;
  // Whoever read may have gone.
  stream.on('error', () => {});
  return {
    write: (lines) => {
      if (stream.writableLength > mostWaiting) {
        leftOut += lines.split('\n').length - 1;
        return;
      }
      if (leftOut > 0) {
        stream.write(`${JSON.stringify({ level: 'warn', time: new Date().toISOString(), lines: leftOut, msg: 'log_lines_left_out' })}\n`);
      }
      leftOut = 0;
      stream.write(lines);
    },
  };
}

/**
 * A fault as it may be logged: its name, code and where it was thrown. What a database adds to one (the failing row, the
 * parameters of the query) may hold what nobody shall read.
 */
function shownFault(fault: unknown): unknown {
  const shown = fault instanceof Error && 'query' in fault && fault.cause instanceof Error ? fault.cause : fault;
  if (!(shown instanceof Error)) return shown;
  const { name: type, message, stack } = shown;
  return { type, message, ...('code' in shown ? { code: shown.code } : {}), stack };
}

const told = new Set(['level', 'time', 'msg', 'job', 'trace_id', 'err']);

/** A line for a person: `execed_job hello  run 1, attempt 1, succeeded`; the trace id last, for who wants to follow it. */
function asSentence(line: Record<string, unknown>, messageKey: string): string {
  const fields = Object.entries(line).filter(([key]) => !told.has(key));
  const { job, trace_id: traceId, err } = line;
  return [
    String(line[messageKey]),
    ...(typeof job === 'string' ? [job] : []),
    ...fields.map(([key, value]) => `${key}=${typeof value === 'string' && /^[\w.:/+-]+$/.test(value) ? value : JSON.stringify(value)}`),
    ...(typeof traceId === 'string' ? [`trace=${traceId}`] : []),
    ...(typeof err === 'object' && err !== null && 'stack' in err ? [`\n${String(err.stack)}`] : []),
  ].join(' ');
}
