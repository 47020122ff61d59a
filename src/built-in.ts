// The executors that come with the house.

import type { Config } from './config.ts';
import { httpExecutor } from './executors/http.ts';
import type { Isolation } from './executors/namespace.ts';
import type { BuiltIn } from './executors/registry.ts';
import { shellExecutor } from './executors/shell.ts';

/** Makes them as the config wants them. */
export function builtInExecutors(config: Config, isolation: Isolation): BuiltIn[] {
  const { shell, http } = config.executors;
  const { outputLimitBytes } = config.worker;
  return [
    ...(shell.enabled ? [shellExecutor({ outputLimitBytes, inheritedEnv: config.inheritedEnv, isolation })] : []),
    // Loopback and private addresses are open as long as Belfry itself listens on loopback only, which is always so far.
    httpExecutor({
      responseLimitBytes: http.responseLimitBytes,
      keptBodyBytes: outputLimitBytes,
      allowAddress: () => true,
      userAgent: 'Belfry',
    }),
  ];
}
