// The contract of an executor: how one attempt of a run is done. A new kind is a module that exports one of these;
// shell and http are the two that come with the house (a third is named in config.toml: [executors.NAME] module = "…").

/** How an attempt ended. */
export type Outcome = 'succeeded' | 'failed' | 'timed_out' | 'cancelled' | 'lost';

/** Why an attempt is told to stop before its time: by a person, or because this node shuts down. */
export type StopReason = 'cancelled' | 'interrupted';

/** The end of the run that another one comes after. */
export type PreviousRun = {
  readonly job: string;
  readonly runId: string;
  readonly state: string;
  /** What it said: a command's output, an answer's body, else its result as JSON; the beginning of it. */
  readonly result: string;
};

/** What an executor is told about the attempt it shall make. */
export type AttemptRequest<C = unknown> = {
  /** The command as the executor's own `parse` returned it. */
  readonly command: C;
  readonly job: string;
  readonly runId: string;
  /** 1 for the first try. */
  readonly attempt: number;
  readonly dueAt: Date;
  readonly cause: string;
  /** The same over the retries of one run: `<job>:<due time, ISO>`. */
  readonly idempotencyKey: string;
  /** The run that this one comes after, of a chained job. */
  readonly previous?: PreviousRun;
  /** W3C traceparent of this attempt. */
  readonly traceparent: string;
  /** Milliseconds from the start of the attempt to its forced end. */
  readonly timeoutMs: number;
  /** Milliseconds from TERM to KILL. */
  readonly killGraceMs: number;
  /** Names this process on everything it starts, so that leftovers of a crash are found again. */
  readonly marker: string;
  /** Whether the output is kept in the result. */
  readonly keepOutput: boolean;
  /** Aborted with a StopReason as its `reason`. */
  readonly signal: AbortSignal;
};

/** What an attempt came to. Never thrown: a command that fails is a value. */
export type AttemptResult = {
  readonly outcome: Outcome;
  /**
   * Whether the effect is known. A request that was sent and got no answer is not: the job's `on_lost` decides then
   * whether it may be tried again.
   */
  readonly known: boolean;
  /** In plain words why it did not succeed: `exit status 3`. */
  readonly error?: string;
  readonly exitCode?: number;
  /** HTTP status of the answer. */
  readonly status?: number;
  /** How long the other side asked us to wait (Retry-After), in milliseconds. */
  readonly retryAfterMs?: number;
  /** JSON kept with the run and shown by /getJobRecordResult. Without NUL and lone surrogates. */
  readonly result: Record<string, unknown>;
};

/** One way to do it. */
export type Executor<C = unknown> = {
  /** The `type` of the commands it takes. */
  readonly type: string;
  readonly defaults: { readonly maxAttempts: number; readonly timeoutMs: number };
  /**
   * Checks a command as written down (TOML or JSON, snake_case, with its `type`) and returns it normalised, as plain
   * JSON that `parse` accepts again. Throws an Error whose message names the field, what was expected and what came.
   */
  readonly parse: (command: Record<string, unknown>) => C;
  readonly execute: (request: AttemptRequest<C>) => Promise<AttemptResult>;
};
