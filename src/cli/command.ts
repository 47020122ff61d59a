// What a sub-command is, and what it is handed.

import type { JobDefinition } from '../jobs/definition.ts';
import type { Kinds } from '../config.ts';
import type { Arguments, Options } from './arguments.ts';

/** What the sub-commands need of the process and of the parts above them. */
export type Deps = {
  readonly now: Date;
  readonly cwd: string;
  readonly version: string;
  /** Text for whoever asked, and words beside it: warnings, refusals. */
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** All that comes on standard input. */
  readonly readInput: () => Promise<string>;
  /** The jobs of a configuration file; without a name those of the one that Belfry would start with. Throws a ConfigError. */
  readonly loadJobs: (
    file: string | undefined,
  ) => Promise<{ readonly file: string | undefined; readonly definitions: readonly JobDefinition[] }>;
  /** The executors of the house, which judge commands. */
  readonly kinds: () => Promise<Kinds>;
};

export type Command = {
  /** What it is for, in a line. */
  readonly summary: string;
  /** What follows its name: `EXPR [options]`. */
  readonly usage: string;
  /** What else there is to know, under the options. */
  readonly more?: string;
  readonly options: Options;
  readonly mostPositionals: number;
  /** Does it; answers the exit code. Throws a Refusal. */
  readonly run: (deps: Deps, given: Arguments) => Promise<number>;
};

/** Exit codes, those above 2 as in sysexits.h. */
export const exits = { done: 0, failed: 1, refused: 2, unavailable: 69, badConfig: 78 } as const;
