/**
 * A fake of the Rillpay module, for looking at the page only: it keeps no money, checks nothing and talks to nobody.
 * It is never shipped and proves nothing about payments; `screens.mjs` uses it to put the page into each state.
 *
 * The page's script steers it through `globalThis.fake`.
 */
import type { ChannelEvent, ChannelSnapshot, ClientOptions, RillpayError, Safety, Statement, Terms } from '../../../pkg/index';

const TXID = '8f3c1f0e7d5b4a29a6c1e2d3f4b5968778695a4b3c2d1e0f9a8b7c6d5e4f3a2b';
const WORDS = 'orbit velvet lunar maple ribbon cactus gentle harbor pioneer sunset timber wisdom';

const terms: Terms = {
  kind: 'cltv',
  maxPayments: null,
  network: 'regtest',
  nodeKey: '02'.padEnd(66, 'a'),
  unit: 'second',
  priceMsat: 1_000_000n,
  windowUnits: 2,
  minDepositSat: 100_000n,
  maxDepositSat: 100_000_000n,
  confirmations: 1,
  expiryBlocks: 1008,
  esplora: '/esplora',
};

const address = '2NByiBUaEXrhmqAsg7BbLpcQSAQs1EDwt5w';

const fresh: ChannelSnapshot = {
  id: 'fake',
  kind: 'cltv',
  phase: 'opened',
  address,
  fundingAddress: address,
  uri: `bitcoin:${address}?amount=0.036`,
  depositSat: 3_600_000n,
  capacitySat: 0n,
  confirmations: 0,
  confirmationsRequired: 1,
  fundingTxid: null,
  paymentsLeft: null,
  paidSat: 0n,
  deliveredMsat: 0n,
  priceMsat: terms.priceMsat,
  unit: 'second',
  expiryHeight: 1210,
  refundHeight: 1210,
  tipHeight: 202,
  attached: true,
  paused: false,
  session: 'fake-session',
  evictableBeforeExpiry: false,
  statement: null,
};

class FakeChannel {
  #snapshot: ChannelSnapshot;
  #listeners = new Set<(event: ChannelEvent) => void>();

  constructor(snapshot: ChannelSnapshot) {
    this.#snapshot = snapshot;
  }

  snapshot(): ChannelSnapshot {
    return this.#snapshot;
  }

  subscribe(listener: (event: ChannelEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  pause(): void {
    this.set({ paused: true });
  }

  resume(): void {
    this.set({ paused: false });
  }

  received(amount: number): void {
    const deliveredMsat = this.#snapshot.deliveredMsat + (BigInt(amount) * this.#snapshot.priceMsat) / 1000n;
    const paidSat = (deliveredMsat + 999n) / 1000n;
    fake.received.push(amount);
    this.#snapshot = { ...this.#snapshot, deliveredMsat, paidSat };
    this.emit({ type: 'paid', paidSat, snapshot: this.#snapshot });
  }

  async stop(): Promise<Statement> {
    this.set({ phase: 'closing' });
    await fake.held;
    const paidSat = (this.#snapshot.deliveredMsat + 999n) / 1000n;
    const statement: Statement = {
      paidSat,
      returnedSat: this.#snapshot.capacitySat - paidSat,
      txid: TXID,
      confirmed: false,
      returnAddress: 'bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080',
    };
    this.set({ statement });
    return statement;
  }

  async fund(): Promise<string> {
    this.set({ phase: 'confirming', capacitySat: this.#snapshot.depositSat });
    return TXID;
  }

  async refundKit() {
    return { text: '{}', filename: 'refund.json' };
  }

  async refund(): Promise<string> {
    return TXID;
  }

  set(change: Partial<ChannelSnapshot>): void {
    this.#snapshot = { ...this.#snapshot, ...change };
    this.emit({ type: 'changed', snapshot: this.#snapshot });
  }

  emit(event: ChannelEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

function rillpayError(code: string): RillpayError {
  return Object.assign(new Error(code), { name: 'RillpayError' as const, code, fault: 'environment', data: {} });
}

const fake = {
  /** Reject the next `connect` with this code. */
  refuse: null as string | null,
  /** Answer `connect` with a channel that differs from a fresh one in this, as after a reload. */
  preset: null as Partial<ChannelSnapshot> | null,
  channel: null as FakeChannel | null,
  /** What differs from a browser that keeps everything. */
  safety: {} as Partial<Safety>,
  /** What differs from the terms above. */
  terms: {} as Partial<Terms>,
  /** `stop` waits for it. */
  held: Promise.resolve(),
  /** Every amount that the page reported as received. */
  received: [] as number[],
  problem: (code: string) => fake.channel?.emit({ type: 'problem', error: rillpayError(code) }),
  supersede: () => fake.channel?.emit({ type: 'superseded', snapshot: fake.channel.snapshot() }),
};

declare global {
  var fake: unknown;
}
globalThis.fake = Object.assign(fake, globalThis.fake);

export async function initAsync(): Promise<void> {}

export class Client {
  readonly terms = { ...terms, ...fake.terms };

  static async connect(_options: ClientOptions): Promise<Client> {
    if (fake.refuse !== null) throw rillpayError(fake.refuse);
    fake.channel = fake.preset && new FakeChannel({ ...fresh, ...fake.preset });
    return new Client();
  }

  get channel(): FakeChannel | null {
    return fake.channel;
  }

  async open({ depositSat }: { depositSat: bigint }): Promise<FakeChannel> {
    fake.channel = new FakeChannel({ ...fresh, depositSat });
    return fake.channel;
  }

  recoveryWords(): string {
    return WORDS;
  }

  get safety(): Safety {
    return { persistent: true, evictionDays: null, privateMode: false, ...fake.safety };
  }

  disconnect(): void {
    fake.channel = null;
  }
}
