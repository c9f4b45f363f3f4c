/** The refund page without its looks: the file, how far the chain is, and the sending. */
import type { Network, RefundFile, RefundTransaction } from 'rillpay/wallet';
import { codeOf } from '../failures';
import { loadWallet } from '../wallet-module';

const LOOK_EVERY_MS = 15_000;
/** More than any refund file has, and nothing that would hurt. */
const MAX_FILE_BYTES = 1 << 20;

/** Public servers of Esplora's API, proposed where neither page nor reader names one. */
const ESPLORA: Partial<Record<Network, string>> = {
  bitcoin: 'https://blockstream.info/api',
  testnet: 'https://blockstream.info/testnet/api',
  testnet4: 'https://mempool.space/testnet4/api',
  signet: 'https://mempool.space/signet/api',
};

export type CounterState =
  | { name: 'ask'; invalid: boolean }
  | {
      name: 'read';
      file: RefundFile;
      chosen: number;
      esplora: string;
      /** The chain's height; null before it is known. */
      tip: number | null;
      busy: boolean;
      code: string | null;
    }
  | { name: 'sent'; sent: RefundTransaction[]; esplora: string; returnAddress: string };

export interface CounterHost {
  /** The Esplora server that the page names. */
  esplora(): string | null;
  changed(): void;
}

export class Counter {
  state: CounterState = { name: 'ask', invalid: false };

  #text = '';
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Rises whenever what was begun before is no longer wanted. */
  #life = 0;

  constructor(private readonly host: CounterHost) {}

  async take(blob: Blob): Promise<void> {
    const life = this.#begin();
    try {
      if (blob.size > MAX_FILE_BYTES) throw new RangeError('too large');
      const text = await blob.text();
      const { readRefundKit } = await loadWallet();
      const file = await readRefundKit(text);
      if (life !== this.#life) return;
      this.#text = text;
      const esplora = this.host.esplora() ?? ESPLORA[file.network] ?? '';
      // The middle one: neither in a hurry nor for ever waiting.
      const chosen = Math.floor((file.refunds.length - 1) / 2);
      this.#show({ name: 'read', file, chosen, esplora, tip: null, busy: false, code: null });
      await this.#look();
    } catch {
      if (life === this.#life) this.#show({ name: 'ask', invalid: true });
    }
  }

  choose(index: number): void {
    if (this.state.name === 'read') this.#show({ ...this.state, chosen: index, code: null });
  }

  /** Asks another server from now on. */
  ask(esplora: string): void {
    if (this.state.name !== 'read' || this.state.esplora === esplora) return;
    this.#show({ ...this.state, esplora, tip: null, code: null });
    void this.#look();
  }

  async send(): Promise<void> {
    const { state } = this;
    if (state.name !== 'read' || state.busy) return;
    const life = this.#life;
    const refund = state.file.refunds[state.chosen];
    if (!refund) return;
    this.#show({ ...state, busy: true, code: null });
    try {
      const { sendRefund } = await loadWallet();
      const taken = await sendRefund({ kit: this.#text, satPerVbyte: refund.satPerVbyte, esplora: state.esplora });
      if (life !== this.#life) return;
      this.#begin();
      const sent = refund.transactions.filter(({ txid }) => taken.includes(txid));
      this.#show({ name: 'sent', sent, esplora: state.esplora, returnAddress: state.file.returnAddress });
    } catch (error) {
      if (life === this.#life) this.#show({ ...state, busy: false, code: codeOf(error) });
    }
  }

  /** Back to the beginning. */
  clear(): void {
    this.#begin();
    this.#show({ name: 'ask', invalid: false });
  }

  /** Stops asking. */
  end(): void {
    this.#begin();
  }

  async #look(): Promise<void> {
    const { state } = this;
    clearTimeout(this.#timer);
    if (state.name !== 'read' || state.esplora === '') return;
    const life = this.#life;
    const { esplora } = state;
    let tip: number | null = null;
    let code: string | null = null;
    try {
      const { chainHeight } = await loadWallet();
      tip = await chainHeight({ esplora });
    } catch (error) {
      code = codeOf(error);
    }
    if (life !== this.#life || this.state.name !== 'read' || this.state.esplora !== esplora) return;
    if (!this.state.busy) this.#show({ ...this.state, tip: tip ?? this.state.tip, code: code ?? (this.state.code === 'chain_unreachable' ? null : this.state.code) });
    this.#timer = setTimeout(() => void this.#look(), LOOK_EVERY_MS);
  }

  #begin(): number {
    clearTimeout(this.#timer);
    return ++this.#life;
  }

  #show(state: CounterState): void {
    this.state = state;
    this.host.changed();
  }
}
