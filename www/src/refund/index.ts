/** Defines `<rillpay-refund>`. */
export { RillpayRefund } from './element';
