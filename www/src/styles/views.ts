/** What belongs to one view only. */
import { css } from 'lit';

export const views = css`
  legend {
    padding: 0;
    margin-bottom: 10px;
    font-weight: 600;
  }
  .choices {
    display: grid;
    gap: 10px;
  }
  .choice {
    position: relative;
    display: block;
    cursor: pointer;
  }
  .choice input {
    position: absolute;
    opacity: 0;
    inset: 0;
    margin: 0;
    cursor: pointer;
  }
  .choice span {
    display: grid;
    grid-template-columns: auto 1fr;
    align-items: baseline;
    gap: 0 8px;
    height: 100%;
    padding: 12px 16px;
    border: 1px solid var(--line);
    border-radius: 12px;
    background: var(--raised);
  }
  .choice strong {
    font-size: 17px;
    font-weight: 650;
    white-space: nowrap;
  }
  .choice small {
    white-space: nowrap;
  }
  .choice em {
    grid-column: 1 / -1;
    font-style: normal;
    font-size: 14px;
    color: var(--soft);
  }
  .choice :checked + span {
    border-color: var(--accent);
    box-shadow: inset 0 0 0 1px var(--accent);
    background: color-mix(in oklab, var(--surface), var(--accent) 9%);
  }
  .choice :focus-visible + span {
    outline: 3px solid var(--accent);
    outline-offset: 2px;
  }

  .pay {
    display: grid;
    gap: 20px;
    justify-items: center;
  }
  .qr {
    display: block;
    width: min(100%, 232px);
    aspect-ratio: 1;
    border-radius: 12px;
    border: 1px solid var(--line);
    background: #fff;
  }
  .fields {
    display: grid;
    gap: 12px;
    width: 100%;
    min-width: 0;
    align-content: start;
  }
  .field {
    position: relative;
    display: grid;
    grid-template-columns: 1fr auto;
    align-items: center;
    column-gap: 8px;
    padding: 8px 8px 8px 14px;
    border: 1px solid var(--line);
    border-radius: 12px;
    background: var(--raised);
  }
  .field .label {
    grid-column: 1;
    font-size: 13px;
    line-height: 1.3;
    color: var(--soft);
  }
  .field code {
    grid-column: 1;
  }
  .field button {
    grid-area: 1 / 2 / 3;
    border-color: transparent;
  }
  .copied {
    position: absolute;
    right: 12px;
    top: -10px;
    padding: 1px 10px;
    border-radius: 999px;
    background: var(--accent);
    color: var(--on-accent);
    font-size: 13px;
  }

  .controls {
    display: flex;
    align-items: center;
    gap: 8px;
  }
  .clock {
    display: grid;
    padding-left: 8px;
    font-size: 13px;
    line-height: 1.35;
    color: var(--soft);
    white-space: nowrap;
  }
  .meter {
    display: grid;
    gap: 12px;
    padding: 16px;
    border-radius: 14px;
    background: var(--raised);
  }
  .meter dl {
    display: grid;
    grid-template-columns: 1fr 1fr;
    gap: 12px 16px;
  }
  .meter dt {
    font-size: 13px;
    line-height: 1.35;
    color: var(--soft);
  }
  .meter dd {
    font-size: 19px;
    font-weight: 650;
    letter-spacing: -0.01em;
    white-space: nowrap;
  }
  .meter div:first-child dd {
    color: var(--accent);
  }
  .meter div:last-child {
    grid-column: 1 / -1;
  }

  .statement {
    display: grid;
    border-top: 1px solid var(--line);
  }
  .statement > div {
    display: flex;
    justify-content: space-between;
    align-items: baseline;
    gap: 2px 16px;
    padding: 11px 0;
    border-bottom: 1px solid var(--line);
  }
  .statement dt {
    color: var(--soft);
  }
  .statement dd {
    white-space: nowrap;
    text-align: right;
    font-weight: 600;
  }
  .statement dd small {
    display: block;
    font-weight: 400;
  }
  .statement .strong dd data {
    color: var(--accent);
    font-size: 20px;
    font-weight: 650;
  }
  .statement .long {
    display: grid;
  }
  .statement .long dd {
    display: grid;
    gap: 4px;
    justify-items: start;
    white-space: normal;
    text-align: left;
    font-weight: 400;
  }

  .safety {
    border-top: 1px solid var(--line);
    padding-top: 6px;
    margin-bottom: -8px;
  }
  .safety summary {
    display: inline-flex;
    align-items: center;
    gap: 8px;
    min-height: 40px;
    font-size: 14px;
    color: var(--soft);
    cursor: pointer;
    list-style: none;
    border-radius: 8px;
  }
  .safety summary::-webkit-details-marker {
    display: none;
  }
  .safety summary::after {
    content: '';
    width: 7px;
    height: 7px;
    margin: -3px 0 0 2px;
    border: solid currentColor;
    border-width: 0 1.5px 1.5px 0;
    rotate: 45deg;
  }
  .safety[open] summary::after {
    rotate: 225deg;
    margin-top: 4px;
  }
  .fold {
    display: grid;
    gap: 10px;
    padding: 6px 0 12px;
    font-size: 15px;
  }
  .words {
    display: grid;
    grid-template-columns: repeat(auto-fill, minmax(104px, 1fr));
    gap: 6px 12px;
    padding: 12px 14px 12px 38px;
    border-radius: 12px;
    background: var(--raised);
    font-variant-numeric: tabular-nums;
  }

  @container (min-width: 560px) {
    .choices {
      grid-template-columns: repeat(auto-fit, minmax(160px, 1fr));
    }
    .pay {
      grid-template-columns: 232px 1fr;
      align-items: center;
    }
    .meter dl {
      grid-template-columns: repeat(3, 1fr);
    }
    .meter dd {
      font-size: 22px;
    }
    .meter div:last-child {
      grid-column: auto;
    }
    button.wide {
      width: auto;
      justify-self: start;
    }
  }
  @container (max-width: 420px) {
    .cover {
      gap: 8px;
      padding-block: 12px;
    }
    .cover button.big {
      min-height: 46px;
      padding-block: 9px;
    }
    .controls {
      gap: 4px;
    }
    .controls button:not(.icon) {
      padding-inline: 14px;
    }
    button.wide {
      padding-inline: 10px;
      font-size: 15px;
    }
  }
`;
