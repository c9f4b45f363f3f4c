/**
 * What the widget shows: one of these at a time.
 *
 * ```text
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

export type PlayerState =
  | { name: 'idle' }
  | { name: 'connecting' }
  | { name: 'offer'; terms: Terms; choices: Choice[]; chosen: number; opening: boolean }
  | { name: 'deposit'; terms: Terms; snapshot: ChannelSnapshot }
  | { name: 'confirming'; terms: Terms; snapshot: ChannelSnapshot }
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
  /** Units of price it buys. */
  units: bigint;
}

/** What is worth telling beside the running meter. */
export type Notice = 'reconnecting' | 'waiting_for_payment' | 'price_refused' | 'over_budget' | 'nearly_spent' | 'spent' | 'expiring';

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
  const { priceMsat, minDepositSat: min, maxDepositSat: max } = terms;
  const clamp = (sat: bigint) => (sat < min ? min : sat > max ? max : sat);
  const presets =
    terms.unit === 'second'
      ? PRESET_SECONDS.map((seconds) => (seconds * priceMsat + 999n) / 1000n)
      : [asked ?? min, 2n * (asked ?? min), 4n * (asked ?? min)];
  const preferred = clamp(asked ?? (presets[presets.length - 1] as bigint));
  const amounts = [...new Set([...presets.map(clamp), preferred])].sort((a, b) => (a < b ? -1 : 1));
  return {
    choices: amounts.map((sat) => ({ sat, units: priceMsat > 0n ? (sat * 1000n) / priceMsat : 0n })),
    chosen: amounts.indexOf(preferred),
  };
}
