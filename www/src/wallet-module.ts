/** The page's own wallet: a module of its own that starts by itself at the first call. */
export function loadWallet(): Promise<typeof import('rillpay/wallet')> {
  return import(/* webpackChunkName: "rillpay-wallet" */ 'rillpay/wallet');
}
