/**
 * Channels in which both sides pay, between a page and a node (`rillpay-node`, see docs/node.md): see docs/two-way.md. A
 * WebAssembly module of its own, loaded when a function of this file is first called. Importing touches no browser API.
 *
 * Errors have the shape of `RillpayError` of `rillpay`. Amounts are `bigint`, in satoshi or, where the name says so, millisatoshi.
 */
import type { Network, RillpayError } from './index.js';

export type { Network, RillpayError };

type Module = RequestInfo | URL | Response | BufferSource | WebAssembly.Module;

/** Loads and starts this module once. `openTwoWay` calls it by itself; a page that has the bytes elsewhere calls it first. */
export function initAsync(module?: Module): Promise<void>;

export interface TwoWayOptions {
  /** Origin of the paid server whose words these are, e.g. `https://video.example`. */
  server: string;
  /** By default what the server's terms say; then the server has to answer. */
  network?: Network;
  /** Esplora base URL; by default what the server's terms name. With `network` and this the server is not needed. */
  esplora?: string;
  /** BIP 39 words, where none are stored for this server: as with `openWallet` of `rillpay/wallet`. */
  words?: string;
  /** Confirmations before a channel is used, at least 1; by default 3. The peer may want more. */
  confirmations?: number;
  /** Milliseconds between two looks at the chain; by default 10,000. */
  pollMilliseconds?: number;
}

/**
 * Opens the page's node as it was left: looks at the chain, takes what is ours, punishes who has cheated, and then calls its
 * peers. Rejects with `another_tab` while another page has it, or the wallet of these words, open; with `private_mode` where a
 * private window would forget new channels; with `chain_unreachable`, `chain-other-network`, `chain-behind`, `chain-untrue` (what is wrong with the Esplora); `folder` for
 * a store of another network, `corrupted_store`, `terms_unreachable`, `wrong_network`.
 */
export function openTwoWay(options: TwoWayOptions): Promise<TwoWay>;

/**
 * opening: its funding is not deep enough yet · offline: the peer is not connected, or not yet heard · open: can pay ·
 * closing · closed: by agreement · closed_alone: by us · spent: by the peer, or it cheated · fell_behind: this store is an old
 * copy. It leaves the list once everything that is ours of it lies under six blocks.
 */
export type TwoWayState = 'opening' | 'offline' | 'open' | 'closing' | 'closed' | 'closed_alone' | 'spent' | 'fell_behind';

export interface TwoWayChannel {
  id: string;
  /** The peer's node key. */
  peer: string;
  state: TwoWayState;
  /** We opened it. */
  opener: boolean;
  capacitySat: bigint;
  /** What is ours of it. */
  balanceSat: bigint;
  /** Paid to us over it, for good. */
  receivedMsat: bigint;
  /** Paid by us over it, for good. */
  paidMsat: bigint;
  /** The funding output: `txid:vout`. */
  funding: string;
  /** The transaction that spends it. */
  spentBy: string | null;
}

export interface TwoWayInfo {
  nodeKey: string;
  /** Node keys of those who are connected. */
  peers: string[];
  tipHeight: number;
}

export interface TwoWayBalance {
  /** On chain, in blocks. */
  confirmedSat: bigint;
  /** On chain, all of it. */
  totalSat: bigint;
  /** Ours in channels that have not ended. */
  channelsSat: bigint;
}

export interface OpenedChannel {
  channel: string;
  /** The funding output: `txid:vout`. */
  funding: string;
}

export interface ChannelPayment {
  channel: string;
  amountSat: bigint;
  /** Both sides have revoked what was before. Otherwise it is signed for and sure to follow: do not repeat it. */
  settled: boolean;
  /** What is left of ours. */
  balanceSat: bigint;
}

export interface ChannelClose {
  channel: string;
  state: TwoWayState;
  /** The transaction that ends it, where it is known. */
  txid: string | null;
}

export type TwoWayEvent =
  /** Something is different: a channel, a connection, the chain. */
  | { type: 'changed' }
  /** The peer of a channel paid us, for good. */
  | { type: 'paid'; channel: string; amountMsat: bigint };

/**
 * A page's node. One tab runs it; its wallet is that of `rillpay/wallet`, which no other tab can have open meanwhile. While no
 * tab is open nobody watches the chain: look in more often than the delay of a week within which a cheat can be punished.
 */
export class TwoWay {
  private constructor();
  readonly network: Network;
  /** The key that peers know this page by, 33 bytes in hex. */
  readonly nodeKey: string;
  info(): Promise<TwoWayInfo>;
  /**
   * Connects to a node at the `ws` or `wss` URL of its WebSocket, and calls it again after every break and every reload. Whoever
   * is connected can open a channel with us. Rejects with `peer_offline`, `peer_unfit`, `handshake_refused`.
   */
  connect(address: string, nodeKey: string): Promise<void>;
  /**
   * Opens a channel from the page's wallet; `pushSat` of it is the peer's from the start. Resolves when its funding is on its
   * way. Rejects with `peer_offline`, `busy`, `opening_failed`, `peer_silent`, `insufficient_funds`: nothing was paid.
   */
  openChannel(options: { nodeKey: string; capacitySat: bigint; pushSat?: bigint }): Promise<OpenedChannel>;
  /** Pays the peer of a channel, named by its id. Rejects with `not_payable`, `peer_offline`, `peer_silent`: nothing was paid. */
  pay(channel: string, amountSat: bigint): Promise<ChannelPayment>;
  /** Pays a request, once. Rejects as `pay`, and with `request_paid`. */
  payRequest(request: string): Promise<ChannelPayment>;
  /** The text of a request, to be sent to the peer of a channel. */
  request(channel: string, amountSat: bigint, memo?: string): string;
  /** Every channel that the chain can still change. */
  channels(): Promise<TwoWayChannel[]>;
  /** Closes by agreement: what is ours comes to the page's wallet. Rejects with `peer_offline`. */
  close(channel: string): Promise<ChannelClose>;
  /** Closes without the peer: what is ours comes after the delay that it set. Also where a close by agreement is lost. */
  closeAlone(channel: string): Promise<ChannelClose>;
  /** Where to pay the page's wallet. */
  address(): Promise<string>;
  balance(): Promise<TwoWayBalance>;
  /** Calls back after each change; returns the function that ends it. */
  subscribe(listener: (event: TwoWayEvent) => void): () => void;
  /** Stops: another page can open it. Channels stay open. */
  stop(): Promise<void>;
}
