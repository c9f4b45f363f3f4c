/**
 * `<rillpay-player>`: a video that is paid by the second.
 *
 * Properties in, typed events out; everything that is not drawing lives in `player.ts`.
 */
import { html, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, property, query, state } from 'lit/decorators.js';
import type { RillpayPlayer as PublicPlayer } from '../../pkg/widget';
import type { RillpayEventMap, StateName } from './events';
import { failureOf, type Failure } from './failures';
import { satFromMsat } from './format';
import { Player, type PlayerHost, type PlayerSettings } from './player';
import { SpeakingElement } from './speaking';
import type { PlayerState } from './state';
import { parts } from './styles/parts';
import { theme } from './styles/theme';
import { views } from './styles/views';
import { panel } from './views';
import { playIcon } from './views/icons';
import { spinner, type Actions, type View } from './views/view';

/** How long a file that was offered for saving can be fetched. */
const OFFERED_MS = 2000;
const SPEAK_EVERY_MS = 60_000;
const DEFAULT_BUFFER_SECONDS = 2;
/** States in which the picture is about to be seen or is seen. */
const PICTURE: ReadonlySet<StateName> = new Set(['idle', 'ready', 'watching']);
/** States that a problem does not end. */
const REPORTED: ReadonlySet<StateName> = new Set(['restore', 'deposit', 'confirming', 'watching', 'expired']);

@customElement('rillpay-player')
export class RillpayPlayer extends SpeakingElement implements PublicPlayer, PlayerHost {
  static override styles = [theme, parts, views];

  /** Origin of the paid server; by default that of `src`. */
  @property() server = '';
  /** The HLS playlist. */
  @property() src = '';
  @property() poster = '';
  /** What the video is called. */
  @property() override title = '';
  /** The deposit to propose, in whole satoshi. */
  @property({ attribute: 'deposit-sat' }) depositSat: string | null = null;
  /** How many seconds are fetched ahead of what is watched. */
  @property({ attribute: 'buffer-seconds', type: Number }) bufferSeconds = DEFAULT_BUFFER_SECONDS;
  /** Base URL of an Esplora for the browser's own look at the chain; by default what the server names. */
  @property() esplora = '';
  /** Where the site has its refund page and its wallet page, to be linked to. */
  @property({ attribute: 'refund-page' }) refundPage = '';
  @property({ attribute: 'wallet-page' }) walletPage = '';

  @state() private shown: PlayerState = { name: 'idle' };
  @state() private words: string | null = null;
  @state() private safetyFailed = false;
  @state() private muted = false;
  @state() private spoken = '';

  @query('video') private readonly videoElement!: HTMLVideoElement;

  readonly #player = new Player(this);
  #lastSpoken = 0;
  #hadFocus = false;

  /** What the widget shows at the moment. */
  get state(): StateName {
    return this.shown.name;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    void this.updateComplete.then(() => {
      if (this.isConnected) this.#player.resumeIfOpen();
    });
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#player.dispose();
  }

  // What the player asks of its host.

  settings(): PlayerSettings {
    const base = this.server ? new URL(this.server, document.baseURI).origin : document.baseURI;
    const source = new URL(this.src, base);
    return {
      server: this.server ? base : source.origin,
      source: source.href,
      depositSat: this.depositSat && /^[1-9]\d*$/.test(this.depositSat) ? BigInt(this.depositSat) : null,
      bufferSeconds: this.bufferSeconds > 0 ? this.bufferSeconds : DEFAULT_BUFFER_SECONDS,
      esplora: this.esplora ? new URL(this.esplora, document.baseURI).href : null,
    };
  }

  video(): HTMLVideoElement {
    return this.videoElement;
  }

  changed(next: PlayerState): void {
    const { shown } = this;
    this.shown = next;
    if (next.name !== shown.name) {
      this.words = null;
      this.safetyFailed = false;
      this.#hadFocus = this.shadowRoot?.activeElement != null;
      const snapshot = 'snapshot' in next ? next.snapshot : null;
      this.#dispatch('rillpay-state', { state: next.name, snapshot });
      if (next.name === 'failed') this.#report(next.failure);
    }
    this.#speak(next);
  }

  paid({ paidSat, deliveredMsat }: Parameters<PlayerHost['paid']>[0]): void {
    this.#dispatch('rillpay-paid', { paidSat, deliveredMsat });
  }

  settled(statement: Parameters<PlayerHost['settled']>[0]): void {
    this.#dispatch('rillpay-statement', statement);
  }

  problem(error: unknown): void {
    // Elsewhere the failure is reported together with the state that shows it.
    if (REPORTED.has(this.shown.name)) this.#report(failureOf(error));
  }

  // Drawing.

