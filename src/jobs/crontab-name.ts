// A name for a job that never had one. Pure.

const wrappers =
  /^(sudo|nice|ionice|nohup|exec|time|env|timeout|flock|chronic|cd|test|command|export|if|then|sh|bash|dash|zsh|ksh|php|python[\d.]*|perl|ruby|node)$/;

/** The program that a command is about, as a name that no other has. `taken` counts them by what they begin with. */
export function nameFor(command: string, taken: Map<string, number>): string {
  const words = command.replaceAll(/[;&|()<>"'`{}[\]]+/g, ' ').split(/\s+/);
  const programs = words.flatMap((word, index) => {
    // What follows cd is a folder, and a test asks for a file.
    if (/^(cd|-[a-z])$/.test(words[index - 1] ?? '') || /^[-\d$!%=+]|=/.test(word)) return [];
    const base = (word.split('/').findLast((part) => part !== '') ?? '').replace(/\.(sh|bash|py|pl|rb|php|js|exe)$/, '');
    const name = base
      .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
      .replaceAll(/^[-.]+|[-.]+$/g, '')
      .slice(0, 60);
    return name === '' || wrappers.test(name) ? [] : [name];
  });
  const base = programs[0] ?? 'job';
  const number = (taken.get(base) ?? 0) + 1;
  taken.set(base, number);
  const name = number === 1 ? base : `${base}-${number}`;
  if (number > 1 && taken.has(name)) return nameFor(command, taken);
  if (number > 1) taken.set(name, 1);
  return name;
}
