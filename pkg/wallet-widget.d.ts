/**
 * `<rillpay-wallet>`: the wallet over the recovery words that a page keeps for a site. Importing this module defines the
 * element; see docs/wallet.md for what the wallet does.
 */

export class RillpayWallet extends HTMLElement {
  /** Origin of the paid server whose words these are; by default that of the page. */
  server: string;
  /** `bitcoin`, `testnet`, `testnet4`, `signet` or `regtest`; by default what the server's terms say. */
  network: string;
  /** Esplora base URL; by default what the server's terms name. */
  esplora: string;
  /** Language tag of the texts (English and Simplified Chinese); by default that of the page. */
  override lang: string;
}

declare global {
  interface HTMLElementTagNameMap {
    'rillpay-wallet': RillpayWallet;
  }
}
