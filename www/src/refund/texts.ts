/** Every text of the refund page's element. */
import type { Heading } from '../texts';
import { refundEn, refundZhCN } from './languages';

export interface RefundTexts {
  ask: Heading;
  choose: string;
  drop: string;
  invalid: Heading;
  file: string;
  amount: string;
  from: string;
  to: string;
  toHint: string;
  path: string;
  /** The chain: which server is asked, and how far it is. */
  server: string;
  serverHint: string;
  asking: string;
  /** `time` is about how long that is. */
  wait: (height: string, tip: string, time: string) => string;
  ripe: (height: string) => string;
  unreachable: string;
  noServer: string;
  fee: string;
  rate: (rate: string) => string;
  comesBack: (amount: string) => string;
  send: string;
  sending: string;
  sent: Heading;
  another: string;
  failures: { not_expired: string; broadcast_refused: string; chain_unreachable: string };
}

/** Those of the language that the element's other texts are in. */
export function refundTextsFor(lang: string): RefundTexts {
  return lang === 'zh-CN' ? refundZhCN : refundEn;
}
