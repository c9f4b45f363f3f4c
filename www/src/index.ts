/** Defines `<rillpay-player>`. */
export { RillpayPlayer } from './element';
export type { ErrorDetail, PaidDetail, RillpayEventMap, StateDetail, StateName } from './events';
