/** The refund page with the module in it: nothing more is loaded, so that it works from a disk. */
import { initAsync } from 'rillpay/wallet';
import module from 'wallet.wasm';
import './refund';

void initAsync(Uint8Array.from(atob(module), (letter) => letter.charCodeAt(0)));
