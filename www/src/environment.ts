/** Asks, before any money is spoken of, whether this browser and this page can hold a viewer's keys and play the video. */
import { failure, type Failure } from './failures';

const PROBE = 'rillpay-probe';

/** What stands in the way, or null. */
export async function obstacle(): Promise<Failure | null> {
  if (!('WebAssembly' in globalThis) || !canPlay() || typeof BigInt !== 'function') return failure('unsupported', 'unsupported_browser');
  if (!globalThis.isSecureContext || !navigator.locks) return failure('unsupported', 'insecure_context');
  if (await storageBlocked()) return framedByOther() ? failure('framed', 'third_party_frame') : failure('storage_blocked');
  // A frame of another site keeps its storage apart and loses it soon: no place for a deposit's keys.
  if (framedByOther()) return failure('framed', 'third_party_frame');
  return null;
}

function canPlay(): boolean {
  return 'MediaSource' in globalThis || 'ManagedMediaSource' in globalThis;
}

function framedByOther(): boolean {
  if (globalThis.top === globalThis.self) return false;
  try {
    // Reading a foreign page's address throws.
    return globalThis.top?.location.origin !== globalThis.location.origin;
  } catch {
    return true;
  }
}

/** Tries the real thing: some private modes have `indexedDB` and refuse to open it. */
function storageBlocked(): Promise<boolean> {
  return new Promise((resolve) => {
    try {
      const request = indexedDB.open(PROBE);
      request.onerror = () => resolve(true);
      request.onblocked = () => resolve(true);
      request.onsuccess = () => {
        request.result.close();
        indexedDB.deleteDatabase(PROBE);
        resolve(false);
      };
    } catch {
      resolve(true);
    }
  });
}
