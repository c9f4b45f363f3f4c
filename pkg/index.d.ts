/**
 * Rillpay: pay by the second, over Bitcoin payment channels, in a web page.
 *
 * Satoshi and millisatoshi amounts are `bigint`. Times are milliseconds since 1970 unless said otherwise.
 * Importing this module touches no browser API; `initAsync` loads the WebAssembly.
 */

/** Loads and starts the WebAssembly once; later calls return the same promise. */
export function initAsync(
  module?: RequestInfo | URL | Response | BufferSource | WebAssembly.Module,
): Promise<void>;

/** Checks BIP 39 recovery words and gives them back in canonical spelling; throws `invalid_words`. Needs no browser. */
export function validateWords(words: string): string;

/** The version of this package. */
export function version(): string;

export type Network = 'bitcoin' | 'testnet' | 'testnet4' | 'signet' | 'regtest';
/**
 * How older payments lose: `cltv`, where only the server can broadcast one; `timelock`, where both can, each newer one
 * earlier than the one before.
 */
export type Kind = 'cltv' | 'timelock';
export type Unit = 'second' | 'byte' | 'request';

/** What the server publishes at `/.well-known/rillpay`. */
export interface Terms {
  kind: Kind;
  /** How many payments a `timelock` channel can make; null where there is no bound. */
  maxPayments: number | null;
  network: Network;
  /** The operator's node key, 33 bytes hex. It signs the channel's parameters and the closing statement. */
  nodeKey: string;
  unit: Unit;
  /** Price of one unit in millisatoshi. */
  priceMsat: bigint;
  /** How many units of price either side may be ahead of the other. */
  windowUnits: number;
  minDepositSat: bigint;
  maxDepositSat: bigint;
  /** Confirmations the deposit needs before it can be spent. */
  confirmations: number;
  /** Blocks from opening to expiry. */
  expiryBlocks: number;
  /** Esplora base URL of the operator, or null. */
  esplora: string | null;
}

/** Limits in millisatoshi; a payment that would pass one is refused before it is signed. */
export interface Budget {
  perSessionMsat?: bigint;
  perDayMsat?: bigint;
  perSiteMsat?: bigint;
}

export interface ClientOptions {
  /** Origin of the paid server, e.g. `https://video.example`. */
  server: string;
  /** Esplora base URL for the browser's own look at the chain; by default what the terms name. */
  esplora?: string;
  /**
   * BIP 39 words to restore from. Where nothing is stored for this server, the client asks the server for the deposits of
   * these words, checks what it says against words and chain, stores it, and goes on with it. A deposit that was agreed at
   * another price than that of the terms is ended as soon as the server answers: what was not watched comes back.
   * Rejects with `invalid_words`, and with `other_words` where other words are stored for this server. A restoring that
   * breaks off is taken up again by the next `connect`.
   */
  words?: string;
  budget?: Budget;
  /** The largest window (in units of price) to agree to; by default 30. */
  maxWindowUnits?: number;
  /** Refuse terms whose network is another one. */
  network?: Network;
}

/**
 * opened: an address was given, nothing has arrived · confirming: seen, waiting for confirmations ·
 * open: can pay · closing: final amount signed · settled: confirmed on the chain ·
 * refundable: expiry has passed without settlement · refunded: swept back by the payer.
 */
export type Phase =
  | 'opened'
  | 'confirming'
  | 'open'
  | 'closing'
  | 'settled'
  | 'refundable'
  | 'refunded';

/** A consistent picture of one channel. */
export interface ChannelSnapshot {
  id: string;
  kind: Kind;
  phase: Phase;
  /** Address to pay into: the channel's or, for a `timelock` channel, the page's own wallet's (see `Channel.fund`). */
  address: string;
  /** The channel's own address, which the transaction for `Channel.fund` pays. */
  fundingAddress: string;
  /** BIP 21 URI with the amount asked for. */
  uri: string;
  /** What the viewer was asked to pay; for a `timelock` channel with the mining fee of its funding. */
  depositSat: bigint;
  /** What arrived (0 before it does). */
  capacitySat: bigint;
  confirmations: number;
  confirmationsRequired: number;
  fundingTxid: string | null;
  /** How many payments are left; null where there is no bound. */
  paymentsLeft: number | null;
  /** Highest amount signed over to the payee. */
  paidSat: bigint;
  /** Delivered so far, in millisatoshi, as this side counts it. */
  deliveredMsat: bigint;
  priceMsat: bigint;
  unit: Unit;
  /** Block height after which the payer alone can take everything back. */
  expiryHeight: number;
  /** The height from which the payer can end alone: the expiry, or the lock time of the newest payment that both hold. */
  refundHeight: number;
  tipHeight: number;
  /** A socket is attached: the server knows us and can ask for payments. */
  attached: boolean;
  paused: boolean;
  /** Set while attached: send it as header `Rillpay-Session` with each media request. */
  session: string | null;
  /**
   * This browser may drop what is stored (see `Safety.evictionDays`) before the expiry (ten minutes for each block), while
   * there is something to lose: the viewer should keep the recovery words or the refund file.
   */
  evictableBeforeExpiry: boolean;
  statement: Statement | null;
}

