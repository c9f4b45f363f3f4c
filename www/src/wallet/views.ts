/** The wallet as it is seen: the balance, receiving, sending, and what has been. */
import { html, nothing, type TemplateResult } from 'lit';
import type { Entry, Speed } from 'rillpay/wallet';
import type { Format } from '../format';
import type { Texts } from '../texts';
import { field } from '../views/field';
import { alertIcon, shieldIcon } from '../views/icons';
import { qrCode } from '../views/qr';
import { code, heading, money, spinner } from '../views/view';
import type { Desk, DeskState, Step } from './desk';
import type { WalletFailure, WalletTexts } from './texts';

export type Tab = 'receive' | 'send';
type Open = Extract<DeskState, { name: 'open' }>;

export interface WalletView {
  common: Texts;
  texts: WalletTexts;
  format: Format;
  desk: Desk;
  tab: Tab;
  turn(tab: Tab): void;
  words: string | null;
  toggleWords(): void;
  copied: string | null;
  copy(name: string, text: string): void;
  transactionUrl(txid: string): string | null;
}

const SPEEDS: readonly Speed[] = ['slow', 'normal', 'fast'];

export function walletView(state: DeskState, view: WalletView): TemplateResult {
  const { common, texts, desk } = view;
  switch (state.name) {
    case 'closed':
    case 'opening':
      return html`<p class="status" tabindex="-1" data-focus>${spinner} <span>${texts.opening}</span></p>`;
    case 'failed': {
      const { kind, code: name } = state.failure;
      const { title, text } = name in texts.failures ? { title: texts.title, text: said(name, view) } : common.failures[kind];
      return html`
        <div role="alert">${heading(title)}<p>${text}</p><p class="soft">${common.code('')}${code(name, 'code')}</p></div>
        <button class="primary" part="button primary" data-name="again" @click=${() => void desk.open()}>${common.tryAgain}</button>
      `;
    }
    case 'open':
      return html`
        ${heading(texts.title)} ${balance(state, view)}
        <div class="tabs" role="tablist">${(['receive', 'send'] as const).map((tab) => tabButton(tab, view))}</div>
        <div role="tabpanel" aria-labelledby=${`tab-${view.tab}`} class="tab">
          ${view.tab === 'receive' ? receive(state, view) : send(desk.step, view)}
        </div>
        ${history(state.history, view)} ${words(view)}
      `;
  }
}

function balance({ balance: have, looking, stale }: Open, { texts, format, desk }: WalletView): TemplateResult {
  const { confirmedSat, pendingSat, immatureSat, heldSat } = have;
  const coming = pendingSat + immatureSat;
  return html`
    <div class="meter balance" part="meter">
      <dl><div><dt>${texts.balance}</dt><dd>${money(format, confirmedSat, 'balance')}<small>${format.mbtc(confirmedSat)}</small></dd></div></dl>
      ${coming > 0n ? html`<p class="soft" data-name="pending">${texts.pending(format.sat(coming))}</p>` : nothing}
      ${heldSat > 0n ? html`<p class="soft">${texts.held(format.sat(heldSat))}</p>` : nothing}
      <button class="quiet" part="button" data-name="refresh" ?disabled=${looking} @click=${() => void desk.look()}>
        ${looking ? texts.refreshing : texts.refresh}
      </button>
    </div>
    ${stale === null ? nothing : html`<p class="notice" role="status">${alertIcon}<span>${texts.stale}</span></p>`}
  `;
}

function tabButton(tab: Tab, { texts, tab: now, turn }: WalletView): TemplateResult {
  const other: Tab = tab === 'receive' ? 'send' : 'receive';
  const keys = (event: KeyboardEvent) => {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    turn(other);
    (event.currentTarget as HTMLElement).parentElement?.querySelector<HTMLElement>(`#tab-${other}`)?.focus();
  };
  return html`<button part="button" role="tab" id=${`tab-${tab}`} data-name=${tab} aria-selected=${now === tab} tabindex=${now === tab ? 0 : -1}
    @click=${() => turn(tab)} @keydown=${keys}>${texts.tabs[tab]}</button>`;
}

