/** "Your money's safety": the two ways back, folded away until someone wants them, and what this browser may forget. */
import { html, nothing, type TemplateResult } from 'lit';
import { alertIcon, shieldIcon } from './icons';
import type { View } from './view';

/** `loud`: the warning stands above, where money is about to be put in. */
export function safety(view: View, loud = false): TemplateResult {
  const { texts, snapshot, pages, act } = view;
  const { words, failed } = view.safety;
  const say = texts.safety;
  const warning = warningOf(view);
  const above = loud && isUrgent(view);
  return html`
    ${above ? notice(warning) : nothing}
    <details class="safety" part="safety">
      <summary>${shieldIcon} ${say.title}</summary>
      <div class="fold">
        <p>${say.intro}</p>
        ${above ? nothing : notice(warning)}
        <h3>${say.wordsTitle}</h3>
        <p>${say.wordsText}</p>
        <p><button part="button" data-name="words" aria-expanded=${words !== null} @click=${act.toggleWords}>${words === null ? say.showWords : say.hideWords}</button></p>
        ${words === null
          ? nothing
          : html`<ol class="words" aria-label=${say.words}>${words.split(/\s+/).map((word) => html`<li>${word}</li>`)}</ol>`}
        ${snapshot === null || snapshot.phase === 'settled' || snapshot.phase === 'refunded'
          ? nothing
          : html`
              <h3>${say.fileTitle}</h3>
              <p>${say.fileText(when(view))}</p>
              ${snapshot.confirmations === 0 ? html`<p data-name="refund-file-later">${say.fileLater}</p>` : nothing}
              <p class="row">
                ${snapshot.confirmations === 0
                  ? nothing
                  : html`<button part="button" data-name="refund-file" @click=${act.saveRefundKit}>${say.file}</button>`}
                ${pages.refund === null ? nothing : html`<a href=${pages.refund} target="_blank">${say.refundPage}</a>`}
              </p>
            `}
        ${pages.wallet === null ? nothing : html`<p><a href=${pages.wallet} target="_blank">${say.walletPage}</a></p>`}
        ${failed ? html`<p class="notice" role="alert">${say.failed}</p>` : nothing}
      </div>
    </details>
  `;
}

function notice(warning: string | null): TemplateResult | typeof nothing {
  if (warning === null) return nothing;
  return html`<p class="notice" part="notice" role="status" data-name="may-be-lost">${alertIcon}<span>${warning}</span></p>`;
}

/** The browser may forget before the deposit's term is over. */
function isUrgent({ safety: { storage }, snapshot }: View): boolean {
  return storage?.privateMode === true || snapshot?.evictableBeforeExpiry === true;
}

function warningOf({ texts, format, safety: { storage }, snapshot }: View): string | null {
  const say = texts.safety;
  if (storage === null) return null;
  if (storage.privateMode) return say.privateWindow;
  if (snapshot?.evictableBeforeExpiry && storage.evictionDays !== null) return say.evictable(format.days(storage.evictionDays));
  return storage.persistent ? null : say.notPersistent;
}

function when({ texts, format, snapshot }: View): string {
  if (!snapshot || snapshot.tipHeight === 0 || snapshot.tipHeight >= snapshot.expiryHeight) return texts.safety.afterTerm;
  const { expiryHeight, tipHeight } = snapshot;
  return texts.safety.fromBlock(format.count(expiryHeight), format.blocks(expiryHeight - tipHeight));
}
