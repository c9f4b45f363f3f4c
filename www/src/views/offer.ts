/** The price in words, and how much to put in. */
import { html, nothing, type TemplateResult } from 'lit';
import type { PlayerState } from '../state';
import { heading, spinner, type View } from './view';

type Offer = Extract<PlayerState, { name: 'offer' }>;

export function offerView({ terms, choices, chosen, opening, nothingFound }: Offer, view: View): TemplateResult {
  const { texts, format, act } = view;
  const price = texts.price[terms.unit](format.msat(terms.priceMsat));
  const lasts = (units: bigint) =>
    terms.unit === 'second' ? texts.offer.lasts.second(format.duration(units)) : texts.offer.lasts[terms.unit](format.count(units));
  return html`
    ${heading(texts.offer.title)}
    ${nothingFound ? html`<p class="notice" role="status" data-name="nothing-found">${texts.restore.nothingFound}</p>` : nothing}
    <p>${texts.offer.lead(price)}</p>
    <fieldset ?disabled=${opening}>
      <legend>${texts.offer.choose}</legend>
      <div class="choices">
        ${choices.map(
          ({ sat, units }, index) => html`
            <label class="choice" part="choice">
              <input type="radio" name="amount" .checked=${index === chosen} @change=${() => act.choose(index)} />
              <span>
                <strong>${format.mbtc(sat)}</strong>
                <small>${format.btc(sat)}</small>
                <em>${lasts(units)}</em>
              </span>
            </label>
          `,
        )}
      </div>
    </fieldset>
    <div class="row">
      <button class="primary" part="button primary" data-name="continue" ?disabled=${opening} @click=${act.deposit}>
        ${opening ? html`${spinner} ${texts.offer.proceeding}` : texts.offer.proceed}
      </button>
      <p class="soft">${texts.offer.promise}</p>
    </div>
    <button class="quiet soft" part="button" data-name="have-words" ?disabled=${opening} @click=${act.restore}>${texts.haveWords}</button>
  `;
}
