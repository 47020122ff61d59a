// Civil dates in whole numbers: a date is the number of days since 1970-01-01. The way there and back is Howard Hinnant's
// ("chrono-Compatible Low-Level Date Algorithms", days_from_civil and civil_from_days), for years after 0.

/** The number of days of a month, 1 to 12. */
export function lengthOf(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return 30 + ((month + (month >> 3)) & 1);
}

/** 0 is Sunday; 1970-01-01 was a Thursday. */
export function weekdayOf(date: number): number {
  return (((date + 4) % 7) + 7) % 7;
}

/** The date of the first of a month. */
export function dateOf(year: number, month: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = (y / 400) | 0;
  const yearOfEra = y - era * 400;
  const dayOfYear = ((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) | 0;
  return era * 146_097 + yearOfEra * 365 + ((yearOfEra / 4) | 0) - ((yearOfEra / 100) | 0) + dayOfYear - 719_468;
}

/** The year, month and day of a date in one number, so that nothing is made for it; the three below take it apart. */
export function civilOf(date: number): number {
  const days = date + 719_468;
  const era = (days / 146_097) | 0;
  const dayOfEra = days - era * 146_097;
  const yearOfEra = ((dayOfEra - ((dayOfEra / 1460) | 0) + ((dayOfEra / 36_524) | 0) - ((dayOfEra / 146_096) | 0)) / 365) | 0;
  const dayOfYear = dayOfEra - (365 * yearOfEra + ((yearOfEra / 4) | 0) - ((yearOfEra / 100) | 0));
  const shifted = ((5 * dayOfYear + 2) / 153) | 0;
  const day = dayOfYear - (((153 * shifted + 2) / 5) | 0) + 1;
  const month = shifted < 10 ? shifted + 3 : shifted - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  return (year << 9) | (month << 5) | day;
}

/** The year of what `civilOf` made. */
export function yearOf(civil: number): number {
  return civil >> 9;
}

/** The month of what `civilOf` made, 1 to 12. */
export function monthOf(civil: number): number {
  return (civil >> 5) & 15;
}

/** The day of what `civilOf` made, 1 to 31. */
export function dayOf(civil: number): number {
  return civil & 31;
}
