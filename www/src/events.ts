/** The events that `<rillpay-player>` dispatches; they bubble and cross shadow roots. */
import type { ChannelSnapshot, Statement } from 'rillpay';
import type { StateName } from './state';

export interface StateDetail {
  state: StateName;
  /** The deposit's address, amounts and progress, once there is one. */
  snapshot: ChannelSnapshot | null;
}

export interface PaidDetail {
  /** Signed over to the site so far. */
  paidSat: bigint;
  /** Arrived so far, at its price. */
  deliveredMsat: bigint;
}

export interface ErrorDetail {
  code: string;
  message: string;
}

export interface RillpayEventMap {
  'rillpay-state': CustomEvent<StateDetail>;
  'rillpay-paid': CustomEvent<PaidDetail>;
  'rillpay-statement': CustomEvent<Statement>;
  'rillpay-error': CustomEvent<ErrorDetail>;
}

declare global {
  interface HTMLElementEventMap extends RillpayEventMap {}
}