function receive({ address }: Open, view: WalletView): TemplateResult {
  const { receive: say } = view.texts;
  const copying = { copied: view.copied, said: say.copied, copy: view.copy };
  const { step } = view.desk;
  return html`
    <p>${say.text}</p>
    <div class="pay">
      ${qrCode(`bitcoin:${address}`, say.qr)}
      <div class="fields">
        ${field({ name: 'address', label: say.address, shown: address, copyLabel: say.copyAddress, text: address }, copying)}
        <button class="quiet" part="button" data-name="fresh" @click=${() => void view.desk.freshAddress()}>${say.fresh}</button>
        ${step.name === 'form' && step.code === 'gap_limit' ? problem('gap_limit', view) : nothing}
      </div>
    </div>
  `;
}

function send(step: Step, view: WalletView): TemplateResult {
  if (step.name === 'check') return check(step, view);
  if (step.name === 'sent') return sent(step, view);
  const { texts, desk } = view;
  const { draft } = desk;
  const { send: say } = texts;
  const typed = (event: Event) => (event.target as HTMLInputElement).value;
  const submit = (event: Event) => {
    event.preventDefault();
    void desk.review();
  };
  return html`
    <form @submit=${submit}>
      <label class="entry"><span class="label">${say.to}</span>
        <input name="to" data-name="to" required autocomplete="off" autocapitalize="none" spellcheck="false" .value=${draft.to}
          @input=${(event: Event) => desk.write({ to: typed(event) })} /></label>
      <div class="entry">
        <label class="label" for="amount">${say.amount}</label>
        <div class="row tight">
          <input id="amount" data-name="sat" inputmode="numeric" autocomplete="off" ?required=${!draft.everything} ?disabled=${draft.everything}
            .value=${draft.everything ? '' : draft.amount} @input=${(event: Event) => desk.write({ amount: typed(event) })} />
          <label class="check"><input type="checkbox" data-name="everything" .checked=${draft.everything}
            @change=${(event: Event) => desk.write({ everything: (event.target as HTMLInputElement).checked })} /> ${say.everything}</label>
        </div>
      </div>
      <fieldset>
        <legend>${say.fee}</legend>
        <div class="choices">
          ${SPEEDS.map(
            (speed) => html`<label class="choice" part="choice">
              <input type="radio" name="speed" data-name=${speed} .checked=${draft.speed === speed} @change=${() => desk.write({ speed })} />
              <span>${say.speeds[speed]}</span></label>`,
          )}
        </div>
      </fieldset>
      ${step.code === null ? nothing : problem(step.code, view)}
      <button class="primary" part="button primary" type="submit" data-name="review" ?disabled=${step.busy}>
        ${step.busy ? html`${spinner} ${say.reviewing}` : say.review}
      </button>
    </form>
  `;
}

function check({ quote, busy, code: failed }: Extract<Step, { name: 'check' }>, view: WalletView): TemplateResult {
  const { texts, format, desk } = view;
  const { send: say } = texts;
  const { amountSat, feeSat, satPerVbyte } = quote;
  return html`
    <div class="check-over">
      <h3>${say.check.title}</h3>
      <p>${say.check.text}</p>
      <dl class="statement" part="statement">
        <div class="long"><dt>${say.to}</dt><dd>${code(desk.draft.to.trim(), 'checked-to')}</dd></div>
        ${line(say.arrives, amountSat, 'arrives', format, true)}
        ${line(say.feeLine(format.count(satPerVbyte)), feeSat, 'fee', format)}
        ${line(say.total, amountSat + feeSat, 'total', format)}
      </dl>
      ${failed === null ? nothing : problem(failed, view)}
      <div class="row">
        <button class="primary" part="button primary" data-name="confirm" ?disabled=${busy} @click=${() => void desk.send()}>
          ${busy ? html`${spinner} ${say.sending}` : say.confirm}
        </button>
        <button part="button" data-name="change" ?disabled=${busy} @click=${() => desk.edit()}>${say.change}</button>
      </div>
    </div>
  `;
}