  protected override render(): TemplateResult {
    const { shown } = this;
    const low = !PICTURE.has(shown.name);
    const content = panel(shown, this.#view());
    return html`
      <div class="card" part="card" lang=${this.texts.lang} data-state=${shown.name}>
        <div class=${low ? 'stage low' : 'stage'} part="stage">
          <video part="video" playsinline preload="none" aria-label=${this.#view().title} ?hidden=${shown.name !== 'watching'}></video>
          ${shown.name === 'watching' ? nothing : this.#cover(shown.name)}
          ${shown.name === 'watching' && shown.playing.status === 'loading' ? html`<div class="wait">${spinner}</div>` : nothing}
        </div>
        ${content === nothing ? nothing : html`<section class="panel" part="panel" aria-label=${this.#view().title}>${content}</section>`}
        <p class="hushed" aria-live="polite">${this.spoken}</p>
      </div>
    `;
  }

  #cover(name: StateName): TemplateResult {
    return html`
      ${this.poster ? html`<img part="poster" src=${this.poster} alt="" />` : nothing}
      ${name === 'idle'
        ? html`<div class="cover">
            <h2>${this.#view().title}</h2>
            <button class="primary big" part="button primary" data-name="watch" data-focus @click=${this.#act.begin}>
              ${playIcon} ${this.texts.watch}
            </button>
            <div class="under">
              <p>${this.texts.payBySecond}</p>
              <button class="quiet" part="button" data-name="have-words" @click=${this.#act.restore}>${this.texts.haveWords}</button>
            </div>
          </div>`
        : nothing}
    `;
  }

  protected override updated(changed: PropertyValues): void {
    const before = changed.get('shown') as PlayerState | undefined;
    if (!before || before.name === this.shown.name || !this.#hadFocus) return;
    // The pressed button may be gone: go on at the new view's beginning.
    if (!this.shadowRoot?.activeElement) this.shadowRoot?.querySelector<HTMLElement>('[data-focus]')?.focus({ preventScroll: true });
  }

  #view(): View {
    return {
      texts: this.texts,
      format: this.format,
      title: this.title || this.texts.defaultTitle,
      snapshot: this.#player.snapshot,
      pages: { refund: this.#page(this.refundPage), wallet: this.#page(this.walletPage) },
      transactionUrl: this.transactionUrlAt(this.esplora || ('terms' in this.shown ? this.shown.terms.esplora : null), this.settings().server),
      copied: this.copied,
      muted: this.muted,
      safety: { words: this.words, failed: this.safetyFailed, storage: this.#player.safety },
      act: this.#act,
    };
  }

  #page(address: string): string | null {
    return address ? new URL(address, document.baseURI).href : null;
  }

  readonly #act: Actions = {
    begin: () => void this.#player.begin(),
    restore: () => this.#player.restore(),
    restoreFrom: (words) => void this.#player.restoreFrom(words),
    leave: () => this.#player.dispose(),
    useWallet: () => this.#player.useWallet(),
    again: () => this.#player.again(),
    choose: (index) => this.#player.choose(index),
    deposit: () => void this.#player.deposit(),
    copy: (key, text) => void this.copy(key, text),
    play: () => void this.#player.play(),
    pause: () => this.#player.pause(),
    stop: () => void this.#player.stop(),
    takeBack: () => void this.#player.takeBack(),
    toggleSound: () => {
      this.muted = this.videoElement.muted = !this.videoElement.muted;
    },
    fullscreen: () => {
      // Refused by some browsers in some frames: then the picture simply stays.
      this.videoElement.requestFullscreen?.().catch(() => {});
    },
    saveRefundKit: () => void this.#saveRefundKit(),
    toggleWords: () => {
      this.words = this.words === null ? this.#player.recoveryWords() : null;
    },
  };

  async #saveRefundKit(): Promise<void> {
    try {
      const kit = await this.#player.refundKit();
      if (!kit) return;
      const url = URL.createObjectURL(new Blob([kit.text], { type: 'application/json' }));
      const link = Object.assign(document.createElement('a'), { href: url, download: kit.filename });
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), OFFERED_MS);
      this.safetyFailed = false;
    } catch {
      this.safetyFailed = true;
    }
  }

  /** For screen readers: a pause or a state at once, the meter once a minute. */
  #speak(next: PlayerState): void {
    if (next.name !== 'watching') return;
    const { watching } = this.texts;
    const { status } = next.playing;
    const now = performance.now();
    if (status !== 'playing') {
      if (status !== 'loading') this.spoken = watching.status[status];
      return;
    }
    if (now - this.#lastSpoken < SPEAK_EVERY_MS) return;
    this.#lastSpoken = now;
    const owed = satFromMsat(next.snapshot.deliveredMsat);
    this.spoken = watching.spoken(this.format.sat(owed), this.format.sat(next.snapshot.capacitySat - owed));
  }

  #report({ kind, code }: Failure): void {
    this.#dispatch('rillpay-error', { code, message: this.texts.failures[kind].title });
  }

  #dispatch<Type extends keyof RillpayEventMap>(type: Type, detail: RillpayEventMap[Type]['detail']): void {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }
}
