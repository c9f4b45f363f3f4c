/** What only the wallet needs. */
import { css } from 'lit';

export const walletStyles = css`
  .panel > .tabs {
    display: grid;
    grid-template-columns: 1fr 1fr;
    gap: 4px;
    padding: 4px;
    border-radius: 999px;
    background: var(--raised);
  }
  .tabs button {
    border-color: transparent;
    background: none;
    color: var(--soft);
  }
  .tabs [aria-selected='true'] {
    background: var(--surface);
    border-color: var(--line);
    color: var(--text);
  }
  .tab,
  .check-over {
    display: grid;
    gap: 16px;
    min-width: 0;
  }
  .tab button,
  .check-over > button {
    justify-self: start;
  }
  .balance dl {
    grid-template-columns: 1fr;
  }
  .balance dd {
    font-size: 26px;
  }
  .balance small {
    display: block;
    font-weight: 400;
    letter-spacing: 0;
  }
  .balance .quiet {
    justify-self: start;
    color: var(--soft);
  }
  .choice span {
    grid-template-columns: 1fr;
  }
  .tight {
    flex-wrap: nowrap;
  }
  .check {
    display: inline-flex;
    align-items: center;
    gap: 8px;
    min-height: 44px;
    white-space: nowrap;
    cursor: pointer;
  }
  .check input {
    width: 20px;
    height: 20px;
    margin: 0;
    accent-color: var(--accent);
  }
  .history ol {
    list-style: none;
    border-top: 1px solid var(--line);
    margin-top: 8px;
  }
  .history li {
    display: grid;
    grid-template-columns: minmax(0, 1fr) auto;
    align-items: baseline;
    gap: 2px 16px;
    padding: 11px 0;
    border-bottom: 1px solid var(--line);
  }
  .history small {
    grid-column: 1 / -1;
    display: flex;
    justify-content: space-between;
    flex-wrap: wrap;
    gap: 0 12px;
  }
  .history data {
    font-weight: 600;
    white-space: nowrap;
  }
  .history .in data {
    color: var(--accent);
  }
`;
