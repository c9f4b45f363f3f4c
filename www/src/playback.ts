/**
 * The video: hls.js over the paid loader, a short buffer, and a count of what has arrived.
 *
 * What arrived is measured on the media itself (the time stamps of the parsed streams), not on the playlist's claim,
 * and once for each fragment that was fetched. Initialisation segments count nothing.
 */
import type Hls from 'hls.js/light';
import type { FragBufferedData, HlsConfig } from 'hls.js';
import type { Unit } from 'rillpay';
import { paidLoader, type Gate, type Trouble } from './paid-loader';

export interface PlaybackOptions {
  source: string;
  bufferSeconds: number;
  unit: Unit;
  /** Seconds into the video to begin at. */
  position: number;
  /** The session's token while attached. */
  session: () => string | null;
}

export interface PlaybackListener {
  /** So much media has arrived, in the unit of price (milliseconds for seconds). */
  delivered(amount: number): void;
  /** The video began or ceased to play, stalls, ended or has trouble: see the properties. */
  changed(): void;
  /** The picture went on, to so many seconds into the video. */
  moved(position: number): void;
  /** The media cannot be played at all. */
  failed(code: string): void;
}

export class Playback implements Gate {
  /** The viewer wants it to play; nothing is fetched otherwise. */
  wanted = false;
  /** Wanted, but waiting for media. */
  stalled = false;
  ended = false;
  problem: Trouble | null = null;

  #hls: Hls | null = null;
  #attached: Promise<void> | null = null;
  #recovered = false;
  #opened = () => {};
  readonly #events = new AbortController();

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly options: PlaybackOptions,
    private readonly listener: PlaybackListener,
  ) {
    const on = (type: keyof HTMLMediaElementEventMap, act: () => void) =>
      video.addEventListener(type, act, { signal: this.#events.signal });
    on('waiting', () => this.#set({ stalled: true }));
    on('playing', () => this.#set({ wanted: true, stalled: false, ended: false }));
    on('ended', () => this.#set({ wanted: false, stalled: false, ended: true }));
    // Media keys and the system's own controls pause, too.
    on('pause', () => this.#set({ wanted: false, stalled: false }));
    on('timeupdate', () => listener.moved(video.currentTime));
  }

  /** Seconds into the video. */
  get position(): number {
    return this.video.currentTime || this.options.position;
  }

  /** Length of the video in seconds, 0 while unknown. */
  get duration(): number {
    return Number.isFinite(this.video.duration) ? this.video.duration : 0;
  }

  /** Rejects with `NotAllowedError` when the browser wants the viewer's own press first. */
  async play(): Promise<void> {
    this.#set({ wanted: true, stalled: true });
    this.#opened();
    try {
      this.#attached ??= this.#attach();
      await this.#attached;
      if (this.wanted) await this.video.play();
    } catch (error) {
      // A pause that came before the first picture is no error.
      if (this.#events.signal.aborted || (error instanceof DOMException && error.name === 'AbortError')) return;
      this.#set({ wanted: false, stalled: false });
      throw error;
    }
  }

  pause(): void {
    this.#set({ wanted: false, stalled: false });
    this.video.pause();
  }

  /** The session's token may have come back. */
  sessionChanged(): void {
    this.#opened();
  }

  destroy(): void {
    this.wanted = false;
    this.#events.abort();
    this.video.pause();
    this.#hls?.destroy();
    this.#hls = null;
  }

  async pass(signal: AbortSignal): Promise<string> {
    for (;;) {
      if (signal.aborted || this.#events.signal.aborted) throw signal.reason ?? this.#events.signal.reason;
      const session = this.options.session();
      if (this.wanted && session !== null) return session;
      await new Promise<void>((resolve) => {
        const before = this.#opened;
        this.#opened = () => {
          before();
          this.#opened = () => {};
          resolve();
        };
        signal.addEventListener('abort', () => resolve());
      });
    }
  }

  trouble(kind: Trouble | null): void {
    if (kind !== this.problem) this.#set({ problem: kind });
  }

  async #attach(): Promise<void> {
    const { default: Engine, Events, ErrorTypes, LoadStats } = await import(
      /* webpackChunkName: "rillpay-hls" */ 'hls.js/light'
    );
    if (this.#events.signal.aborted) return;
    if (!Engine.isSupported()) return this.listener.failed('media_unsupported');

    const { bufferSeconds, position, source } = this.options;
    const hls = new Engine({
      loader: paidLoader(this, () => new LoadStats()) as HlsConfig['loader'],
      // The buffer is held short by time alone: a size limit in bytes would let it grow.
      maxBufferLength: bufferSeconds,
      maxMaxBufferLength: bufferSeconds,
      maxBufferSize: 0,
      backBufferLength: 10,
      // Each fragment costs money: none is fetched on trial or in advance.
      testBandwidth: false,
      startFragPrefetch: false,
      lowLatencyMode: false,
      enableWorker: false,
      startPosition: position,
    });
    this.#hls = hls;
    hls.on(Events.FRAG_BUFFERED, (_event, data) => this.#count(data));
    hls.on(Events.ERROR, (_event, { fatal, type, details }) => {
      if (!fatal) return;
      if (type === ErrorTypes.MEDIA_ERROR && !this.#recovered) {
        this.#recovered = true;
        hls.recoverMediaError();
      } else {
        this.listener.failed(details);
      }
    });
    hls.loadSource(source);
    await new Promise<void>((attached) => {
      hls.once(Events.MEDIA_ATTACHED, () => attached());
      hls.attachMedia(this.video);
    });
  }

  #count({ frag, stats }: FragBufferedData): void {
    if (frag.sn === 'initSegment') return;
    const { unit } = this.options;
    if (unit === 'byte') return this.listener.delivered(stats.total);
    if (unit === 'request') return this.listener.delivered(1);
    const streams = Object.values(frag.elementaryStreams).filter((stream) => stream !== null);
    const seconds = Math.max(0, ...streams.map((stream) => stream.endPTS - stream.startPTS));
    this.listener.delivered(Math.round(seconds * 1000));
  }

  #set(change: Partial<Pick<Playback, 'wanted' | 'stalled' | 'ended' | 'problem'>>): void {
    Object.assign(this, change);
    this.listener.changed();
  }
}
