/**
 * Puts the viewer's payment into a `timelock` deposit. Such a deposit needs a transaction that the page itself has made and
 * not yet sent; so the viewer pays the page's own wallet, and the page goes on from there.
 *
 * ```text
 *   payment seen ──> in a block ──> build ──> fund: the site signs the refund first, then it is sent ──> commit
 *                                     └── refused: release, and try again later
 * ```
 *
 * What was in the wallet before is not touched, unless the viewer says so (`putIn`).
 */
import type { Channel, ChannelSnapshot, Terms } from 'rillpay';
import type { Built, Wallet } from 'rillpay/wallet';
import { failureOf, type Failure } from './failures';
import { loadWallet } from './wallet-module';
import type { Arrival } from './state';

/** A whole look asks about some forty addresses: often where the chain is our own, seldom where it is a public server's. */
const LOOK_EVERY_MS = { regtest: 2_000, other: 20_000 };

export interface FundingOptions {
  server: string;
  esplora: string | null;
  terms: Terms;
}

export interface FundingListener {
  /** More has arrived, or what stood in the way is another thing now. */
  changed(): void;
  problem(error: unknown): void;
}

export interface Progress {
  /** What has arrived in the page's wallet since the address was shown, confirmed or not. */
  seenSat: bigint;
  /** What was there before and could be put in instead. */
  spareSat: bigint;
  /** What was put into the deposit. */
  putSat: bigint | null;
  failure: Failure | null;
}

/** How far a payment has come; in a `timelock` deposit over the page's wallet, which takes a confirmation of its own. */
export function arrivalOf(snapshot: ChannelSnapshot, progress: Progress | null): Arrival {
  const { kind, phase, capacitySat, depositSat, confirmations, confirmationsRequired: needed } = snapshot;
  if (kind === 'cltv') return { sat: capacitySat, done: confirmations, needed, spareSat: 0n, failure: null };
  if (phase === 'confirming') {
    const sat = capacitySat || (progress?.putSat ?? depositSat);
    return { sat, done: confirmations + 1, needed: needed + 1, spareSat: 0n, failure: null };
  }
  const { seenSat, spareSat, failure } = progress ?? { seenSat: 0n, spareSat: 0n, failure: null };
  return { sat: seenSat, done: 0, needed: needed + 1, spareSat, failure };
}

export class Funding {
  #wallet: Wallet | null = null;
  /** What the wallet held before: not meant for this deposit. */
  #before = 0n;
  #seenSat = 0n;
  #spareSat = 0n;
  #put: bigint | null = null;
  #busy = false;
  #failure: Failure | null = null;
  readonly #ended = new AbortController();

  constructor(
    private readonly channel: Channel,
    private readonly options: FundingOptions,
    private readonly listener: FundingListener,
  ) {
    void this.#run();
  }

  get progress(): Progress {
    return { seenSat: this.#seenSat, spareSat: this.#spareSat, putSat: this.#put, failure: this.#failure };
  }

  /** Puts in what the wallet holds already, up to what the viewer wanted to pay. */
  async putIn(): Promise<void> {
    const wallet = this.#wallet;
    if (!wallet || this.#spareSat === 0n) return;
    await this.#fund(wallet, this.#spareSat);
  }

  end(): void {
    this.#ended.abort();
    this.#wallet?.close();
    this.#wallet = null;
  }

  async #run(): Promise<void> {
    const { server, esplora, terms } = this.options;
    const { signal } = this.#ended;
    const interval = terms.network === 'regtest' ? LOOK_EVERY_MS.regtest : LOOK_EVERY_MS.other;
    while (!signal.aborted && (this.#busy || this.channel.snapshot().phase === 'opened')) {
      try {
        this.#failure = null;
        this.#wallet ??= await this.#open({ server, network: terms.network, ...(esplora !== null && { esplora }) });
        if (this.#wallet) await this.#look(this.#wallet);
      } catch (error) {
        if (signal.aborted) return;
        this.#failure = failureOf(error);
        this.listener.problem(error);
      }
      if (signal.aborted) return;
      this.listener.changed();
      await pause(interval, signal);
    }
    // The deposit is made: other tabs may use the wallet.
    this.end();
  }

  async #open(options: { server: string; network: Terms['network']; esplora?: string }): Promise<Wallet | null> {
    const { openWallet } = await loadWallet();
    const wallet = await openWallet(options);
    if (this.#ended.signal.aborted) {
      wallet.close();
      return null;
    }
    // Built before a reload, and never handed over: else the deposit would not be waiting for it.
    for (const { txid } of wallet.held()) await wallet.release(txid);
    await wallet.sync();
    this.#before = wallet.balance().confirmedSat;
    return wallet;
  }

  async #look(wallet: Wallet): Promise<void> {
    if (this.#busy) return;
    await wallet.sync();
    const { confirmedSat, pendingSat } = wallet.balance();
    const { depositSat } = this.channel.snapshot();
    const least = this.options.terms.minDepositSat;
    const came = confirmedSat > this.#before ? confirmedSat - this.#before : 0n;
    this.#seenSat = came + pendingSat;
    const spare = this.#before < depositSat ? this.#before : depositSat;
    this.#spareSat = spare >= least && this.#seenSat < least ? spare : 0n;
    if (came >= least) await this.#fund(wallet, came);
  }

  /** Puts in this much of the wallet's confirmed money, the fee included. */
  async #fund(wallet: Wallet, sat: bigint): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      const built = await this.#build(wallet, sat);
      this.#put = built.amountSat;
      try {
        await this.channel.fund(built.transaction);
      } catch (error) {
        // Where the deposit has taken it over, it is sent without us.
        if (this.channel.snapshot().phase === 'opened') await wallet.release(built.txid);
        throw error;
      }
      await wallet.commit(built.txid);
      this.#seenSat = this.#spareSat = 0n;
    } catch (error) {
      if (this.#ended.signal.aborted) return;
      this.#failure = failureOf(error);
      this.listener.problem(error);
    } finally {
      this.#busy = false;
    }
    this.listener.changed();
  }

  async #build(wallet: Wallet, sat: bigint): Promise<Built> {
    const to = this.channel.snapshot().fundingAddress;
    const { minDepositSat, maxDepositSat } = this.options.terms;
    const all = { to };
    const everything = (await wallet.quote(all)).amountSat;
    if (sat >= wallet.balance().confirmedSat && everything <= maxDepositSat) return wallet.build(all);
    const { feeSat } = await wallet.quote({ to, amountSat: minDepositSat });
    const wanted = sat - feeSat;
    const amountSat = wanted > maxDepositSat ? maxDepositSat : wanted < minDepositSat ? minDepositSat : wanted;
    return wallet.build({ to, amountSat });
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
