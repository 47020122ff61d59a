// An executor of your own: commands of the type "log-line" append one line of JSON to a file.
//
// In config.toml, with a path relative to it:
//
//     [executors.log-line]
//     module = "examples/log-line.js"
//
//     [[jobs]]
//     name = "leave a trace"
//     expr = "@hourly"
//     command = { type = "log-line", file = "/var/log/trace.jsonl", text = "still here" }
//
// A module exports one object with the four parts below, or a function that is given its table of config.toml (here
// `{ module: "examples/log-line.js" }`) and returns that object. It may be JavaScript or TypeScript, and import what it
// likes. It runs inside Belfry's process: long computations belong into a worker thread or a program of their own.

import { appendFile } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';

const known = ['type', 'file', 'text', 'wait_ms'];

/**
 * Checks a command when a job is saved, not when it runs. Says in its message what was expected and what came.
 * @param {Record<string, unknown>} command as written: `{ type, file, text, wait_ms }`
 */
function parse(command) {
  const faults = [];
  for (const key of Object.keys(command)) {
    if (!known.includes(key)) faults.push(`command.${key}: expected one of ${known.join(', ')}, got an unknown key`);
  }
  const { file, text, wait_ms: waitMs = 0 } = command;
  if (typeof file !== 'string' || !file.startsWith('/') || file.includes('\0')) {
    faults.push(`command.file: expected an absolute path, got ${JSON.stringify(file)}`);
  }
  if (typeof text !== 'string') faults.push(`command.text: expected a text, got ${JSON.stringify(text)}`);
  if (!Number.isInteger(waitMs) || waitMs < 0) {
    faults.push(`command.wait_ms: expected milliseconds to wait first, got ${JSON.stringify(waitMs)}`);
  }
  if (faults.length > 0) throw new Error(faults.join('; '));
  // Plain JSON, which `parse` accepts again: it is stored with the job and with every run.
  return { type: 'log-line', file, text, wait_ms: waitMs };
}

/**
 * Makes one attempt. A failure is a value; what is thrown counts as failed, its effect unknown.
 * @param {import('../src/executors/executor.ts').AttemptRequest<{ file: string, text: string, wait_ms: number }>} request
 * @returns {Promise<import('../src/executors/executor.ts').AttemptResult>}
 */
async function execute(request) {
  const { command, job, runId, attempt, dueAt, traceparent, timeoutMs, signal } = request;
  // One signal for both: the timeout, and a person or the end of the service (`signal.reason` says which).
  const deadline = AbortSignal.timeout(timeoutMs);
  const stop = AbortSignal.any([signal, deadline]);
  const line = JSON.stringify({ text: command.text, job, runId, attempt, dueAt, traceparent });
  try {
    await setTimeout(command.wait_ms, undefined, { signal: stop });
    await appendFile(command.file, `${line}\n`);
    return { outcome: 'succeeded', known: true, result: { line, err: '<nil>' } };
  } catch (thrown) {
    const error = stop.aborted ? reasonOf(signal, timeoutMs) : String(thrown);
    const outcome = stop.aborted ? outcomeOf(signal) : 'failed';
    // Nothing was written yet, so the effect is known: none.
    return { outcome, known: true, error, result: { err: error } };
  }
}

/** @param {AbortSignal} signal */
function outcomeOf(signal) {
  if (!signal.aborted) return 'timed_out';
  return signal.reason === 'cancelled' ? 'cancelled' : 'failed';
}

/** @param {AbortSignal} signal @param {number} timeoutMs */
function reasonOf(signal, timeoutMs) {
  if (!signal.aborted) return `timed out after ${timeoutMs}ms`;
  return signal.reason === 'cancelled' ? 'cancelled' : 'interrupted: the service was shut down';
}

export default {
  type: 'log-line',
  // For jobs that do not say otherwise.
  defaults: { maxAttempts: 1, timeoutMs: 10_000 },
  parse,
  execute,
};
