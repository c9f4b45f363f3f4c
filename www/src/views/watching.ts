/** The running video's controls and meter. */
import { html, nothing, type TemplateResult } from 'lit';
import { satFromMsat, unitsFor } from '../format';
import type { PlayerState } from '../state';
import { alertIcon, fullscreenIcon, muteIcon, pauseIcon, playIcon, soundIcon, stopIcon } from './icons';
import { safety } from './safety';
import { heading, money, type View } from './view';

type Ready = Extract<PlayerState, { name: 'ready' }>;
type Watching = Extract<PlayerState, { name: 'watching' }>;

export function readyView({ snapshot, resumed }: Ready, view: View): TemplateResult {
  const { texts, format, act } = view;
  const left = snapshot.capacitySat - satFromMsat(snapshot.deliveredMsat);
  return html`
    ${heading(resumed ? texts.ready.titleResumed : texts.ready.title)}
    <p>${texts.ready.lead(format.mbtc(left))}</p>
    <div class="row">
      <button class="primary" part="button primary" data-name="play" @click=${act.play}>
        ${playIcon} ${resumed ? texts.ready.goOn : texts.ready.start}
      </button>
      <button part="button" data-name="stop" @click=${act.stop}>${texts.watching.stop}</button>
    </div>
    ${safety(view, true)}
  `;
}

export function watchingView({ snapshot, playing }: Watching, view: View): TemplateResult {
  const { texts, format, act } = view;
  const words = texts.watching;
  const { status, notice } = playing;
  const running = status === 'playing' || status === 'loading';
  const { capacitySat, deliveredMsat, paidSat, paymentsLeft, priceMsat, unit } = snapshot;
  const owed = satFromMsat(deliveredMsat);
  const left = capacitySat > owed ? capacitySat - owed : 0n;
  const units = unitsFor(left, priceMsat, paymentsLeft);
  const received = deliveredMsat / (priceMsat || 1n);
  const ahead = paidSat > owed ? paidSat - owed : 0n;
  const finishing = status === 'ended' || notice === 'spent' || notice === 'payments_spent' || notice === 'expiring' || notice === 'price_refused';
  const time = playing.duration > 0 ? `${format.clock(playing.position)} / ${format.clock(playing.duration)}` : format.clock(playing.position);

  return html`
    <div class="controls" role="group" aria-label=${view.title}>
      <button class=${finishing ? '' : 'primary'} part="button" data-focus data-name=${running ? 'pause' : 'play'}
        @click=${running ? act.pause : act.play}>
        ${running ? pauseIcon : playIcon} ${running ? words.pause : status === 'ended' ? words.again : words.play}
      </button>
      <span class="clock"><span data-name="status">${words.status[status]}</span><span class="tabular">${time}</span></span>
      <span class="grow"></span>
      <button class="icon" part="button" aria-label=${view.muted ? words.unmute : words.mute} title=${view.muted ? words.unmute : words.mute} @click=${act.toggleSound}>
        ${view.muted ? muteIcon : soundIcon}
      </button>
      <button class="icon" part="button" aria-label=${words.fullscreen} title=${words.fullscreen} @click=${act.fullscreen}>${fullscreenIcon}</button>
    </div>

    ${notice
      ? html`<p class="notice" part="notice" role=${notice === 'nearly_spent' || notice === 'waiting_for_payment' ? 'status' : 'alert'}>${alertIcon}<span>${texts.notices[notice]}</span></p>`
      : nothing}

    <div class="meter" part="meter">
      <dl>
        <div><dt>${words.paid}</dt><dd>${money(format, owed, 'paid')}</dd></div>
        ${unit === 'second'
          ? html`<div><dt>${words.timeLeft}</dt><dd data-name="time-left">${format.clock(units)}</dd></div>`
          : html`<div><dt>${words.unitsLeft}</dt><dd>${format.count(units)}</dd></div>`}
        <div><dt>${words.depositLeft}</dt><dd>${money(format, left, 'left')}</dd></div>
      </dl>
      <progress part="progress" aria-label=${words.used} max="1000" .value=${share(owed, capacitySat)}></progress>
      <p class="soft">
        ${unit === 'second' ? words.delivered.second(format.clock(received)) : words.delivered[unit](format.count(received))}
        ${ahead > 0n ? html`<span data-name="ahead">${words.ahead(format.sat(ahead))}</span>` : nothing}
        ${paymentsLeft === null ? nothing : html`<span data-name="payments-left">${words.paymentsLeft(format.count(paymentsLeft))}</span>`}
        ${status === 'paused' ? words.pausedHint : status === 'ended' ? words.endedHint : nothing}
      </p>
    </div>

    <button class=${finishing ? 'wide primary' : 'wide'} part="button" data-name="stop" @click=${act.stop}>${stopIcon} ${words.stop}</button>
    ${safety(view)}
  `;
}

/** Thousandths, for a bar only. */
function share(part: bigint, whole: bigint): number {
  return whole > 0n ? Number((part * 1000n) / whole) : 0;
}
