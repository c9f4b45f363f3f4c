/** The wallet's module, which webpack puts into the refund page as base64. */
declare module 'wallet.wasm' {
  const base64: string;
  export default base64;
}
