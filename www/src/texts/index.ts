/** Picks the texts for a language tag, and the locale whose digits and marks go with them. */
import { en } from './en';
import type { Texts } from './texts';
import { zhCN } from './zh-CN';

export type { Heading, Texts } from './texts';

/** Any Chinese is answered in Simplified Chinese, everything else in English. */
export function textsFor(tag: string): Texts {
  return /^zh\b/i.test(tag) ? zhCN : en;
}

/** `en-IN` keeps its own digit groups; a language without texts of its own is shown in the texts' language. */
export function localeFor(tag: string, texts: Texts): string {
  const base = (of: string) => of.split('-', 1)[0]?.toLowerCase();
  if (base(tag) !== base(texts.lang)) return texts.lang;
  try {
    return Intl.getCanonicalLocales(tag)[0] ?? texts.lang;
  } catch {
    return texts.lang;
  }
}
