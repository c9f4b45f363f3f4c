/** What every view is given: the words, the formats, the actions, and a few things that are the element's own business. */
import { html, nothing, type TemplateResult } from 'lit';
import type { ChannelSnapshot, Safety } from 'rillpay';
import type { Format } from '../format';
import type { Texts } from '../texts';

export interface View {
  texts: Texts;
  format: Format;
  /** The video's title. */
  title: string;
  /** The deposit that is shown, if there is one. */
  snapshot: ChannelSnapshot | null;
  /** Where the site keeps the pages that go with the player; null where it has none. */
  pages: { refund: string | null; wallet: string | null };
  /** Where to look at a transaction; null without an Esplora address. */
  transactionUrl: (txid: string) => string | null;
  /** The key of the thing copied a moment ago. */
  copied: string | null;
  muted: boolean;
  safety: SafetyView;
  act: Actions;
}

export interface SafetyView {
  words: string | null;
  failed: boolean;
  /** How well this browser keeps what is stored; null before it is known. */
  storage: Safety | null;
}

export interface Actions {
  begin(): void;
  restore(): void;
  restoreFrom(words: string): void;
  /** Back to the poster. */
  leave(): void;
  useWallet(): void;
  again(): void;
  choose(index: number): void;
  deposit(): void;
  copy(key: string, text: string): void;
  play(): void;
  pause(): void;
  stop(): void;
  takeBack(): void;
  toggleSound(): void;
  fullscreen(): void;
  saveRefundKit(): void;
  toggleWords(): void;
}

/** A heading that takes the focus when its view appears, so that a keyboard or screen-reader user is not left behind. */
export function heading(title: string): TemplateResult {
  return html`<h2 class="title" part="heading" tabindex="-1" data-focus>${title}</h2>`;
}

/** A transaction's or address's text that can be selected and breaks anywhere. */
export function code(text: string, name?: string): TemplateResult {
  return html`<code data-name=${name ?? nothing}>${text}</code>`;
}

/** An amount in satoshi, readable by people and by machines. */
export function money(format: Format, sat: bigint, name: string): TemplateResult {
  return html`<data value=${sat.toString()} data-name=${name}>${format.sat(sat)}</data>`;
}

export const spinner = html`<span class="spinner" aria-hidden="true"></span>`;
