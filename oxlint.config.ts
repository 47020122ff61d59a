// What the linter holds: the usual bugs of a job service (promises that nobody waits for), files that fit a room, and the one
// direction of the house: main/app → doors → work → hands → words. Each outside library is imported in one folder.

import { defineConfig, type OxlintOverride } from 'oxlint';

const doors = ['api/**', 'web/**', 'cli/**', 'auth/guard.ts', 'server.ts'];
const node = ['node/heartbeat.ts', 'node/name.ts', 'node/database-clock.ts', 'node/health.ts'];
const work = [
  'crontab/ticker.ts',
  'jobs/manage.ts',
  'runs/perform.ts',
  'runs/spool.ts',
  'runs/spool-files.ts',
  'runs/audit.ts',
  'runs/cut-off.ts',
  'runs/control.ts',
  'runs/upkeep.ts',
  'runs/events.ts',
  'runs/worker.ts',
  'runs/fallback.ts',
  ...node,
];
const configuration = ['config.ts', 'settings.ts', 'environment.ts', 'toml.ts'];
const hands = ['store/**', 'queue/**', 'executors/**', 'observe/**', 'embedded.ts', 'embedded/**', ...configuration];
const top = ['main.ts', 'app.ts', 'built-in.ts', 'node/joining.ts', 'node/self-watch.ts', 'worker-duty.ts'];
const contract = 'executors/executor.ts';

// Who may import which library. Node's own that start processes count among them.
const libraries: Record<string, string[]> = {
  bullmq: ['queue/**'],
  ioredis: ['queue/**'],
  pg: ['queue/**', 'store/**'],
  'drizzle-orm': ['store/**'],
  hono: ['api/**', 'auth/**', 'server.ts', 'web/**'],
  '@hono/node-server': ['server.ts'],
  undici: ['executors/**'],
  'smol-toml': ['config.ts', 'settings.ts', 'environment.ts', 'toml.ts'],
  cronstrue: ['crontab/**'],
  pino: ['observe/**'],
  'pino-pretty': ['observe/**'],
  'prom-client': ['observe/**'],
  '@opentelemetry/api': ['observe/**'],
  'node:child_process': ['executors/**', 'embedded.ts', 'embedded/**'],
};

/** The rule for some rooms of src/: which other rooms they may not import, and which libraries are not theirs. */
function room(files: string[], forbidden: string[], allowed: string[] = []): OxlintOverride {
  const lent = Object.entries(libraries).filter(([, owners]) => !files.every((file) => owners.some((owner) => isWithin(file, owner))));
  return {
    files: files.map((file) => `src/${file}`),
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group: [...forbidden.map((file) => `**/${file}`), ...allowed.map((file) => `!**/${file}`)],
              message: 'Imports point down only: main/app → doors → work → hands → words.',
            },
            ...lent.map(([name, owners]) => ({ group: [name, `${name}/*`], message: `Only ${owners.join(', ')} may import ${name}.` })),
          ].filter(({ group }) => group.length > 0),
        },
      ],
    },
  };
}

function isWithin(file: string, owner: string): boolean {
  return file === owner || (owner.endsWith('/**') && file.startsWith(owner.slice(0, -2)));
}

const notBelowDoors = [...top, ...doors];
const notBelowWork = [...notBelowDoors, ...work];
// What work is handed, never imports: the queue, and the executors but for their contract.
const handedIn = ['queue/**', 'executors/**', 'embedded.ts', 'embedded/**', 'store/database.ts'];

export default defineConfig({
  plugins: ['typescript', 'unicorn', 'oxc', 'import', 'promise', 'node'],
  categories: { correctness: 'error', suspicious: 'error' },
  options: { typeAware: true, denyWarnings: true },
  ignorePatterns: ['dist', 'data'],
  rules: {
    'typescript/no-floating-promises': [
      'error',
      { allowForKnownSafeCalls: [{ from: 'package', package: 'node:test', name: ['describe', 'it', 'test', 'suite', 'before', 'after'] }] },
    ],
    'typescript/no-misused-promises': 'error',
    'typescript/await-thenable': 'error',
    'typescript/switch-exhaustiveness-check': 'error',
    'typescript/no-explicit-any': 'error',
    'typescript/no-non-null-assertion': 'error',
    'typescript/no-unsafe-assignment': 'error',
    'typescript/no-unsafe-return': 'error',
    'typescript/consistent-type-imports': 'error',
    'typescript/return-await': 'off',
    'typescript/no-unsafe-type-assertion': 'off',
    'import/no-cycle': 'error',
    'no-console': 'error',
    'max-lines': ['error', { max: 300 }],
    complexity: ['error', { max: 12 }],
    'no-await-in-loop': 'off',
    'no-unmodified-loop-condition': 'off',
    'import/no-named-as-default-member': 'off',
    'promise/always-return': 'off',
    'unicorn/no-array-sort': 'off',
    'unicorn/consistent-function-scoping': 'off',
    'no-underscore-dangle': 'off',
  },
  overrides: [
    room(['api/**'], top),
    room(['cli/**'], top),
    room(['auth/guard.ts'], top),
    room(['server.ts'], top),
    room(['crontab/ticker.ts'], [...notBelowDoors, ...handedIn], [contract]),
    room(['jobs/manage.ts', 'jobs/written.ts', 'runs/*.ts', ...node], [...notBelowDoors, ...handedIn], [contract]),
    room(['store/**'], [...notBelowWork, ...hands.filter((hand) => hand !== 'store/**')], [contract]),
    room(['queue/**'], [...notBelowWork, ...hands.filter((hand) => hand !== 'queue/**')], ['observe/log.ts']),
    room(['executors/**'], [...notBelowWork, ...hands.filter((hand) => hand !== 'executors/**')]),
    room(['observe/**'], [...notBelowWork, ...hands.filter((hand) => hand !== 'observe/**')]),
    room(['embedded.ts', 'embedded/**'], [...notBelowWork, ...hands.filter((hand) => !hand.startsWith('embedded'))]),
    room(configuration, [...notBelowWork, ...hands.filter((hand) => !configuration.includes(hand))], [contract]),
    // Words are pure and know nobody but words.
    room(
      [
        'clock.ts',
        'errors.ts',
        'faults.ts',
        'shapes.ts',
        'node/readiness.ts',
        'node/clock-guard.ts',
        'runs/lifecycle.ts',
        'jobs/definition.ts',
        'jobs/crontab-*.ts',
      ],
      [...notBelowWork, ...hands],
      [contract],
    ),
    room(
      'bits calendar due expression fields pattern schedule schedules zone written wording sentence moment clock-changes preview collisions simulate'
        .split(' ')
        .map((word) => `crontab/${word}.ts`),
      [...notBelowWork, ...hands],
    ),
    // Plain JavaScript, of which nobody knows the types; an old Node has to be able to start it.
    { files: ['bin/**'], rules: { 'typescript/no-unsafe-assignment': 'off', 'typescript/no-unsafe-return': 'off' } },
    { files: ['src/main.ts', 'bench/**', 'test/**'], rules: { 'no-console': 'off' } },
  ],
});
