// `npm run faults`: writes the table of the faults that are tried into the README.

import { writeFile } from 'node:fs/promises';
import { readmeFile, readmeWithTable } from './fault-list.ts';

await writeFile(readmeFile, await readmeWithTable());
