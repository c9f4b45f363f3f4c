/** Defines `<rillpay-player>`. */
export { RillpayPlayer } from './element';
export type { ErrorDetail, PaidDetail, RillpayEventMap, StateDetail } from './events';
export type { StateName } from './state';
