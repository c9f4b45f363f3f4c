/** "Your money's safety": the refund file and the recovery words, folded away until someone wants them. */
import { html, nothing, type TemplateResult } from 'lit';
import { shieldIcon } from './icons';
import type { View } from './view';

export function safety({ texts, safety: { words, failed, persistent }, act }: View): TemplateResult {
  const { safety: say } = texts;
  return html`
    <details class="safety" part="safety">
      <summary>${shieldIcon} ${say.title}</summary>
      <div class="fold">
        <p>${say.intro}</p>
        ${persistent ? nothing : html`<p class="notice">${say.notPersistent}</p>`}
        <p><button part="button" data-name="refund-file" @click=${act.saveRefundKit}>${say.file}</button></p>
        <p class="soft">${say.fileText}</p>
        <p><button part="button" data-name="words" aria-expanded=${words !== null} @click=${act.toggleWords}>${words === null ? say.showWords : say.hideWords}</button></p>
        <p class="soft">${say.wordsText}</p>
        ${words === null
          ? nothing
          : html`<ol class="words" aria-label=${say.words}>${words.split(/\s+/).map((word) => html`<li>${word}</li>`)}</ol>`}
        ${failed ? html`<p class="notice" role="alert">${say.failed}</p>` : nothing}
      </div>
    </details>
  `;
}
