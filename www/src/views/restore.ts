/** The viewer's recovery words, typed in to bring a deposit here that was made elsewhere. */
import { html, nothing, type TemplateResult } from 'lit';
import type { PlayerState } from '../state';
import { alertIcon } from './icons';
import { heading, spinner, type View } from './view';

type Restore = Extract<PlayerState, { name: 'restore' }>;

export function restoreView({ busy, failure }: Restore, { texts, act }: View): TemplateResult {
  const say = texts.restore;
  const wrong = failure && texts.failures[failure.kind];
  const submit = (event: Event) => {
    event.preventDefault();
    const words = new FormData(event.target as HTMLFormElement).get('words');
    if (typeof words === 'string') act.restoreFrom(words);
  };
  // Words are one line to a reader: Enter sends them.
  const send = (event: KeyboardEvent) => {
    if (event.key !== 'Enter' || event.isComposing) return;
    event.preventDefault();
    (event.target as HTMLTextAreaElement).form?.requestSubmit();
  };
  return html`
    ${heading(say.title)}
    <p>${say.text}</p>
    <form @submit=${submit}>
      <label class="entry">
        <span class="label">${say.label}</span>
        <textarea name="words" data-name="words-typed" rows="3" required ?disabled=${busy} autocomplete="off" autocapitalize="none"
          spellcheck="false" enterkeyhint="go" lang="en" @keydown=${send}></textarea>
      </label>
      ${wrong
        ? html`<p class="notice" role="alert">${alertIcon}<span><strong>${wrong.title}.</strong> ${wrong.text}
            ${failure.kind === 'unknown' ? texts.code(failure.code) : nothing}</span></p>`
        : nothing}
      <div class="row">
        <button class="primary" part="button primary" type="submit" data-name="restore" ?disabled=${busy}>
          ${busy ? html`${spinner} ${say.busy}` : say.action}
        </button>
        <button part="button" type="button" data-name="back" ?disabled=${busy} @click=${act.leave}>${say.back}</button>
      </div>
    </form>
    <p class="soft">${say.hint}</p>
  `;
}
