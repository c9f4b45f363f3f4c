/** What all elements here share: the language of their texts, and a word about what was copied a moment ago. */
import { LitElement, type PropertyValues } from 'lit';
import { property, state } from 'lit/decorators.js';
import { Format } from './format';
import { localeFor, textsFor, type Texts } from './texts';

const COPIED_MS = 2000;

export abstract class SpeakingElement extends LitElement {
  /** Language of the texts; by default that of the document. */
  @property({ reflect: false }) override lang = '';

  /** The key of the thing copied a moment ago. */
  @state() protected copied: string | null = null;

  protected texts: Texts = textsFor('en');
  protected format = new Format('en');
  #languageWatch: MutationObserver | null = null;

  override connectedCallback(): void {
    super.connectedCallback();
    this.#languageWatch = new MutationObserver(() => this.requestUpdate());
    this.#languageWatch.observe(document.documentElement, { attributeFilter: ['lang'] });
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#languageWatch?.disconnect();
  }

  protected override willUpdate(_changed: PropertyValues): void {
    const tag = this.lang || this.closest<HTMLElement>('[lang]')?.lang || document.documentElement.lang || 'en';
    this.texts = textsFor(tag);
    const locale = localeFor(tag, this.texts);
    if (locale !== this.format.locale) this.format = new Format(locale);
  }

  protected async copy(key: string, text: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // The text beside the button can be selected with one click.
      return;
    }
    this.copied = key;
    setTimeout(() => {
      if (this.copied === key) this.copied = null;
    }, COPIED_MS);
  }

  /** The site's page for a transaction at an Esplora; null where none is named. */
  protected transactionUrlAt(esplora: string | null, base: string): (txid: string) => string | null {
    if (!esplora) return () => null;
    const root = new URL(esplora.endsWith('/') ? esplora : `${esplora}/`, base);
    return (txid) => new URL(`tx/${txid}`, root).href;
  }
}
