/** How it ends: settling, the statement, and money that comes back after the deposit's term. */
import { html, nothing, type TemplateResult } from 'lit';
import type { PlayerState } from '../state';
import { safety } from './safety';
import { code, heading, money, spinner, type View } from './view';

type Of<Name extends PlayerState['name']> = Extract<PlayerState, { name: Name }>;

export function settlingView(_state: Of<'settling'>, { texts }: View): TemplateResult {
  return html`
    ${heading(texts.settling.title)}
    <p class="status">${spinner} <span>${texts.settling.text}</span></p>
  `;
}

export function settledView({ snapshot, statement }: Of<'settled'>, view: View): TemplateResult {
  const { texts, act } = view;
  const words = texts.settled;
  const { paidSat, returnedSat, txid, confirmed, returnAddress } = statement;
  return html`
    ${heading(words.title)}
    <p>${words.lead}</p>
    <dl class="statement" part="statement">
      ${line(words.deposit, snapshot.capacitySat, 'deposit', view)}
      ${line(words.paid, paidSat, 'paid', view)}
      ${line(words.returned, returnedSat, 'returned', view, true)}
      ${txid ? html`<div class="long"><dt>${words.transaction}</dt><dd>${code(txid, 'txid')}${transactionLink(txid, view)}</dd></div>` : nothing}
      <div class="long"><dt>${words.returnAddress}</dt><dd>${code(returnAddress, 'return-address')}</dd></div>
    </dl>
    <p class="soft" data-name="settlement">${txid ? (confirmed ? words.confirmed : words.pending) : words.noTransaction} ${words.keys}</p>
    <button part="button" data-name="again" @click=${act.again}>${words.again}</button>
    ${safety(view)}
  `;
}

export function expiredView({ snapshot, busy, failure }: Of<'expired'>, view: View): TemplateResult {
  const { texts, act } = view;
  return html`
    ${heading(texts.expired.title)}
    <p>${texts.expired.text}</p>
    <dl class="statement">${line(texts.settled.returned, snapshot.capacitySat, 'returned', view, true)}</dl>
    <button class="primary" part="button primary" data-name="take-back" ?disabled=${busy} @click=${act.takeBack}>
      ${busy ? html`${spinner} ${texts.expired.busy}` : texts.expired.action}
    </button>
    ${failure ? html`<p class="notice" role="alert">${texts.expired.failed(failure.code)}</p>` : nothing}
    ${safety(view)}
  `;
}

export function returnedView({ txid, snapshot }: Of<'returned'>, view: View): TemplateResult {
  const { texts, act } = view;
  return html`
    ${heading(texts.returned.title)}
    <p>${texts.returned.text}</p>
    <dl class="statement">
      ${line(texts.settled.returned, snapshot.capacitySat, 'returned', view, true)}
      ${txid ? html`<div class="long"><dt>${texts.settled.transaction}</dt><dd>${code(txid, 'txid')}${transactionLink(txid, view)}</dd></div>` : nothing}
    </dl>
    <button part="button" data-name="again" @click=${act.again}>${texts.settled.again}</button>
    ${safety(view)}
  `;
}

function line(label: string, sat: bigint, name: string, { format }: View, strong = false): TemplateResult {
  return html`
    <div class=${strong ? 'strong' : ''}>
      <dt>${label}</dt>
      <dd>${money(format, sat, name)}<small>${format.mbtc(sat)}</small></dd>
    </div>
  `;
}

function transactionLink(txid: string, view: View): TemplateResult | typeof nothing {
  const url = view.transactionUrl(txid);
  return url ? html`<a href=${url} target="_blank" rel="noopener noreferrer">${view.texts.settled.look}</a>` : nothing;
}
