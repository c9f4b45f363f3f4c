/** The panel below the picture, for each state. */
import { html, nothing, type TemplateResult } from 'lit';
import type { PlayerState } from '../state';
import { confirmingView, depositView } from './deposit';
import { failedView } from './failed';
import { expiredView, returnedView, settledView, settlingView } from './finish';
import { offerView } from './offer';
import { restoreView } from './restore';
import { readyView, watchingView } from './watching';
import { spinner, type View } from './view';

export function panel(state: PlayerState, view: View): TemplateResult | typeof nothing {
  switch (state.name) {
    case 'idle':
      return nothing;
    case 'restore':
      return restoreView(state, view);
    case 'connecting':
      return html`<p class="status" tabindex="-1" data-focus>${spinner} <span>${view.texts.connecting}</span></p>`;
    case 'offer':
      return offerView(state, view);
    case 'deposit':
      return depositView(state, view);
    case 'confirming':
      return confirmingView(state, view);
    case 'ready':
      return readyView(state, view);
    case 'watching':
      return watchingView(state, view);
    case 'settling':
      return settlingView(state, view);
    case 'settled':
      return settledView(state, view);
    case 'expired':
      return expiredView(state, view);
    case 'returned':
      return returnedView(state, view);
    case 'failed':
      return failedView(state, view);
  }
}
