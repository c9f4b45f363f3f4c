/** The card, the picture, buttons and the small things inside the panel. */
import { css } from 'lit';

export const parts = css`
  *,
  *::before,
  *::after {
    box-sizing: border-box;
  }
  p,
  dl,
  dd,
  ol,
  fieldset {
    margin: 0;
    padding: 0;
    border: 0;
  }
  .card {
    background: var(--surface);
    border: 1px solid var(--line);
    border-radius: var(--radius);
    overflow: hidden;
  }

  .stage {
    position: relative;
    aspect-ratio: 16 / 9;
    background: #0b0f13;
    overflow: hidden;
    transition: aspect-ratio 0.35s ease;
  }
  /* While it is about money the picture makes room. */
  .stage.low {
    aspect-ratio: 16 / 4;
  }
  .stage video,
  .stage img {
    position: absolute;
    inset: 0;
    width: 100%;
    height: 100%;
    object-fit: cover;
    display: block;
  }
  .stage video {
    object-fit: contain;
  }
  .stage.low img {
    filter: saturate(0.85) brightness(0.9);
  }
  .cover {
    position: absolute;
    inset: 0;
    display: flex;
    flex-direction: column;
    align-items: flex-start;
    justify-content: flex-end;
    gap: 12px;
    padding: clamp(16px, 4cqi, 32px);
    color: #fff;
    background: linear-gradient(to top, rgb(6 10 14 / 0.78), rgb(6 10 14 / 0.28) 45%, rgb(6 10 14 / 0) 75%);
  }
  .cover h2 {
    margin: 0;
    font-size: clamp(20px, 4.4cqi, 32px);
    line-height: 1.2;
    font-weight: 650;
    letter-spacing: -0.01em;
    text-wrap: balance;
  }
  .cover p {
    font-size: 15px;
    color: rgb(255 255 255 / 0.88);
  }
  .cover .under {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    justify-content: space-between;
    gap: 0 24px;
    width: 100%;
  }
  .wait {
    position: absolute;
    inset: 0;
    display: grid;
    place-items: center;
    color: #fff;
    pointer-events: none;
  }
  .wait .spinner {
    width: 40px;
    height: 40px;
    border-width: 3px;
  }

  .panel {
    display: grid;
    gap: 16px;
    padding: clamp(16px, 4cqi, 28px);
  }
  .panel > * {
    min-width: 0;
  }
  .panel > button:not(.wide) {
    justify-self: start;
  }
  .panel > [role='alert']:not(.notice) {
    display: grid;
    gap: 8px;
  }
  .title {
    margin: 0;
    font-size: 21px;
    line-height: 1.25;
    font-weight: 650;
    letter-spacing: -0.01em;
    outline: none;
  }
  [data-focus]:not(button) {
    outline: none;
  }
  .soft,
  small {
    color: var(--soft);
    font-size: 14px;
  }
  .row {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 12px 16px;
  }
  .row p {
    flex: 1 1 220px;
  }
  .grow {
    flex: 1;
  }
  .tabular,
  data,
  dd,
  .choice strong {
    font-variant-numeric: tabular-nums;
  }

  button,
  .button {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: 8px;
    min-height: 44px;
    padding: 9px 18px;
    border: 1px solid var(--line);
    border-radius: 999px;
    background: var(--raised);
    color: var(--text);
    font: inherit;
    font-weight: 600;
    line-height: 1.25;
    text-decoration: none;
    cursor: pointer;
    transition:
      background-color 0.15s,
      border-color 0.15s;
  }
  button:hover,
  .button:hover {
    border-color: var(--soft);
  }
  button.primary {
    background: var(--accent);
    border-color: transparent;
    color: var(--on-accent);
  }
  button.primary:hover {
    background: color-mix(in oklab, var(--accent), var(--text) 14%);
  }
  button.icon {
    padding: 0;
    width: 44px;
    flex: none;
    background: transparent;
  }
  button.big {
    min-height: 52px;
    padding: 12px 26px 12px 20px;
    font-size: 17px;
  }
  button.wide {
    width: 100%;
  }
  button.quiet {
    min-height: 32px;
    padding: 4px 0;
    border: 0;
    background: none;
    color: inherit;
    font-size: 14px;
    font-weight: 400;
    text-decoration: underline;
    text-underline-offset: 3px;
  }
  button:disabled {
    cursor: default;
    opacity: 0.5;
  }
  button:disabled:has(.spinner) {
    opacity: 0.75;
  }
  :focus-visible {
    outline: 3px solid var(--accent);
    outline-offset: 2px;
  }
  .cover :focus-visible {
    outline-color: #fff;
  }
  a {
    color: var(--accent);
  }
  a.button {
    color: var(--text);
  }
  svg {
    flex: none;
  }

  .spinner {
    display: inline-block;
    flex: none;
    width: 18px;
    height: 18px;
    border: 2px solid currentColor;
    border-right-color: transparent;
    border-radius: 50%;
    opacity: 0.8;
    animation: turn 0.9s linear infinite;
  }
  @keyframes turn {
    to {
      transform: rotate(1turn);
    }
  }
  .status {
    display: flex;
    gap: 12px;
    align-items: flex-start;
  }
  .status .spinner {
    margin-top: 3px;
    color: var(--accent);
  }
  .notice {
    display: flex;
    gap: 10px;
    padding: 12px 14px;
    border-radius: 12px;
    background: var(--warn-surface);
    color: var(--warn);
    font-size: 15px;
  }
  progress {
    appearance: none;
    display: block;
    width: 100%;
    height: 6px;
    border: 0;
    border-radius: 3px;
    overflow: hidden;
    background: var(--line);
    color: var(--accent);
  }
  progress::-webkit-progress-bar {
    background: var(--line);
  }
  progress::-webkit-progress-value {
    background: var(--accent);
    border-radius: 3px;
    transition: inline-size 0.4s ease;
  }
  progress::-moz-progress-bar {
    background: var(--accent);
    border-radius: 3px;
  }
  h3 {
    margin: 6px 0 0;
    font-size: 15px;
    font-weight: 650;
  }
  form {
    display: grid;
    gap: 16px;
    min-width: 0;
  }
  .entry {
    display: grid;
    gap: 6px;
    min-width: 0;
  }
  .entry .label {
    font-size: 14px;
    font-weight: 600;
  }
  input:not([type]),
  input[type='text'],
  select,
  textarea {
    width: 100%;
    min-height: 44px;
    padding: 10px 14px;
    border: 1px solid var(--line);
    border-radius: 12px;
    background: var(--raised);
    color: var(--text);
    font: inherit;
    resize: vertical;
  }
  code {
    font:
      500 14px/1.45 ui-monospace,
      SFMono-Regular,
      Menlo,
      Consolas,
      monospace;
    overflow-wrap: anywhere;
    word-break: break-all;
    user-select: all;
  }
  .hushed {
    position: absolute;
    width: 1px;
    height: 1px;
    margin: -1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }

  @media (prefers-reduced-motion: reduce) {
    *,
    *::before,
    *::after {
      transition: none !important;
    }
    .spinner {
      animation-duration: 3s;
    }
  }
`;
