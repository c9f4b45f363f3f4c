/**
 * How hls.js fetches here: each request carries the session's token, waits at the gate while nothing may be paid, and
 * takes "payment required" for what it is, a reason to ask again and not an error.
 *
 * A pause never aborts a request under way: what is paid for arrives and is counted.
 */
import type {
  HlsConfig,
  Loader,
  LoaderCallbacks,
  LoaderConfiguration,
  LoaderContext,
  LoaderStats,
} from 'hls.js';

export const SESSION_HEADER = 'Rillpay-Session';

const PAYMENT_REQUIRED = 402;
const UNPAID_WAIT_MS = 300;
const NETWORK_WAIT_MS = [300, 1000, 2000, 4000];

export type Trouble = 'unpaid' | 'network';

export interface Gate {
  /** Resolves with the session's token as soon as requests may be made; rejects when `signal` aborts. */
  pass(signal: AbortSignal): Promise<string>;
  /** A request has to be repeated (`null`: the next one went through). */
  trouble(kind: Trouble | null): void;
}

/** Builds the loader class that hls.js wants in its configuration. */
export function paidLoader(gate: Gate, newStats: () => LoaderStats): HlsConfig['loader'] {
  return class PaidLoader implements Loader<LoaderContext> {
    context: LoaderContext | null = null;
    stats: LoaderStats = newStats();
    #abort = new AbortController();
    #response: Response | null = null;
    #callbacks: LoaderCallbacks<LoaderContext> | null = null;

    constructor(_config: HlsConfig) {}

    load(context: LoaderContext, _config: LoaderConfiguration, callbacks: LoaderCallbacks<LoaderContext>): void {
      this.context = context;
      this.#callbacks = callbacks;
      this.stats.loading.start = performance.now();
      this.#fetchUntilPaid(context).then(
        (response) => this.#deliver(context, response),
        () => {
          // Only an abort ends the loop without a response, and hls.js asked for that itself.
        },
      );
    }

    abort(): void {
      this.#abort.abort();
      if (this.context && !this.stats.loading.end) {
        this.stats.aborted = true;
        this.#callbacks?.onAbort?.(this.stats, this.context, this.#response);
      }
    }

    destroy(): void {
      this.#callbacks = null;
      this.#abort.abort();
      this.context = null;
    }

    getCacheAge(): number | null {
      return null;
    }

    getResponseHeader(name: string): string | null {
      return this.#response?.headers.get(name) ?? null;
    }

    async #fetchUntilPaid(context: LoaderContext): Promise<{ response: Response; body: ArrayBuffer }> {
      const { signal } = this.#abort;
      for (let failures = 0; ; this.stats.retry++) {
        const session = await gate.pass(signal);
        const headers = new Headers(context.headers);
        headers.set(SESSION_HEADER, session);
        if (context.rangeEnd) headers.set('Range', `bytes=${context.rangeStart ?? 0}-${context.rangeEnd - 1}`);
        try {
          const response = await fetch(context.url, { headers, signal });
          if (response.status === PAYMENT_REQUIRED) {
            gate.trouble('unpaid');
            await sleep(UNPAID_WAIT_MS, signal);
            continue;
          }
          this.stats.loading.first ||= performance.now();
          const body = await response.arrayBuffer();
          gate.trouble(null);
          return { response, body };
        } catch (error) {
          if (signal.aborted) throw error;
          gate.trouble('network');
          await sleep(NETWORK_WAIT_MS[Math.min(failures++, NETWORK_WAIT_MS.length - 1)] ?? 0, signal);
        }
      }
    }

    #deliver(context: LoaderContext, { response, body }: { response: Response; body: ArrayBuffer }): void {
      const { stats } = this;
      this.#response = response;
      stats.loading.end = performance.now();
      stats.loaded = stats.total = body.byteLength;
      if (!response.ok) {
        this.#callbacks?.onError({ code: response.status, text: response.statusText }, context, response, stats);
        return;
      }
      const data = context.responseType === 'arraybuffer' ? body : new TextDecoder().decode(body);
      this.#callbacks?.onSuccess({ url: response.url, data, code: response.status }, stats, context, response);
    }
  };
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
