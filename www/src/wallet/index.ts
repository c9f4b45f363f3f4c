/** Defines `<rillpay-wallet>`. */
export { RillpayWallet } from './element';
