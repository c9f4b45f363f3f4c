/**
 * A small Bitcoin wallet over the recovery words that the page keeps for a site, and the way back from a refund file alone:
 * see docs/wallet.md. A WebAssembly module of its own, loaded when a function of this file is first called. Importing
 * touches no browser API.
 *
 * Errors have the shape of `RillpayError` of `rillpay`. Satoshi amounts are `bigint`.
 */
import type { Network, RillpayError } from './index.js';

export type { Network, RillpayError };

type Module = RequestInfo | URL | Response | BufferSource | WebAssembly.Module;

/** Loads and starts this module once. All that follows calls it by itself; a page that has the bytes elsewhere calls it first. */
export function initAsync(module?: Module): Promise<void>;

export interface WalletOptions {
  /** Origin of the paid server whose words these are, e.g. `https://video.example`. */
  server: string;
  /** By default what the server's terms say; then the server has to answer. */
  network?: Network;
  /** Esplora base URL; by default what the server's terms name. With `network` and this the server is not needed. */
  esplora?: string;
  /**
   * BIP 39 words, where none are stored for this server; they are stored, and the next `Client.connect` restores the
   * deposits of the site from them. Rejects with `invalid_words`, and with `other_words` where others are stored.
   * Without any the wallet makes new ones, which `Client.connect` then uses, too.
   */
  words?: string;
}

/**
 * Opens the wallet as it was left; `sync` brings it up to date. Rejects with `another_tab` while another one has it open,
 * with `private_mode` where it would have to make words in a private window, which forgets them, and with
 * `corrupted_wallet`, `chain_unreachable` (no Esplora is named), `terms_unreachable`, `wrong_network`.
 */
export function openWallet(options: WalletOptions): Promise<Wallet>;

/** `slow` (within a day), `normal` (an hour) or `fast` (two blocks), by Esplora's estimates. */
export type Speed = 'slow' | 'normal' | 'fast';

/** A fee rate: by speed, or in whole satoshi per virtual byte, 1 to 1,000. By default `normal`. */
export type FeeChoice = { speed?: Speed; satPerVbyte?: never } | { satPerVbyte?: number; speed?: never };

export type Payment = FeeChoice & {
  /** A Bitcoin address of the wallet's network. */
  to: string;
  /** What arrives; the fee comes on top. */
  amountSat: bigint;
};

export type Sweep = FeeChoice & {
  /** A Bitcoin address of the wallet's network. */
  to: string;
};

/** What a payment costs. */
export interface Quote {
  /** What arrives. */
  amountSat: bigint;
  feeSat: bigint;
  /** What comes back to the wallet; 0 without a change output. */
  changeSat: bigint;
  /** The rate that was chosen, rounded up. */
  satPerVbyte: number;
}

export interface Sent extends Quote {
  txid: string;
  /** False where Esplora could not be reached: the payment is stored, and is broadcast again at each `sync`. */
  broadcast: boolean;
}

/** A signed transaction whose coins are held until `commit` or `release`. */
export interface Built extends Quote {
  txid: string;
  /** The transaction as it goes over the wire; what `Channel.fund` takes. */
  transaction: Uint8Array;
}

/** Each coin counts once. */
export interface Balance {
  /** In blocks, and free to spend. */
  confirmedSat: bigint;
  /** On its way in, and change of payments on their way out. */
  pendingSat: bigint;
  /** Held for what was built and neither committed nor released. */
  heldSat: bigint;
  /** Block rewards that cannot be spent yet. */
  immatureSat: bigint;
}

export interface Entry {
  txid: string;
  /** What it pays to addresses of this wallet. */
  receivedSat: bigint;
  /** What it spends of this wallet. */
  sentSat: bigint;
  /** Its fee, where this wallet alone paid for it; else null. */
  feeSat: bigint | null;
  /** 0 while it waits for a block. */
  confirmations: number;
  height: number | null;
  /** When its block was made, in milliseconds since 1970. */
  time: number | null;
}

export interface ReceiveAddress {
  address: string;
  /** Its number in `m/84'/coin'/0'/0/index`: odd; the even ones are those that channels return to. */
  index: number;
}

