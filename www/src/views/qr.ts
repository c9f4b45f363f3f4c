/** A QR code as one SVG path, drawn dark on light in either colour scheme: scanners need it. */
import { html, type TemplateResult } from 'lit';
import { encode } from 'uqr';

const QUIET_ZONE = 4;

export function qrCode(text: string, label: string): TemplateResult {
  const { data, size } = encode(text, { ecc: 'M', border: QUIET_ZONE });
  let path = '';
  data.forEach((row, y) =>
    row.forEach((dark, x) => {
      if (dark) path += `M${x} ${y}h1v1h-1z`;
    }),
  );
  return html`<svg class="qr" part="qr" role="img" aria-label=${label} viewBox="0 0 ${size} ${size}" shape-rendering="crispEdges">
    <path d=${path} fill="#101418" />
  </svg>`;
}