export interface Statement {
  /** What the payee gets, before its own mining fee. */
  paidSat: bigint;
  /** What comes back to the payer, exactly. */
  returnedSat: bigint;
  /** Known once the settlement is broadcast. */
  txid: string | null;
  confirmed: boolean;
  returnAddress: string;
}

export interface RefundKit {
  /**
   * JSON text of the kit: parameters, and for each output that it names signed refund transactions at several fee rates. It
   * stays good for these outputs, whatever else is paid to the address or comes back from it. What was confirmed later is
   * not in it: save it anew.
   */
  text: string;
  filename: string;
}

export type ChannelEvent =
  | { type: 'changed'; snapshot: ChannelSnapshot }
  | { type: 'paid'; paidSat: bigint; snapshot: ChannelSnapshot }
  /** A problem that does not end the channel, e.g. a `need` refused or the socket lost (it reconnects by itself). */
  | { type: 'problem'; error: RillpayError }
  /** Another tab or device took the channel over. */
  | { type: 'superseded'; snapshot: ChannelSnapshot };

/** The one error shape. Codes are listed in docs/protocol.md; `message` is fit for a viewer. */
export interface RillpayError extends Error {
  name: 'RillpayError';
  code: string;
  /** `peer_misbehaved`, `peer_incompatible`, `misuse` or `environment`. */
  fault: string;
  data: Record<string, unknown>;
}

/** How safe from loss is what this browser stores. */
export interface Safety {
  /** The browser keeps what is stored until the viewer deletes it (see `navigator.storage.persist`). */
  persistent: boolean;
  /**
   * Days without a visit after which this browser is known to drop what pages have stored: 7 in Safari and in all browsers
   * on iOS, unless storage is persistent or the page is installed on the home screen; null where no such limit is known.
   */
  evictionDays: number | null;
  /**
   * This is a private window: all is lost when it closes. Detected where the browser gives itself away (Firefox
   * does, newer Chromium does not); false proves nothing. `Client.open` refuses with `private_mode`; a deposit that is open already can be used and ended.
   */
  privateMode: boolean;
}

export class Client {
  private constructor();
  /**
   * Reads the terms, opens the store, takes the writer's lock for this server and resumes the channel left open, if any.
   * Rejects with `another_tab` while another tab of this browser holds the lock.
   */
  static connect(options: ClientOptions): Promise<Client>;
  readonly terms: Terms;
  /** The channel of this server that is not finished yet, or null. */
  readonly channel: Channel | null;
  /** Channels that have ended, but from which money may still come back: not confirmed yet, or paid into twice. */
  readonly earlier: readonly Channel[];
  /**
   * Opens a channel and gives the address to pay. Everything is validated and stored before it resolves.
   * Rejects with `channel_open` while the last one has not ended, and with `private_mode` in a private window. Asks the
   * browser to keep what is stored.
   */
  open(options: { depositSat: bigint }): Promise<Channel>;
  /** The BIP 39 recovery words. Only call when the viewer asked for them. */
  recoveryWords(): string;
  /** False when the browser may evict what is stored (see `navigator.storage.persist`). */
  readonly persistent: boolean;
  /** How safe from loss is what this browser stores, as known now: asking for persistence can take long. */
  readonly safety: Safety;
  /** Closes socket, store and lock. The channel stays open and resumes at the next `connect`. */
  disconnect(): void;
}

export class Channel {
  private constructor();
  snapshot(): ChannelSnapshot;
  /** Calls back after each change; returns the function that ends it. */
  subscribe(listener: (event: ChannelEvent) => void): () => void;
  /** While paused every `need` is refused: nothing can be paid. */
  pause(): void;
  /** Goes on; and takes the channel back after a `superseded`. */
  resume(): void;
  /** Tells the channel what has arrived, in the unit of price: milliseconds of media for `second`, else a count. */
  received(amount: number): void;
  /** Ends the channel: settles at exactly what was delivered. Resolves when the payee has signed its closing statement. */
  stop(): Promise<Statement>;
  /**
   * Funds a `timelock` channel with this signed transaction, which pays the channel and was not broadcast: the server signs
   * the refund first. Resolves to the transaction's id once it is broadcast.
   */
  fund(transaction: Uint8Array): Promise<string>;
  /**
   * Signed refunds that any tool can broadcast after expiry: of the deposit by itself, and of up to eleven others at the
   * address, each by itself. Rejects with `nothing_to_do` until the deposit is confirmed: before, whoever pays can still
   * replace the payment, and the file would be void.
   */
  refundKit(): Promise<RefundKit>;
  /**
   * Before expiry: takes back one output for which nothing was delivered (a deposit that is too small, a second one, or the
   * deposit itself after `stop` with nothing watched), if the server agrees; it does so by itself, too.
   * After expiry: sweeps the confirmed outputs at the address back to the payer: the deposit, and of the others those that
   * are worth their share of the fee, up to 500 in all; resolves to the transaction's id. What is left can be had by a
   * further one, as far as it is worth its fee.
   * `satPerVbyte` is a whole number, by default 5.
   */
  refund(options?: { satPerVbyte?: number }): Promise<string>;
}
