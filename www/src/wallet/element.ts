/**
 * `<rillpay-wallet>`: the small wallet over the recovery words that the page keeps for a site. What comes back from deposits
 * is in it; it receives, pays, and is swept out.
 */
import { html, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import type { Network } from 'rillpay/wallet';
import type { RillpayWallet as PublicWallet } from '../../../pkg/wallet-widget';
import { SpeakingElement } from '../speaking';
import { parts } from '../styles/parts';
import { theme } from '../styles/theme';
import { views } from '../styles/views';
import { Desk, type DeskHost, type DeskSettings } from './desk';
import { walletStyles } from './styles';
import { walletTextsFor } from './texts';
import { walletView, type Tab } from './views';

@customElement('rillpay-wallet')
export class RillpayWallet extends SpeakingElement implements PublicWallet, DeskHost {
  static override styles = [theme, parts, views, walletStyles];

  /** Origin of the paid server; by default that of the page. */
  @property() server = '';
  /** By default what the server's terms say. */
  @property() network = '';
  /** Base URL of an Esplora; by default what the server's terms name. */
  @property() esplora = '';

  @state() private tab: Tab = 'receive';
  @state() private words: string | null = null;

  readonly #desk = new Desk(this);

  override connectedCallback(): void {
    super.connectedCallback();
    void this.updateComplete.then(() => {
      if (this.isConnected) void this.#desk.open();
    });
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.words = null;
    this.#desk.close();
  }

  settings(): DeskSettings {
    return {
      server: new URL(this.server || document.baseURI, document.baseURI).origin,
      network: (this.network || null) as Network | null,
      esplora: this.esplora ? new URL(this.esplora, document.baseURI).href : null,
    };
  }

  changed(): void {
    this.requestUpdate();
  }

  protected override render(): TemplateResult {
    const { state: shown } = this.#desk;
    const texts = walletTextsFor(this.texts.lang);
    return html`
      <div class="card" part="card" lang=${this.texts.lang} data-state=${shown.name}>
        <section class="panel" part="panel" aria-label=${texts.title}>
          ${walletView(shown, {
            common: this.texts,
            texts,
            format: this.format,
            desk: this.#desk,
            tab: this.tab,
            turn: (tab) => (this.tab = tab),
            words: this.words,
            toggleWords: () => (this.words = this.words === null ? this.#desk.recoveryWords() : null),
            copied: this.copied,
            copy: (name, text) => void this.copy(name, text),
            transactionUrl: this.transactionUrlAt(this.esplora || null, this.settings().server),
          })}
        </section>
      </div>
    `;
  }
}
