/** Loads the Rillpay module (WebAssembly) when it is first needed, so that a page with a poster costs next to nothing. */
type Rillpay = typeof import('rillpay');

let loading: Promise<Rillpay> | null = null;

export function loadRillpay(): Promise<Rillpay> {
  loading ??= import(/* webpackChunkName: "rillpay-module" */ 'rillpay').then(async (rillpay) => {
    await rillpay.initAsync();
    return rillpay;
  });
  // A failed download may be tried again.
  loading.catch(() => (loading = null));
  return loading;
}
