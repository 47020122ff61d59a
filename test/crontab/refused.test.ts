import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { parseExpression } from '../../src/crontab/expression.ts';
import { Refusal } from '../../src/errors.ts';

const seed = Number(process.env['BELFRY_SEED'] ?? 20_261_121);

function refusalOf(expr: string, timezone = 'UTC'): string {
  try {
    parseExpression(expr, timezone, 'job');
  } catch (thrown) {
    assert.ok(thrown instanceof Refusal, String(thrown));
    assert.equal(thrown.kind, 'bad_input');
    return thrown.message;
  }
  return 'understood';
}

describe('an expression that is refused', () => {
  const refused: [expr: string, message: RegExp][] = [
    ['', /^expr: expected 5 fields .* got ""$/],
    ['   ', /^expr: expected 5 fields/],
    ['* * * *', /^expr: expected 5 fields .* got "\* \* \* \*"$/],
    ['* * * * * * * *', /^expr: expected 5 fields/],
    ['60 * * * *', /^expr: minute: expected 0-59, got "60" at column 1$/],
    ['61 * * * * *', /^expr: second: expected 0-59, got "61" at column 1$/],
    ['0  24 * * *', /^expr: hour: expected 0-23, got "24" at column 4$/],
    ['0 0 0 * *', /^expr: day of month: expected 1-31, got "0" at column 5$/],
    ['0 0 1 13 *', /^expr: month: expected 1-12 or JAN-DEC, got "13" at column 7$/],
    ['0 0 1 juneish *', /^expr: month: expected 1-12 or JAN-DEC, got "juneish"/],
    ['0 0 * * 8', /^expr: day of week: expected 0-7 or SUN-SAT, got "8" at column 9$/],
    [
      '0 0 1 1 * 2028',
      /^expr: day of week: .* got "2028" at column 11 \(six fields begin with the second and have no year; a year needs seven/,
    ],
    ['0 9 31 12 * 2028-2030', /^expr: day of week: .* got "2028-2030" at column 13 \(six fields .* a year needs seven/],
    ['1,2,x * * * *', /^expr: minute: expected 0-59, got "x" at column 5$/],
    ['1,,2 * * * *', /^expr: minute: expected 0-59, got "" at column 3$/],
    ['1-2-3 * * * *', /^expr: minute: expected 0-59, got "1-2-3"/],
    ['-5 * * * *', /^expr: minute: expected 0-59, got "-5"/],
    ['1.5 * * * *', /^expr: minute: expected 0-59, got "1.5"/],
    ['1e1 * * * *', /^expr: minute: expected 0-59, got "1e1"/],
    ['*/0 * * * *', /^expr: minute: expected a step from 1 to 60 after the \/, got "\*\/0"/],
    ['*/90 * * * *', /^expr: minute: expected a step from 1 to 60/],
    ['*/ * * * *', /^expr: minute: expected a step/],
    ['*/2/2 * * * *', /^expr: minute: expected 0-59/],
    ['0 0 L-31 * *', /^expr: day of month: expected L or L-1 to L-30, got "L-31" at column 5$/],
    ['0 0 L-0 * *', /^expr: day of month: expected L or L-1 to L-30, got "L-0"/],
    ['0 0 32W * *', /^expr: day of month: expected 1-31, L, L-3, LW or 15W, got "32W"/],
    ['0 0 1-5W * *', /^expr: day of month: expected 1-31, L, L-3, LW or 15W, got "1-5W"/],
    ['0 0 5,W * *', /^expr: day of month: expected 1-31, L, L-3, LW or 15W, got "W" at column 7$/],
    ['0 0 L/2 * *', /^expr: day of month: expected 1-31, L, L-3, LW or 15W, got "L\/2"/],
    ['0 L * * *', /^expr: hour: expected 0-23, got "L" at column 3$/],
    ['0 0 * * L', /^expr: day of week: expected a weekday before L, as in 5L or FRIL, got "L"/],
    ['0 0 * * 8L', /^expr: day of week: expected a weekday before L/],
    ['0 0 * * 1-5#2', /^expr: day of week: expected a weekday before #, as in 5#2 or FRI#2, got "1-5#2"/],
    ['0 0 * * 5#2#3', /^expr: day of week: expected 1 to 5 after #/],
    ['0 0 * * +', /^expr: day of week: expected 0-7 or SUN-SAT, got "" at column 10$/],
    ['0 0 * * ++1', /^expr: day of week: expected 0-7 or SUN-SAT, got "\+1" at column 10$/],
    ['0 0 +1 * *', /^expr: day of month: expected 1-31, got "\+1"/],
    ['0 0 0 * * * 1969', /^expr: year: expected 1970-2099, got "1969" at column 13$/],
    ['0 0 0 * * * 2100', /^expr: year: expected 1970-2099, got "2100"/],
    ['0 0 0 * * * 2030-2028', /^expr: year: expected a range from the earlier to the later year, got "2030-2028"/],
    ['0 0 0 * * * H', /^expr: year: expected 1970-2099, got "H"/],
    ['0 0 0 * * 8 2030', /^expr: day of week: expected 0-7 or SUN-SAT, got "8" at column 11$/],
    ['0 0 * * 1#6', /^expr: day of week: expected 1 to 5 after #/],
    ['H(9-3) * * * *', /^expr: minute: expected a range within 0-59 after H/],
    ['H(0-99) * * * *', /^expr: minute: expected a range within 0-59 after H/],
    ['0 0 30 2 *', /^expr: "0 0 30 2 \*" never fires/],
    ['0 0 31 4,6,9,11 *', /^expr: "0 0 31 4,6,9,11 \*" never fires/],
    ['0 0 31W 2 *', /never fires/],
    ['0 0 L-30 2,4 *', /never fires/],
    ['0 0 1 * +MON#2', /never fires/],
    ['0 0 0 29 2 * 2030', /never fires/],
    ['@at', /^expr: expected @at and a moment with its offset such as 2030-01-23T09:00:00\+01:00, got ""$/],
    ['@at tomorrow', /^expr: expected @at and a moment with its offset .* got "tomorrow"$/],
    ['@at 2030-01-23T09:00:00', /^expr: expected @at and a moment with its offset/],
    ['@at 2030-01-23', /^expr: expected @at and a moment with its offset/],
    ['@at 2030-02-30T09:00:00Z', /^expr: expected @at and a moment with its offset/],
    ['@at 2030-01-23T24:00:00Z', /^expr: expected @at and a moment with its offset/],
    ['@at 2030-01-23T09:00:60Z', /^expr: expected @at and a moment with its offset/],
    ['@at 2030-01-23T09:00:00.5Z', /^expr: expected @at and a moment with its offset/],
    ['@at 2030-01-23T09:00:00+25:00', /^expr: expected @at and a moment with its offset/],
    ['@at 1066-10-14T09:00:00Z', /^expr: expected @at and a moment from 1970 to 2199, got "1066-/],
    ['@at 2200-01-01T00:00:00Z', /^expr: expected @at and a moment from 1970 to 2199/],
    ['@every', /^expr: expected @every and a duration of whole seconds such as 5m or 1h30m, got ""$/],
    ['@every 5', /^expr: expected @every and a duration/],
    ['@every 500ms', /^expr: expected @every and a duration/],
    ['@every 1.5s', /^expr: expected @every and a duration/],
    ['@every -5m', /^expr: expected @every and a duration/],
    ['@reboot', /^expr: @reboot is not understood/],
    ['@dayly', /; did you mean "@daily"\?$/],
    ['@daily @daily', /^expr: expected five to seven fields, a word such as "@daily", @every or @at, got "@daily @daily"/],
    ['@toString', /^expr: expected five to seven fields/],
    ['* * * *\n*', /^expr: expected 5 fields .*\\n/],
    ['*\u00a0* * * *', /^expr: expected 5 fields/],
    ['TZ=Mars/Phobos * * * * *', /^expr: expected an IANA time zone .* got "Mars\/Phobos"$/],
    ['TZ= * * * * *', /^expr: expected an IANA time zone .* got ""$/],
    ['0,'.repeat(200), /^expr: expected at most 256 characters, got 400$/],
  ];
  for (const [expr, message] of refused) {
    test(`${JSON.stringify(expr.slice(0, 40))} is refused, telling what was expected`, () => assert.match(refusalOf(expr), message));
  }

  test('never fires where its only day is in a gap', () => {
    assert.match(refusalOf('0 */5 2 8 3 * 2026', 'America/New_York'), /^expr: "0 \*\/5 2 8 3 \* 2026" never fires/);
    assert.equal(refusalOf('0 5 2 8 3 * 2026', 'America/New_York'), 'understood');
    assert.match(refusalOf('0 */5 * 30 12 * 2011', 'Pacific/Apia'), /never fires/);
  });

  test('may have been due in the past only, for it knows no now', () => {
    assert.equal(parseExpression('0 0 0 1 1 * 1999', 'UTC', 'job').next(new Date('2026-01-01')), undefined);
    assert.equal(parseExpression('@at 1999-01-01T00:00:00Z', 'UTC', 'job').next(new Date('2026-01-01')), undefined);
  });

  test('may not be in another time zone than its job', () => {
    const expected = /^expr: expected the time zone of the job, "UTC", got "Europe\/Berlin"$/;
    for (const expr of ['CRON_TZ=Europe/Berlin 0 3 * * *', 'TZ=Europe/Berlin @daily', 'TZ=Europe/Berlin @every 5m']) {
      assert.match(refusalOf(expr), expected);
    }
  });

  test('tells columns of the text as it was written', () => {
    assert.match(refusalOf('  TZ=UTC  0 24 * * *  '), /got "24" at column 13$/);
    assert.match(refusalOf('\t0 0 1,2,32 * *'), /got "32" at column 10$/);
  });

  for (const zone of ['Mars/Phobos', '../../etc/passwd', '', ' ', 'local', '+01:00', 'UTC+3', 'Europe/Berlin\0', 'a'.repeat(1e5)]) {
    test(`the time zone ${JSON.stringify(zone.slice(0, 30))} is refused`, () => {
      assert.match(refusalOf('* * * * *', zone), /^timezone: expected an IANA time zone such as "Europe\/Berlin" or "UTC", got /);
    });
  }

  test('is either understood or refused, whatever is written, and then never throws', () => {
    fc.assert(
      fc.property(anything(), fc.date({ noInvalidDate: false }), (expr, moment) => {
        if (refusalOf(expr) !== 'understood') return;
        const schedule = parseExpression(expr, 'UTC', 'job');
        schedule.next(moment);
        schedule.previous(moment);
        schedule.count(new Date(0), moment);
      }),
      { seed, numRuns: 5000 },
    );
  });

  test('costs no more than a thousand ordinary ones, whatever is written', () => {
    const ordinary = (): void => void parseExpression('*/5 1-3 * * MON-FRI', 'Europe/Berlin', 'job');
    for (let warm = 0; warm < 2000; warm++) ordinary();
    const thousand = (): number =>
      quickest(5, () => {
        for (let time = 0; time < 1000; time++) ordinary();
      });
    const limit = thousand();
    const hostile = [
      ...refused.map(([expr]) => expr),
      ...['*/1,', '0-59,', 'H,', '1#1,', 'L,', '* ', 'TZ=', '@at ', '@every ', '1d', '9', '/', '-', ' ', '\0', '\ud800'].map((text) =>
        text.repeat(256).slice(0, 256),
      ),
      '59 59 23 31 12 +6#5 2099',
      '0 0 0 29 2 +0 2099',
      '* * * 29W 2 +6 *',
      '* * 31 1-12/2 +6#5',
      '0 0 30,31,30W,31W 2 *',
      '0 */5 2 8-14 3 +SUN 2007-2099',
      `${'0,'.repeat(50)}0 ${'0-59,'.repeat(10)}0 * * *`,
      ...fc.sample(anything(), { seed, numRuns: 2000 }),
    ];
    const cost = (expr: string): number => quickest(3, () => refusalOf(expr, 'America/New_York'));
    // The machine may be slower than it was: then both are measured as it is now.
    for (const expr of hostile) assert.ok(cost(expr) < limit || cost(expr) < thousand(), JSON.stringify(expr));
  });
});

// Up to 256 characters, of those that mean something and of all others.
function anything(): fc.Arbitrary<string> {
  const character = fc.constantFrom(...'0123456789*/,-?LWH#+@ ()=\n\0aFRIé\ud800'.split(''), ' ', ' ', '*', '* ', 'TZ=', '@every ', '@at ');
  const field = fc.string({ unit: character, maxLength: 8 });
  const fields = fc.array(field, { minLength: 5, maxLength: 7 }).map((texts) => texts.join(' '));
  return fc.oneof(fc.string({ maxLength: 256 }), fc.string({ unit: character, maxLength: 256 }), fields);
}

function quickest(times: number, work: () => unknown): number {
  let least = Infinity;
  for (let time = 0; time < times; time++) {
    const begun = performance.now();
    work();
    least = Math.min(least, performance.now() - begun);
  }
  return least;
}