/** One tab writes: the wallet is locked to its page until `close`. Methods reject with `disconnected` after that. */
export class Wallet {
  private constructor();
  readonly network: Network;
  /** Height of the best block at the last look; 0 before the first. */
  readonly tipHeight: number;
  /**
   * Looks at the chain, stores what it finds, and broadcasts again what was sent and is not seen. One look breaks off as a
   * whole: it rejects (`chain_unreachable`, `contradictory_chain`), and what was known before stays.
   */
  sync(): Promise<void>;
  /** The next receive address: the same until it was used. */
  address(): ReceiveAddress;
  /** One that was never given to anybody, and that `address` gives from now on. Rejects with `gap_limit` beyond ten unused ones. */
  freshAddress(): Promise<ReceiveAddress>;
  balance(): Balance;
  /** Every transaction: unconfirmed ones first, then the newest. */
  history(): Entry[];
  /** What a payment would cost; nothing is held. Rejects as `send`. */
  quote(payment: Payment | Sweep): Promise<Quote>;
  /**
   * Pays. Stored before it is broadcast. Rejects with `invalid_address`, `dust_amount`, `insufficient_funds` (with
   * `data.amountSat`), `invalid_fee_rate`, `broadcast_refused` (its coins are free again).
   */
  send(payment: Payment): Promise<Sent>;
  /** Pays everything that is worth its fee. Rejects with `nothing_to_spend`. */
  sweep(sweep: Sweep): Promise<Sent>;
  /**
   * Signs and does not broadcast: for `Channel.fund`. Spends confirmed coins only. Without an amount: everything, less the
   * fee. Rejects as `send`.
   */
  build(payment: Payment | Sweep): Promise<Built>;
  /** What was built is on its way: it counts from now on. Rejects with `unknown_transaction`. */
  commit(txid: string): Promise<void>;
  /** What was built will never be sent: its coins are free again. Rejects with `unknown_transaction`. */
  release(txid: string): Promise<void>;
  /** What was built and neither committed, released nor seen on the chain: a reload may have come between. */
  held(): { txid: string; transaction: Uint8Array }[];
  /** The BIP 39 recovery words. Only call when the viewer asked for them. */
  recoveryWords(): string;
  /** Lets the next page open the wallet. */
  close(): void;
}

/** What a refund file offers at one fee rate: a transaction for each output that it names; usually that is one. */
export interface Refund {
  satPerVbyte: number;
  /** What comes back where all of them are taken, the fees deducted. */
  returnedSat: bigint;
  transactions: RefundTransaction[];
}

/**
 * Signed. Takes back one output, whatever becomes of the others. Transactions of the same output exclude each other: no more
 * than one of them can count.
 */
export interface RefundTransaction {
  /** The output that it spends: `txid:vout`. */
  outpoint: string;
  /** What comes back, the fee deducted. */
  returnedSat: bigint;
  txid: string;
  transaction: Uint8Array;
}

/** A refund file, checked: each transaction spends from the file's address to its return address, after the expiry. */
export interface RefundFile {
  network: Network;
  /** The deposit's address. */
  address: string;
  /** The refunds are valid in blocks after this height: from the moment that the chain has reached it. */
  expiryHeight: number;
  /** Belongs to the recovery words. */
  returnAddress: string;
  returnKeyPath: string;
  /** The cheapest first; at least one. */
  refunds: Refund[];
}

/**
 * Reads and checks the text of a refund file (`Channel.refundKit`). Rejects with `invalid_refund_file`. Whether the
 * deposit is still there only the chain can say.
 */
export function readRefundKit(text: string): Promise<RefundFile>;

/**
 * Broadcasts one of the refunds of a file, given as its text: for each output the cheapest transaction with at least this
 * rate (by default 5), else the dearest. Resolves to the ids of those that were taken, at least one: what has come back
 * already is refused, and hinders none of the others. Rejects with `invalid_refund_file`, `not_expired` (with
 * `data.height`), and where nothing was taken with `broadcast_refused` (all is spent already, or the fee is too low) or
 * `chain_unreachable`.
 */
export function sendRefund(options: { kit: string; satPerVbyte?: number; esplora: string }): Promise<string[]>;

/** The height of the best block that an Esplora server knows. Rejects with `chain_unreachable`. */
export function chainHeight(options: { esplora: string }): Promise<number>;
