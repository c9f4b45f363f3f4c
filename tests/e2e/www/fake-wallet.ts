/**
 * A fake of `rillpay/wallet`, for looking at the pages only: see fake-rillpay.ts. The page's script steers it through
 * `globalThis.fakeWallet`.
 */
import type { Balance, Entry, Quote, Refund, RefundFile, RillpayError, Sent } from '../../../pkg/wallet';

const TXID = '8f3c1f0e7d5b4a29a6c1e2d3f4b5968778695a4b3c2d1e0f9a8b7c6d5e4f3a2b';
const NOW = Date.UTC(2026, 4, 3, 18, 25);

const history: Entry[] = [
  { txid: TXID.replace(/^8f/, '00'), receivedSat: 250_000n, sentSat: 0n, feeSat: null, confirmations: 0, height: null, time: null },
  { txid: TXID.replace(/^8f/, '01'), receivedSat: 1_499_780n, sentSat: 3_000_000n, feeSat: 220n, confirmations: 12, height: 190, time: NOW },
  { txid: TXID.replace(/^8f/, '02'), receivedSat: 3_000_000n, sentSat: 0n, feeSat: null, confirmations: 40, height: 162, time: NOW - 86_400_000 },
];

const fake = {
  /** Reject the next call of these with this code: open, sync, quote, send, read, refund. */
  refuse: {} as Record<string, string>,
  balance: { confirmedSat: 1_499_780n, pendingSat: 250_000n, heldSat: 0n, immatureSat: 0n } as Balance,
  history,
  height: 1_100,
};

declare global {
  var fakeWallet: unknown;
}
globalThis.fakeWallet = Object.assign(fake, globalThis.fakeWallet);

function rillpayError(code: string): RillpayError {
  return Object.assign(new Error(code), { name: 'RillpayError' as const, code, fault: 'environment', data: {} });
}

function refuse(what: string): void {
  const code = fake.refuse[what];
  if (code !== undefined) throw rillpayError(code);
}

function quoteOf(order: { amountSat?: bigint; satPerVbyte?: number }): Quote {
  const satPerVbyte = order.satPerVbyte ?? 4;
  const feeSat = BigInt(141 * satPerVbyte);
  const amountSat = order.amountSat ?? fake.balance.confirmedSat - feeSat;
  return { amountSat, feeSat, changeSat: fake.balance.confirmedSat - amountSat - feeSat, satPerVbyte };
}

export async function openWallet() {
  refuse('open');
  return {
    network: 'regtest',
    tipHeight: 202,
    sync: async () => refuse('sync'),
    address: () => ({ address: 'bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080', index: 3 }),
    freshAddress: async () => refuse('fresh'),
    balance: () => fake.balance,
    history: () => fake.history,
    quote: async (order: { amountSat?: bigint; satPerVbyte?: number }) => {
      refuse('quote');
      return quoteOf(order);
    },
    send: async (order: { amountSat: bigint; satPerVbyte: number }): Promise<Sent> => {
      refuse('send');
      return { ...quoteOf(order), txid: TXID, broadcast: true };
    },
    sweep: async (order: { satPerVbyte: number }): Promise<Sent> => ({ ...quoteOf(order), txid: TXID, broadcast: true }),
    build: async (order: { amountSat?: bigint }) => ({ ...quoteOf(order), txid: TXID, transaction: new Uint8Array() }),
    commit: async () => {},
    release: async () => {},
    held: () => [],
    recoveryWords: () => 'orbit velvet lunar maple ribbon cactus gentle harbor pioneer sunset timber wisdom',
    close: () => {},
  };
}

export async function readRefundKit(): Promise<RefundFile> {
  refuse('read');
  const refund = (satPerVbyte: number): Refund => {
    const returnedSat = 3_600_000n - BigInt(130 * satPerVbyte);
    const transaction = { outpoint: `${TXID}:0`, returnedSat, txid: TXID, transaction: new Uint8Array() };
    return { satPerVbyte, returnedSat, transactions: [transaction] };
  };
  return {
    network: 'regtest',
    address: '2NByiBUaEXrhmqAsg7BbLpcQSAQs1EDwt5w',
    expiryHeight: 1_210,
    returnAddress: 'bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080',
    returnKeyPath: "m/84'/1'/0'/0/0",
    refunds: [1, 5, 25, 100].map(refund),
  };
}

export async function sendRefund(): Promise<string[]> {
  refuse('refund');
  return [TXID];
}

export async function chainHeight(): Promise<number> {
  refuse('height');
  return fake.height;
}
