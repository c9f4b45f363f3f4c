/**
 * `<rillpay-player>`: a video that is paid by the second. Importing this module defines the element.
 *
 * The bundle stands alone: it holds its own copy of the module, and looks for `rillpay_bg.wasm` beside itself.
 */

import type { ChannelSnapshot, Statement } from './index.js';

/**
 * What the element shows: the poster (`idle`), the form for recovery words (`restore`), the price (`offer`), the address (`deposit`), how far the payment is
 * confirmed, the video (`watching`), the final statement (`settled`), a deposit to be taken back after its term
 * (`expired`, `returned`), or why nothing can go on (`failed`).
 */
export type StateName =
  | 'idle'
  | 'restore'
  | 'connecting'
  | 'offer'
  | 'deposit'
  | 'confirming'
  | 'ready'
  | 'watching'
  | 'settling'
  | 'settled'
  | 'expired'
  | 'returned'
  | 'failed';

export interface StateDetail {
  state: StateName;
  /** The deposit's address, amounts and progress, once there is one. */
  snapshot: ChannelSnapshot | null;
}

export interface PaidDetail {
  /** Signed over to the site so far. */
  paidSat: bigint;
  /** Arrived so far, at its price. */
  deliveredMsat: bigint;
}

export interface ErrorDetail {
  /** Stable; listed in docs/protocol.md. */
  code: string;
  message: string;
}

/** The events that the element dispatches; they bubble and cross shadow roots. */
export interface RillpayEventMap {
  'rillpay-state': CustomEvent<StateDetail>;
  'rillpay-paid': CustomEvent<PaidDetail>;
  'rillpay-statement': CustomEvent<Statement>;
  'rillpay-error': CustomEvent<ErrorDetail>;
}

export class RillpayPlayer extends HTMLElement {
  /** Origin of the paid server; by default that of `src`. */
  server: string;
  /** URL of the HLS playlist. */
  src: string;
  /** URL of a picture to show before. */
  poster: string;
  /** What the video is called. */
  override title: string;
  /** Language tag of the texts (English and Simplified Chinese); by default that of the page. */
  override lang: string;
  /** The deposit to propose, in satoshi, as decimal text. */
  depositSat: string | null;
  /** How far ahead to buffer, in seconds. */
  bufferSeconds: number;
  /** Esplora base URL for the browser's own look at the chain; by default what the server's terms name. */
  esplora: string;
  /** URLs of the site's refund page and wallet page, to be linked to; by default none. */
  refundPage: string;
  walletPage: string;
  /** What the element shows at the moment. */
  get state(): StateName;
}

declare global {
  interface HTMLElementEventMap extends RillpayEventMap {}
  interface HTMLElementTagNameMap {
    'rillpay-player': RillpayPlayer;
  }
}
