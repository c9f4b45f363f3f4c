/** Where to pay, and then how far the confirmation has come. */
import { html, nothing, type TemplateResult } from 'lit';
import type { Failure } from '../failures';
import type { PlayerState } from '../state';
import { field } from './field';
import { alertIcon } from './icons';
import { qrCode } from './qr';
import { safety } from './safety';
import { heading, money, spinner, type View } from './view';

type Deposit = Extract<PlayerState, { name: 'deposit' }>;
type Confirming = Extract<PlayerState, { name: 'confirming' }>;

export function depositView({ terms, snapshot, arrival }: Deposit, view: View): TemplateResult {
  const { texts, format, act } = view;
  const { depositSat, address, uri } = snapshot;
  const words = texts.deposit;
  const copying = { copied: view.copied, said: words.copied, copy: act.copy };
  const tooSmall = arrival.sat > 0n && arrival.sat < terms.minDepositSat;
  return html`
    ${heading(words.title)}
    <p>${words.lead(format.mbtc(depositSat), format.btc(depositSat))} ${snapshot.kind === 'timelock' ? words.withFee : nothing}</p>
    <div class="pay">
      ${qrCode(uri, words.qr)}
      <div class="fields">
        ${field({ name: 'amount', label: words.amount, shown: format.btc(depositSat), copyLabel: words.copyAmount, text: format.plainBtc(depositSat) }, copying)}
        ${field({ name: 'address', label: words.address, shown: address, copyLabel: words.copyAddress, text: address }, copying)}
        <a class="button" part="button" href=${uri}>${words.openWallet}</a>
        <p class="soft">${words.bounds(format.mbtc(terms.minDepositSat), format.mbtc(terms.maxDepositSat))}</p>
      </div>
    </div>
    ${arrival.spareSat > 0n
      ? html`<button part="button" data-name="from-wallet" @click=${act.useWallet}>${words.fromWallet(format.mbtc(arrival.spareSat))}</button>`
      : nothing}
    ${tooSmall
      ? html`<p class="notice" role="alert">${words.tooSmall(format.mbtc(arrival.sat), format.mbtc(terms.minDepositSat))}</p>`
      : html`<p class="status">${spinner} <span><strong>${words.waiting}</strong> ${words.once}</span></p>`}
    ${hindrance(arrival.failure, view)} ${safety(view, true)}
  `;
}

export function confirmingView({ arrival }: Confirming, view: View): TemplateResult {
  const { texts, format } = view;
  const { sat, done, needed } = arrival;
  const progress = texts.confirming.progress(format.count(done), format.count(needed));
  return html`
    ${heading(texts.confirming.title)}
    <p>${texts.confirming.lead(format.mbtc(sat))}</p>
    <progress part="progress" aria-label=${progress} .max=${needed} .value=${done}></progress>
    <p class="status">${spinner} <span><strong>${progress}</strong></span></p>
    <p class="soft">${texts.confirming.hint}</p>
    ${hindrance(arrival.failure, view)}
    <p hidden>${money(format, sat, 'capacity')}</p>
    ${safety(view, true)}
  `;
}

/** What keeps a payment that has arrived from being put in. */
function hindrance(failure: Failure | null, { texts }: View): TemplateResult | typeof nothing {
  if (failure === null) return nothing;
  const { title, text } = texts.failures[failure.kind];
  return html`<p class="notice" role="alert" data-name="hindrance">${alertIcon}<span><strong>${title}.</strong> ${text}</span></p>`;
}
