/**
 * Amounts and times as a viewer reads them. Money is `bigint` from end to end; only the digits are grouped by
 * the locale, so no amount ever passes through a floating-point number.
 */

const SAT_PER_MBTC_DIGITS = 5;
const SAT_PER_BTC_DIGITS = 8;
const MSAT_PER_SAT_DIGITS = 3;
const MINUTES_PER_BLOCK = 10;
const MINUTES_PER_DAY = 24 * 60;

/** Rounds up: what is owed is never shown smaller than it is. */
export function satFromMsat(msat: bigint): bigint {
  return (msat + 999n) / 1000n;
}

/**
 * Whole units (seconds, bytes or requests) that an amount surely buys. Where the number of payments is bounded, one payment
 * is counted for each unit.
 */
export function unitsFor(sat: bigint, priceMsat: bigint, payments: number | null = null): bigint {
  const units = priceMsat > 0n ? (sat * 1000n) / priceMsat : 0n;
  return payments !== null && BigInt(payments) < units ? BigInt(payments) : units;
}

export class Format {
  readonly #integer: Intl.NumberFormat;
  readonly #point: string;

  constructor(readonly locale: string) {
    this.#integer = new Intl.NumberFormat(locale);
    this.#point =
      new Intl.NumberFormat(locale).formatToParts(1.5).find((part) => part.type === 'decimal')?.value ?? '.';
  }

  /** `3600000n` as "3,600,000 sat". */
  sat(sat: bigint): string {
    return `${this.#integer.format(sat)} sat`;
  }

  /** `3600000n` as "36 mBTC". */
  mbtc(sat: bigint): string {
    return `${this.#decimal(sat, SAT_PER_MBTC_DIGITS)} mBTC`;
  }

  /** `3600000n` as "0.036 BTC". */
  btc(sat: bigint): string {
    return `${this.#decimal(sat, SAT_PER_BTC_DIGITS)} BTC`;
  }

  /** `3600000n` as "0.036", in whatever language: for wallets to read. */
  plainBtc(sat: bigint): string {
    return decimal(sat, SAT_PER_BTC_DIGITS, String, '.');
  }

  /** `1500n` as "1.5 sat". */
  msat(msat: bigint): string {
    return `${this.#decimal(msat, MSAT_PER_SAT_DIGITS)} sat`;
  }

  /** A count. */
  count(value: number | bigint): string {
    return this.#integer.format(value);
  }

  /** Seconds as a clock: "0:42", "1:02:03". */
  clock(seconds: number | bigint): string {
    const whole = Math.max(0, Math.floor(Number(seconds)));
    const pad = (n: number) => String(n).padStart(2, '0');
    const hours = Math.floor(whole / 3600);
    const minutes = Math.floor(whole / 60) % 60;
    return hours > 0 ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
  }

  /** Seconds in words, in one or two parts: "1 hour", "2 minutes 30 seconds". */
  duration(seconds: number | bigint): string {
    const whole = Math.max(0, Math.floor(Number(seconds)));
    const parts: [number, 'hour' | 'minute' | 'second'][] = [
      [Math.floor(whole / 3600), 'hour'],
      [Math.floor(whole / 60) % 60, 'minute'],
      [whole % 60, 'second'],
    ];
    const first = parts.findIndex(([value]) => value > 0);
    if (first < 0) return this.#unit(0, 'second');
    return parts
      .slice(first, first + 2)
      .filter(([value]) => value > 0)
      .map(([value, unit]) => this.#unit(value, unit))
      .join(' ');
  }

  /** About how long it takes until so many blocks are found, in words: "7 days", "3 hours". */
  blocks(count: number): string {
    const minutes = Math.max(0, count) * MINUTES_PER_BLOCK;
    return minutes < MINUTES_PER_DAY ? this.#unit(Math.ceil(minutes / 60), 'hour') : this.days(Math.round(minutes / MINUTES_PER_DAY));
  }

  /** A number of days, in words. */
  days(count: number): string {
    return this.#unit(count, 'day');
  }

  /** A time in seconds since 1970, as a date with hour and minute. */
  date(seconds: number): string {
    return new Intl.DateTimeFormat(this.locale, { dateStyle: 'medium', timeStyle: 'short' }).format(seconds * 1000);
  }

  #unit(value: number, unit: 'day' | 'hour' | 'minute' | 'second'): string {
    return new Intl.NumberFormat(this.locale, { style: 'unit', unit, unitDisplay: 'long' }).format(value);
  }

  #decimal(value: bigint, digits: number): string {
    return decimal(value, digits, (whole) => this.#integer.format(whole), this.#point);
  }
}

function decimal(value: bigint, digits: number, whole: (value: bigint) => string, point: string): string {
  const base = 10n ** BigInt(digits);
  const rest = (value % base).toString().padStart(digits, '0').replace(/0+$/, '');
  return whole(value / base) + (rest ? point + rest : '');
}
