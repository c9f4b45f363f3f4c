/** Puts a page's own texts into Simplified Chinese where its address asks for it; the elements follow the page's language. */

/** By the name in `data-text`; in two parts where the first is set in bold. */
export type PageTexts = Record<string, string | [strong: string, rest: string]>;

const chosen = new URLSearchParams(location.search).get('lang');
export const chinese = chosen?.startsWith('zh') ?? false;

export function translate(title: string, texts: PageTexts): void {
  if (!chinese) return;
  document.documentElement.lang = 'zh-CN';
  document.title = title;
  for (const [name, text] of Object.entries(texts)) {
    const element = document.querySelector(`[data-text="${name}"]`);
    if (typeof text === 'string') element?.replaceChildren(text);
    else element?.replaceChildren(Object.assign(document.createElement('strong'), { textContent: text[0] }), text[1]);
  }
  for (const link of document.querySelectorAll<HTMLAnchorElement>('a[data-page]')) link.search = '?lang=zh-CN';
  const other = document.querySelector<HTMLAnchorElement>('#language');
  if (!other) return;
  other.href = '?lang=en';
  other.lang = other.hreflang = 'en';
  other.textContent = 'English';
}
