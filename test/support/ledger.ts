// A ledger outside of Belfry: the commands of jobs write down themselves that they begin and end, a line each, so that
// executions are counted by nobody's word but their own.

import { readFile } from 'node:fs/promises';

/** One word of a command, in the order in which they were written. `runId` and `attempt` are what its environment says. */
export type Line = {
  readonly job: string;
  readonly runId: number;
  readonly attempt: number;
  readonly dueAt: number;
  readonly event: 'begin' | 'end';
  readonly pid: number;
  readonly at: number;
};

export type Ledger = {
  readonly lines: readonly Line[];
  /** What is no whole line: there must be none. */
  readonly torn: readonly string[];
};

/** How a command that is meant to fail ends. */
export const failingExit = 3;

/**
 * A shell command that enters itself at its begin and at its end. `during` is what it does between (`sleep 0.2`), `exit` how it
 * ends, each as the shell would have it: `$BELFRY_ATTEMPT` is known. A line is one write of less than PIPE_BUF to a file that
 * is open for appending, so that no two mix; the dot at its end tells that it is whole.
 */
export function ledgerCommand(file: string, { during = ':', exit = '0' }: { during?: string; exit?: string } = {}): string {
  const words = `"$BELFRY_JOB" "$BELFRY_RUN_ID" "$BELFRY_ATTEMPT" "$BELFRY_DUE_AT" "$1" "$$" "$(date +%s%3N)"`;
  return [`enter() { printf '%s %s %s %s %s %s %s .\\n' ${words} >> '${file}'; }`, 'enter begin', during, 'enter end', `exit ${exit}`].join(
    '; ',
  );
}

/** Reads a ledger; one that nobody wrote to yet is empty. */
export async function readLedger(file: string): Promise<Ledger> {
  const text = await readFile(file, 'utf8').catch((fault: NodeJS.ErrnoException) => {
    if (fault.code === 'ENOENT') return '';
    throw fault;
  });
  return parseLedger(text);
}

const whole = /^(\S+) (\d+) (\d+) (\d{4}-\S+Z) (begin|end) (\d+) (\d+) \.$/;

/** The lines of a ledger's text. */
export function parseLedger(text: string): Ledger {
  const lines: Line[] = [];
  const torn: string[] = [];
  const given = text.split('\n');
  // After the last line there is nothing; what is there is half a line, or one that is just being written.
  const rest = given.pop();
  for (const each of given) {
    const [, job = '', runId, attempt, due = '', event, pid, at] = whole.exec(each) ?? [];
    if (event !== 'begin' && event !== 'end') torn.push(each);
    else
      lines.push({ job, runId: Number(runId), attempt: Number(attempt), dueAt: Date.parse(due), event, pid: Number(pid), at: Number(at) });
  }
  return { lines, torn: rest ? [...torn, rest] : torn };
}
