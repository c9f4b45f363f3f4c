/**
 * The wallet without its looks: opens it, keeps it up to date, and takes a payment from the form to the network.
 *
 * ```text
 *   closed ──> opening ──> open: form ──Continue──> check ──Send──> sent
 *                 └──> failed         <──Change it──┘
 * ```
 */
import type { Balance, Entry, FeeChoice, Network, Payment, Quote, Sent, Speed, Sweep, Wallet } from 'rillpay/wallet';
import { codeOf, failureOf, type Failure } from '../failures';
import { loadWallet } from '../wallet-module';

/** A look asks about every address: often where the chain is our own, seldom where it is a public server's. */
const LOOK_EVERY_MS = { regtest: 3_000, other: 60_000 };

export interface DeskSettings {
  /** Origin of the paid server. */
  server: string;
  network: Network | null;
  esplora: string | null;
}

/** What the viewer typed. */
export interface Draft {
  to: string;
  /** Whole satoshi as typed; not looked at when everything is sent. */
  amount: string;
  everything: boolean;
  speed: Speed;
}

export type Step =
  | { name: 'form'; busy: boolean; code: string | null }
  | { name: 'check'; quote: Quote; busy: boolean; code: string | null }
  | { name: 'sent'; sent: Sent };

export type DeskState =
  | { name: 'closed' }
  | { name: 'opening' }
  | { name: 'failed'; failure: Failure }
  | {
      name: 'open';
      balance: Balance;
      history: Entry[];
      address: string;
      /** A look is under way. */
      looking: boolean;
      /** The code of the last look's failure. */
      stale: string | null;
    };

export interface DeskHost {
  settings(): DeskSettings;
  changed(): void;
}

const EMPTY: Draft = { to: '', amount: '', everything: false, speed: 'normal' };

export class Desk {
  state: DeskState = { name: 'closed' };
  step: Step = { name: 'form', busy: false, code: null };
  draft: Draft = EMPTY;

  #wallet: Wallet | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #looking = false;
  #stale: string | null = null;
  /** Rises whenever what was begun before is no longer wanted. */
  #life = 0;

  constructor(private readonly host: DeskHost) {}

  async open(): Promise<void> {
    const life = this.#reset();
    const { server, network, esplora } = this.host.settings();
    this.#show({ name: 'opening' });
    try {
      const { openWallet } = await loadWallet();
      const wallet = await openWallet({ server, ...(network !== null && { network }), ...(esplora !== null && { esplora }) });
      if (life !== this.#life) return wallet.close();
      this.#wallet = wallet;
    } catch (error) {
      if (life === this.#life) this.#show({ name: 'failed', failure: failureOf(error) });
      return;
    }
    await this.look();
  }

  /** Asks the chain, now and from time to time. */
  async look(): Promise<void> {
    const wallet = this.#wallet;
    if (!wallet || this.#looking) return;
    const life = this.#life;
    clearTimeout(this.#timer);
    this.#looking = true;
    this.#refresh();
    try {
      await wallet.sync();
      this.#stale = null;
    } catch (error) {
      this.#stale = codeOf(error);
    }
    if (life !== this.#life) return;
    this.#looking = false;
    this.#refresh();
    const interval = wallet.network === 'regtest' ? LOOK_EVERY_MS.regtest : LOOK_EVERY_MS.other;
    this.#timer = setTimeout(() => void this.look(), interval);
  }

  async freshAddress(): Promise<void> {
    try {
      await this.#wallet?.freshAddress();
    } catch (error) {
      this.#go({ name: 'form', busy: false, code: codeOf(error) });
    }
    this.#refresh();
  }

  write(change: Partial<Draft>): void {
    this.draft = { ...this.draft, ...change };
    if (this.step.name === 'form') this.step = { name: 'form', busy: false, code: null };
    this.host.changed();
  }

  /** Asks what the payment in the form would cost. */
  async review(): Promise<void> {
    const wallet = this.#wallet;
    if (!wallet || this.step.name !== 'form' || this.step.busy) return;
    const life = this.#life;
    if (this.#amount() === null && !this.draft.everything) return this.#go({ name: 'form', busy: false, code: 'bad_amount' });
    this.#go({ name: 'form', busy: true, code: null });
    try {
      const { satPerVbyte } = await wallet.quote(this.#order({ speed: this.draft.speed }));
      // What is shown is what is paid: at this rate from now on, while estimates move.
      const quote = await wallet.quote(this.#order({ satPerVbyte }));
      if (life === this.#life) this.#go({ name: 'check', quote, busy: false, code: null });
    } catch (error) {
      if (life === this.#life) this.#go({ name: 'form', busy: false, code: codeOf(error) });
    }
  }

  /** Sends what was looked over. */
  async send(): Promise<void> {
    const { step } = this;
    const wallet = this.#wallet;
    if (!wallet || step.name !== 'check' || step.busy) return;
    const life = this.#life;
    this.#go({ ...step, busy: true, code: null });
    try {
      const order = this.#order({ satPerVbyte: step.quote.satPerVbyte });
      const sent = await ('amountSat' in order ? wallet.send(order) : wallet.sweep(order));
      if (life !== this.#life) return;
      this.draft = { ...EMPTY, speed: this.draft.speed };
      this.#go({ name: 'sent', sent });
      this.#refresh();
    } catch (error) {
      if (life === this.#life) this.#go({ ...step, busy: false, code: codeOf(error) });
    }
  }

  /** Back to the form. */
  edit(): void {
    this.#go({ name: 'form', busy: false, code: null });
  }

  recoveryWords(): string | null {
    return this.#wallet?.recoveryWords() ?? null;
  }

  close(): void {
    this.#reset();
    this.#show({ name: 'closed' });
  }

  #amount(): bigint | null {
    const digits = this.draft.amount.replace(/[\s,]/g, '');
    return /^[1-9]\d{0,15}$/.test(digits) ? BigInt(digits) : null;
  }

  #order(fee: FeeChoice): Payment | Sweep {
    const to = this.draft.to.trim();
    const amountSat = this.draft.everything ? null : this.#amount();
    return amountSat === null ? { ...fee, to } : { ...fee, to, amountSat };
  }

  #refresh(): void {
    const wallet = this.#wallet;
    if (!wallet) return;
    this.#show({
      name: 'open',
      balance: wallet.balance(),
      history: wallet.history(),
      address: wallet.address().address,
      looking: this.#looking,
      stale: this.#stale,
    });
  }

  #reset(): number {
    clearTimeout(this.#timer);
    this.#wallet?.close();
    this.#wallet = null;
    this.#looking = false;
    this.#stale = null;
    this.step = { name: 'form', busy: false, code: null };
    return ++this.#life;
  }

  #go(step: Step): void {
    this.step = step;
    this.host.changed();
  }

  #show(state: DeskState): void {
    this.state = state;
    this.host.changed();
  }
}
