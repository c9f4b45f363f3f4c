/** The events that `<rillpay-player>` dispatches: the types that guest pages get are the ones kept to here. */
export type { ErrorDetail, PaidDetail, RillpayEventMap, StateDetail, StateName } from '../../pkg/widget';
