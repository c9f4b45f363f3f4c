/** Colours and measures. A page may set any `--rillpay-*` property on the element or above it; they win in both schemes. */
import { css } from 'lit';

export const theme = css`
  :host {
    --accent: var(--rillpay-accent, light-dark(#0d6e68, #5fd6c6));
    --on-accent: var(--rillpay-on-accent, light-dark(#ffffff, #06211f));
    --surface: var(--rillpay-surface, light-dark(#ffffff, #171b20));
    --raised: var(--rillpay-raised, light-dark(#f4f6f7, #20262c));
    --text: var(--rillpay-text, light-dark(#14191e, #e9eef2));
    --soft: var(--rillpay-soft, light-dark(#55606b, #a3afba));
    --line: var(--rillpay-line, light-dark(#dfe4e8, #2f373f));
    --warn: var(--rillpay-warn, light-dark(#8a4b08, #f3c178));
    --warn-surface: var(--rillpay-warn-surface, light-dark(#fdf3e3, #2f2618));
    --radius: var(--rillpay-radius, 16px);

    display: block;
    container-type: inline-size;
    color-scheme: var(--rillpay-color-scheme, light dark);
    color: var(--text);
    font: 400 16px/1.5 var(--rillpay-font, system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Noto Sans SC', 'PingFang SC', sans-serif);
    -webkit-text-size-adjust: 100%;
  }
  :host([hidden]) {
    display: none;
  }
`;
