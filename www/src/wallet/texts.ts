/** Every text of the wallet. A language that lacks one does not compile. */
import type { Speed } from 'rillpay/wallet';
import type { Heading } from '../texts';
import { walletEn } from './texts-en';
import { walletZhCN } from './texts-zh-CN';

export interface WalletTexts {
  title: string;
  opening: string;
  balance: string;
  pending: (amount: string) => string;
  held: (amount: string) => string;
  refresh: string;
  refreshing: string;
  /** The last look failed: what is shown may be old. */
  stale: string;
  tabs: { receive: string; send: string };
  receive: { text: string; address: string; copyAddress: string; copied: string; qr: string; fresh: string; tooMany: string };
  send: {
    to: string;
    amount: string;
    everything: string;
    fee: string;
    speeds: Record<Speed, string>;
    review: string;
    reviewing: string;
    check: Heading;
    arrives: string;
    feeLine: (rate: string) => string;
    total: string;
    confirm: string;
    sending: string;
    change: string;
    sent: Heading;
    /** Stored, but the chain's server did not answer. */
    waits: string;
    another: string;
    badAmount: string;
  };
  history: { title: string; none: string; received: string; sent: string; moved: string; fee: (amount: string) => string; waiting: string; confirmations: (count: string) => string };
  safety: { title: string; text: string };
  failures: Record<WalletFailure, string>;
}

/** What only a wallet can run into. */
export type WalletFailure =
  | 'insufficient_funds'
  | 'dust_amount'
  | 'invalid_address'
  | 'nothing_to_spend'
  | 'broadcast_refused'
  | 'contradictory_chain'
  | 'corrupted_wallet'
  | 'gap_limit';

/** Those of the language that the element's other texts are in. */
export function walletTextsFor(lang: string): WalletTexts {
  return lang === 'zh-CN' ? walletZhCN : walletEn;
}
