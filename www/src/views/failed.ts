/** Nothing can go on: what happened, that the money is safe, and the one thing to do about it. */
import { html, nothing, type TemplateResult } from 'lit';
import type { FailureKind } from '../failures';
import type { PlayerState } from '../state';
import { safety } from './safety';
import { code, heading, type View } from './view';

type Failed = Extract<PlayerState, { name: 'failed' }>;

/** A new attempt in this page and browser cannot help. */
const FINAL: ReadonlySet<FailureKind> = new Set(['framed', 'unsupported', 'private_window']);
/** The words say all there is to know. */
const PLAIN: ReadonlySet<FailureKind> = new Set(['another_tab', 'taken_over', 'framed', 'private_window']);

export function failedView({ failure, snapshot }: Failed, view: View): TemplateResult {
  const { texts, act } = view;
  const { title, text } = texts.failures[failure.kind];
  const ours = snapshot !== null && failure.kind !== 'taken_over' && failure.kind !== 'another_tab';
  return html`
    <div role="alert">
      ${heading(title)}
      <p>${text} ${ours ? texts.moneySafe : nothing}</p>
      ${PLAIN.has(failure.kind) ? nothing : html`<p class="soft">${texts.code('')}${code(failure.code, 'code')}</p>`}
    </div>
    <div class="row">
      ${FINAL.has(failure.kind)
        ? nothing
        : html`<button class="primary" part="button primary" data-name="again" @click=${act.begin}>
            ${failure.kind === 'taken_over' ? texts.watchHere : texts.tryAgain}
          </button>`}
      ${ours && snapshot.phase === 'open'
        ? html`<button part="button" data-name="stop" @click=${act.stop}>${texts.settleNow}</button>`
        : nothing}
    </div>
    ${ours ? safety(view) : nothing}
  `;
}
