/**
 * What can go wrong, as a viewer meets it. The module's stable error codes (docs/protocol.md) are folded into few
 * kinds, each with its own words; what is not listed is shown as `unknown` together with its code.
 */
import type { RillpayError } from 'rillpay';

export type FailureKind =
  | 'unreachable'
  | 'incompatible'
  | 'another_tab'
  | 'taken_over'
  | 'storage_blocked'
  | 'storage_full'
  | 'framed'
  | 'private_window'
  | 'invalid_words'
  | 'other_words'
  | 'unsupported'
  | 'too_small'
  | 'unavailable'
  | 'media'
  | 'unknown';

export interface Failure {
  kind: FailureKind;
  /** The module's code, or the kind where the page itself noticed. */
  code: string;
}

const KINDS: Record<string, FailureKind> = {
  terms_unreachable: 'unreachable',
  connection_lost: 'unreachable',
  chain_unreachable: 'unreachable',
  disconnected: 'unreachable',
  invalid_terms: 'incompatible',
  unacceptable_terms: 'incompatible',
  unsupported_version: 'incompatible',
  unknown_message: 'incompatible',
  wrong_network: 'incompatible',
  another_tab: 'another_tab',
  superseded: 'taken_over',
  storage_blocked: 'storage_blocked',
  storage_full: 'storage_full',
  third_party_frame: 'framed',
  private_mode: 'private_window',
  invalid_words: 'invalid_words',
  other_words: 'other_words',
  unsupported_browser: 'unsupported',
  no_entropy: 'unsupported',
  deposit_too_small: 'too_small',
  unavailable: 'unavailable',
  rate_limited: 'unavailable',
};

export function failure(kind: FailureKind, code: string = kind): Failure {
  return { kind, code };
}

export function failureOf(error: unknown): Failure {
  const code = codeOf(error);
  return failure(KINDS[code] ?? 'unknown', code);
}

/** The stable code of an error of the module; `unexpected` for anything else. */
export function codeOf(error: unknown): string {
  return isRillpayError(error) ? error.code : 'unexpected';
}

export function isRillpayError(error: unknown): error is RillpayError {
  return error instanceof Error && error.name === 'RillpayError' && typeof (error as RillpayError).code === 'string';
}
