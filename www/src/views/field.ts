/** Something to copy: its label, the text as people read it, and a button. */
import { html, nothing, type TemplateResult } from 'lit';
import { checkIcon, copyIcon } from './icons';

export interface Field {
  name: string;
  label: string;
  shown: string;
  copyLabel: string;
  /** What is copied. */
  text: string;
}

export interface Copying {
  /** The name of the field that was copied a moment ago. */
  copied: string | null;
  /** What is said then. */
  said: string;
  copy(name: string, text: string): void;
}

export function field({ name, label, shown, copyLabel, text }: Field, { copied, said, copy }: Copying): TemplateResult {
  const done = copied === name;
  return html`
    <div class="field">
      <span class="label">${label}</span>
      <code data-name=${name}>${shown}</code>
      <button class="icon" part="button" type="button" aria-label=${copyLabel} title=${copyLabel} @click=${() => copy(name, text)}>
        ${done ? checkIcon : copyIcon}
      </button>
      ${done ? html`<span class="copied" role="status">${said}</span>` : nothing}
    </div>
  `;
}
