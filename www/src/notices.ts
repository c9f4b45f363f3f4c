/** What is worth telling beside the running meter, and where it comes from. */
import type { ChannelSnapshot } from 'rillpay';
import type { Playback } from './playback';
import type { Notice } from './state';

const NEARLY_SPENT_SECONDS = 30;

/** Problems that leave the deposit as it is, and what to tell of them. A refusal while paused is what pausing means. */
export function noticeFor(code: string): Notice | null {
  switch (code) {
    case 'ahead_of_delivery':
      return 'price_refused';
    case 'over_budget':
      return 'over_budget';
    case 'deposit_spent':
    case 'exceeds_capacity':
      return 'spent';
    case 'updates_spent':
      return 'payments_spent';
    case 'expiring':
      return 'expiring';
    default:
      return null;
  }
}

/** The notice to show now; `reported` is what the payment side last had to say. */
export function currentNotice(snapshot: ChannelSnapshot, playback: Playback, reported: Notice | null): Notice | null {
  const { capacitySat, deliveredMsat, priceMsat, paymentsLeft } = snapshot;
  const left = capacitySat * 1000n - deliveredMsat;
  if (left < priceMsat) return 'spent';
  if (reported === 'expiring' || reported === 'spent' || reported === 'payments_spent') return reported;
  if (!snapshot.attached || playback.problem === 'network') return 'reconnecting';
  if (reported && playback.problem === 'unpaid') return reported;
  if (paymentsLeft === 0) return 'payments_spent';
  if (playback.problem === 'unpaid' && playback.stalled) return 'waiting_for_payment';
  if (snapshot.unit !== 'second') return null;
  const few = paymentsLeft !== null && paymentsLeft < NEARLY_SPENT_SECONDS;
  return few || left < priceMsat * BigInt(NEARLY_SPENT_SECONDS) ? 'nearly_spent' : null;
}
