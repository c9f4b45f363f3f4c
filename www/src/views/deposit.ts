/** Where to pay, and then how far the confirmation has come. */
import { html, nothing, type TemplateResult } from 'lit';
import type { PlayerState } from '../state';
import { checkIcon, copyIcon } from './icons';
import { qrCode } from './qr';
import { safety } from './safety';
import { heading, money, spinner, type View } from './view';

type Deposit = Extract<PlayerState, { name: 'deposit' }>;
type Confirming = Extract<PlayerState, { name: 'confirming' }>;

export function depositView({ terms, snapshot }: Deposit, view: View): TemplateResult {
  const { texts, format } = view;
  const { depositSat, capacitySat, address, uri } = snapshot;
  const words = texts.deposit;
  const tooSmall = capacitySat > 0n && capacitySat < terms.minDepositSat;
  return html`
    ${heading(words.title)}
    <p>${words.lead(format.mbtc(depositSat), format.btc(depositSat))}</p>
    <div class="pay">
      ${qrCode(uri, words.qr)}
      <div class="fields">
        ${field('amount', words.amount, format.btc(depositSat), words.copyAmount, format.btc(depositSat).replace(/[^\d.]/g, ''), view)}
        ${field('address', words.address, address, words.copyAddress, address, view)}
        <a class="button" part="button" href=${uri}>${words.openWallet}</a>
        <p class="soft">${words.bounds(format.mbtc(terms.minDepositSat), format.mbtc(terms.maxDepositSat))}</p>
      </div>
    </div>
    ${tooSmall
      ? html`<p class="notice" role="alert">${words.tooSmall(format.mbtc(capacitySat), format.mbtc(terms.minDepositSat))}</p>`
      : html`<p class="status">${spinner} <span><strong>${words.waiting}</strong> ${words.once}</span></p>`}
    ${safety(view)}
  `;
}

export function confirmingView({ snapshot }: Confirming, view: View): TemplateResult {
  const { texts, format } = view;
  const { capacitySat, confirmations, confirmationsRequired } = snapshot;
  const progress = texts.confirming.progress(format.count(confirmations), format.count(confirmationsRequired));
  return html`
    ${heading(texts.confirming.title)}
    <p>${texts.confirming.lead(format.mbtc(capacitySat))}</p>
    <progress part="progress" aria-label=${progress} .max=${confirmationsRequired} .value=${confirmations}></progress>
    <p class="status">${spinner} <span><strong>${progress}</strong></span></p>
    <p class="soft">${texts.confirming.hint}</p>
    <p hidden>${money(format, capacitySat, 'capacity')}</p>
    ${safety(view)}
  `;
}

function field(name: string, label: string, shown: string, copyLabel: string, copyText: string, view: View): TemplateResult {
  const copied = view.copied === name;
  return html`
    <div class="field">
      <span class="label">${label}</span>
      <code data-name=${name}>${shown}</code>
      <button class="icon" part="button" aria-label=${copyLabel} title=${copyLabel} @click=${() => view.act.copy(name, copyText)}>
        ${copied ? checkIcon : copyIcon}
      </button>
      ${copied ? html`<span class="copied" role="status">${view.texts.deposit.copied}</span>` : nothing}
    </div>
  `;
}
