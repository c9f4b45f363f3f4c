/** `<rillpay-refund>`: brings a deposit back out of its refund file alone, with no site and no other browser's storage. */
import { html, nothing, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import { SpeakingElement } from '../speaking';
import { parts } from '../styles/parts';
import { theme } from '../styles/theme';
import { views } from '../styles/views';
import { alertIcon } from '../views/icons';
import { code, heading, money, spinner } from '../views/view';
import { Counter, type CounterHost, type CounterState } from './counter';
import { refundStyles } from './styles';
import { refundTextsFor, type RefundTexts } from './texts';

type Of<Name extends CounterState['name']> = Extract<CounterState, { name: Name }>;

@customElement('rillpay-refund')
export class RillpayRefund extends SpeakingElement implements CounterHost {
  static override styles = [theme, parts, views, refundStyles];

  /** Base URL of the Esplora server to propose; by default a public one of the file's network. */
  @property({ attribute: 'esplora' }) proposed = '';

  @state() private dragged = false;

  readonly #counter = new Counter(this);

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#counter.end();
  }

  esplora(): string | null {
    // A page that was saved to a disk is no site that could have a server.
    if (!this.proposed || document.baseURI.startsWith('file:')) return null;
    return new URL(this.proposed, document.baseURI).href;
  }

  changed(): void {
    this.requestUpdate();
  }

  protected override render(): TemplateResult {
    const { state: shown } = this.#counter;
    const say = refundTextsFor(this.texts.lang);
    return html`
      <div class="card" part="card" lang=${this.texts.lang} data-state=${shown.name}>
        <section class="panel" part="panel" aria-label=${say.ask.title}>
          ${shown.name === 'ask' ? this.#ask(shown, say) : shown.name === 'read' ? this.#read(shown, say) : this.#sent(shown, say)}
        </section>
      </div>
    `;
  }

  #ask({ invalid }: Of<'ask'>, say: RefundTexts): TemplateResult {
    const take = (files: FileList | null | undefined) => {
      const file = files?.[0];
      if (file) void this.#counter.take(file);
    };
    const drag = (over: boolean) => (event: DragEvent) => {
      event.preventDefault();
      this.dragged = over;
    };
    return html`
      ${heading(say.ask.title)}
      <p>${say.ask.text}</p>
      ${invalid
        ? html`<p class="notice" role="alert" data-name="invalid">${alertIcon}<span><strong>${say.invalid.title}.</strong> ${say.invalid.text}</span></p>`
        : nothing}
      <label class=${this.dragged ? 'drop over' : 'drop'} @dragover=${drag(true)} @dragleave=${drag(false)}
        @drop=${(event: DragEvent) => {
          drag(false)(event);
          take(event.dataTransfer?.files);
        }}>
        <input type="file" accept=".json,application/json" data-name="file"
          @change=${(event: Event) => take((event.target as HTMLInputElement).files)} />
        <strong>${say.choose}</strong> <span class="soft">${say.drop}</span>
      </label>
    `;
  }

  #read({ file, chosen, esplora, tip, busy, code: failed }: Of<'read'>, say: RefundTexts): TemplateResult {
    const { format } = this;
    const refund = file.refunds[chosen];
    const ripe = tip !== null && tip >= file.expiryHeight;
    return html`
      ${heading(say.file)}
      <dl class="statement" part="statement">
        ${refund
          ? html`<div class="strong"><dt>${say.amount}</dt><dd>${money(format, refund.returnedSat, 'returned')}<small>${format.mbtc(refund.returnedSat)}</small></dd></div>`
          : nothing}
        <div class="long"><dt>${say.to}</dt><dd>${code(file.returnAddress, 'return-address')}<small>${say.toHint}</small></dd></div>
        <div class="long"><dt>${say.path}</dt><dd>${code(file.returnKeyPath)}</dd></div>
        <div class="long"><dt>${say.from}</dt><dd>${code(file.address, 'address')}</dd></div>
      </dl>
      <label class="entry">
        <span class="label">${say.server}</span>
        <input name="esplora" data-name="esplora" type="text" inputmode="url" autocomplete="off" autocapitalize="none" spellcheck="false"
          .value=${esplora} @change=${(event: Event) => this.#counter.ask((event.target as HTMLInputElement).value.trim())} />
        <small>${say.serverHint}</small>
      </label>
      ${this.#chain({ height: file.expiryHeight, tip, esplora, failed }, say)}
      <fieldset ?disabled=${busy}>
        <legend>${say.fee}</legend>
        <div class="choices">
          ${file.refunds.map(
            ({ satPerVbyte, returnedSat }, index) => html`<label class="choice" part="choice">
              <input type="radio" name="fee" .checked=${index === chosen} @change=${() => this.#counter.choose(index)} />
              <span><strong>${say.rate(format.count(satPerVbyte))}</strong><em>${say.comesBack(format.sat(returnedSat))}</em></span>
            </label>`,
          )}
        </div>
      </fieldset>
      ${failed !== null && failed !== 'chain_unreachable' ? this.#problem(failed, say) : nothing}
      <div class="row">
        <button class="primary" part="button primary" data-name="send" ?disabled=${busy || !ripe} @click=${() => void this.#counter.send()}>
          ${busy ? html`${spinner} ${say.sending}` : say.send}
        </button>
        <button part="button" data-name="another" ?disabled=${busy} @click=${() => this.#counter.clear()}>${say.another}</button>
      </div>
    `;
  }

  #chain({ height, tip, esplora, failed }: { height: number; tip: number | null; esplora: string; failed: string | null }, say: RefundTexts): TemplateResult {
    const { format } = this;
    if (esplora === '') return html`<p class="notice" role="status">${alertIcon}<span>${say.noServer}</span></p>`;
    if (failed === 'chain_unreachable') return html`<p class="notice" role="alert" data-name="unreachable">${alertIcon}<span>${say.unreachable}</span></p>`;
    if (tip === null) return html`<p class="status">${spinner} <span>${say.asking}</span></p>`;
    const text = tip >= height ? say.ripe(format.count(height)) : say.wait(format.count(height), format.count(tip), format.blocks(height - tip));
    return html`<p class="state" role="status" data-name="chain" data-ripe=${tip >= height}>${text}</p>`;
  }

  #sent({ sent, esplora, returnAddress }: Of<'sent'>, say: RefundTexts): TemplateResult {
    const urlOf = this.transactionUrlAt(esplora, document.baseURI);
    const returned = sent.reduce((sum, { returnedSat }) => sum + returnedSat, 0n);
    return html`
      ${heading(say.sent.title)}
      <p>${say.sent.text}</p>
      <dl class="statement" part="statement">
        <div class="strong"><dt>${say.amount}</dt><dd>${money(this.format, returned, 'returned')}</dd></div>
        <div class="long"><dt>${say.to}</dt><dd>${code(returnAddress, 'return-address')}</dd></div>
        ${sent.map(({ txid }) => {
          const url = urlOf(txid);
          return html`<div class="long"><dt>${this.texts.settled.transaction}</dt><dd>${code(txid, 'txid')}
            ${url ? html`<a href=${url} target="_blank" rel="noopener noreferrer">${this.texts.settled.look}</a>` : nothing}</dd></div>`;
        })}
      </dl>
      <button part="button" data-name="another" @click=${() => this.#counter.clear()}>${say.another}</button>
    `;
  }

  #problem(name: string, say: RefundTexts): TemplateResult {
    const text = say.failures[name as keyof RefundTexts['failures']] ?? `${this.texts.failures.unknown.title}. ${this.texts.code(name)}`;
    return html`<p class="notice" role="alert" data-name="problem">${alertIcon}<span>${text}</span></p>`;
  }
}
