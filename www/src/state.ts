/**
 * What the widget shows: one of these at a time.
 *
 * ```text
 *   restore: the viewer's words bring a deposit here that was made elsewhere; then as if money were at work here
 *
 *            Watch                choose             money seen          enough confirmations
 *   idle ──> connecting ──> offer ──────> deposit ──────────> confirming ──────────> ready ──> watching
 *                │                                                                     ▲          │ Stop
 *                └── money already at work here: goes on where it was ─────────────────┘          ▼
 *                                                        settled <── settling <──────────────────┘
 *   expired ──> returned: the deposit's term passed without a settlement; everything is taken back
 *   failed: nothing can go on until the viewer (or the site) does something
 * ```
 */
import type { ChannelSnapshot, Statement, Terms } from 'rillpay';
import type { Failure } from './failures';
import { unitsFor } from './format';

export type PlayerState =
  | { name: 'idle' }
  | { name: 'restore'; busy: boolean; failure: Failure | null }
  | { name: 'connecting' }
  /** `nothingFound`: the viewer's words are known now, but no deposit of theirs is at work at this site. */
  | { name: 'offer'; terms: Terms; choices: Choice[]; chosen: number; opening: boolean; nothingFound: boolean }
  | { name: 'deposit'; terms: Terms; snapshot: ChannelSnapshot; arrival: Arrival }
  | { name: 'confirming'; terms: Terms; snapshot: ChannelSnapshot; arrival: Arrival }
  /** Everything is there; the viewer's press starts the video, so that nobody pays who has walked off meanwhile. */
  | { name: 'ready'; terms: Terms; snapshot: ChannelSnapshot; resumed: boolean }
  | { name: 'watching'; terms: Terms; snapshot: ChannelSnapshot; playing: Playing }
  | { name: 'settling'; terms: Terms; snapshot: ChannelSnapshot }
  | { name: 'settled'; terms: Terms; snapshot: ChannelSnapshot; statement: Statement }
  | { name: 'expired'; terms: Terms; snapshot: ChannelSnapshot; busy: boolean; failure: Failure | null }
  | { name: 'returned'; terms: Terms; snapshot: ChannelSnapshot; txid: string | null }
  | { name: 'failed'; failure: Failure; snapshot: ChannelSnapshot | null };

/** An amount to put in and how long it lasts. */
export interface Choice {
  sat: bigint;
  /** Units of price it buys; no more than there can be payments. */
  units: bigint;
}

/** How far the viewer's payment has come. */
export interface Arrival {
  /** What arrived, confirmed or not; 0 before anything did. */
  sat: bigint;
  /** Confirmations there are and confirmations there have to be. */
  done: number;
  needed: number;
  /** What the page's own wallet holds and could be put in instead of a new payment; 0 if that would not do. */
  spareSat: bigint;
  /** What keeps the page from putting it in; it tries again by itself. */
  failure: Failure | null;
}

/** What is worth telling beside the running meter. */
export type Notice = 'reconnecting' | 'waiting_for_payment' | 'price_refused' | 'over_budget' | 'nearly_spent' | 'spent' | 'payments_spent' | 'expiring';

export interface Playing {
  status: 'playing' | 'paused' | 'loading' | 'ended';
  notice: Notice | null;
  /** Seconds into the video, and its length (0 while unknown). */
  position: number;
  duration: number;
}

const HOUR = 3600n;
const PRESET_SECONDS = [600n, 1800n, HOUR];

/**
 * The amounts to choose from: ten minutes, half an hour, an hour, and what the page asks for, within the operator's
 * bounds. Priced by byte or request, multiples of the page's amount or of the least deposit.
 */
export function choicesFor(terms: Terms, asked: bigint | null): { choices: Choice[]; chosen: number } {
  const { priceMsat, minDepositSat: min, maxDepositSat: max, maxPayments } = terms;
  const clamp = (sat: bigint) => (sat < min ? min : sat > max ? max : sat);
  const presets =
    terms.unit === 'second'
      ? PRESET_SECONDS.map((seconds) => (seconds * priceMsat + 999n) / 1000n)
      : [asked ?? min, 2n * (asked ?? min), 4n * (asked ?? min)];
  const preferred = clamp(asked ?? (presets[presets.length - 1] as bigint));
  const amounts = [...new Set([...presets.map(clamp), preferred])].sort((a, b) => (a < b ? -1 : 1));
  return {
    choices: amounts.map((sat) => ({ sat, units: unitsFor(sat, priceMsat, maxPayments) })),
    chosen: amounts.indexOf(preferred),
  };
}
