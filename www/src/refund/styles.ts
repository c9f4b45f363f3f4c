/** What only the refund page's element needs. */
import { css } from 'lit';

export const refundStyles = css`
  .drop {
    position: relative;
    display: grid;
    gap: 4px;
    justify-items: center;
    padding: 32px 20px;
    border: 2px dashed var(--line);
    border-radius: 14px;
    background: var(--raised);
    text-align: center;
    cursor: pointer;
  }
  .drop strong {
    color: var(--accent);
  }
  .drop:hover,
  .drop.over {
    border-color: var(--accent);
  }
  .drop input {
    position: absolute;
    inset: 0;
    width: 100%;
    opacity: 0;
    cursor: pointer;
  }
  .drop:focus-within {
    outline: 3px solid var(--accent);
    outline-offset: 2px;
  }
  .state {
    padding: 12px 14px;
    border-radius: 12px;
    background: var(--raised);
    font-size: 15px;
  }
`;