function sent({ sent: done }: Extract<Step, { name: 'sent' }>, view: WalletView): TemplateResult {
  const { texts, desk, format } = view;
  const { send: say } = texts;
  return html`
    <div class="check-over" role="status">
      <h3>${say.sent.title}</h3>
      <p>${done.broadcast ? say.sent.text : say.waits}</p>
      <dl class="statement" part="statement">
        ${line(say.arrives, done.amountSat, 'arrives', format, true)} ${line(say.feeLine(format.count(done.satPerVbyte)), done.feeSat, 'fee', format)}
        <div class="long"><dt>${view.common.settled.transaction}</dt><dd>${code(done.txid, 'sent-txid')}${link(done.txid, view)}</dd></div>
      </dl>
      <button part="button" data-name="another" @click=${() => desk.edit()}>${say.another}</button>
    </div>
  `;
}

function history(entries: Entry[], view: WalletView): TemplateResult {
  const { history: say } = view.texts;
  return html`
    <section class="history" aria-label=${say.title}>
      <h3>${say.title}</h3>
      ${entries.length === 0 ? html`<p class="soft">${say.none}</p>` : html`<ol>${entries.map((entry) => past(entry, view))}</ol>`}
    </section>
  `;
}

function past({ txid, receivedSat, sentSat, feeSat, confirmations, time }: Entry, view: WalletView): TemplateResult {
  const { texts, format } = view;
  const { history: say } = texts;
  const net = receivedSat - sentSat;
  // What left only as a fee moved within the wallet.
  const moved = sentSat > 0n && feeSat !== null && -net === feeSat;
  const shown = net > 0n || feeSat === null || moved ? net : net + feeSat;
  const details = [
    confirmations === 0 ? say.waiting : time === null ? say.confirmations(format.count(confirmations)) : format.date(time / 1000),
    ...(sentSat > 0n && feeSat !== null && !moved ? [say.fee(format.sat(feeSat))] : []),
  ];
  return html`
    <li data-txid=${txid} class=${net > 0n ? 'in' : 'out'}>
      <span>${moved ? say.moved : net > 0n ? say.received : say.sent}</span>
      <data value=${shown.toString()}>${shown > 0n ? '+' : ''}${format.sat(shown)}</data>
      <small><span>${details.join(' · ')}</span> ${link(txid, view)}</small>
    </li>
  `;
}

function words({ texts, common, words: shown, toggleWords }: WalletView): TemplateResult {
  const { safety: say } = texts;
  return html`
    <details class="safety" part="safety">
      <summary>${shieldIcon} ${say.title}</summary>
      <div class="fold">
        <p>${say.text}</p>
        <p><button part="button" data-name="words" aria-expanded=${shown !== null} @click=${toggleWords}>
          ${shown === null ? common.safety.showWords : common.safety.hideWords}</button></p>
        ${shown === null ? nothing : html`<ol class="words" aria-label=${say.title}>${shown.split(/\s+/).map((word) => html`<li>${word}</li>`)}</ol>`}
      </div>
    </details>
  `;
}

function problem(name: string, view: WalletView): TemplateResult {
  return html`<p class="notice" role="alert" data-name="problem">${alertIcon}<span>${said(name, view)}</span></p>`;
}

function said(name: string, { texts, common }: WalletView): string {
  if (name === 'bad_amount') return texts.send.badAmount;
  return texts.failures[name as WalletFailure] ?? `${common.failures.unknown.title}. ${common.code(name)}`;
}

function line(label: string, sat: bigint, name: string, format: Format, strong = false): TemplateResult {
  return html`<div class=${strong ? 'strong' : ''}><dt>${label}</dt><dd>${money(format, sat, name)}<small>${format.mbtc(sat)}</small></dd></div>`;
}

function link(txid: string, { transactionUrl, common }: WalletView): TemplateResult | typeof nothing {
  const url = transactionUrl(txid);
  return url ? html`<a href=${url} target="_blank" rel="noopener noreferrer">${common.settled.look}</a>` : nothing;
}
