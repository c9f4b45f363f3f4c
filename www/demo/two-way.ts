/** The page on which a tab and the site's node pay each other. The node is the demo's; its coins are play money. */
import { openTwoWay, type TwoWay, type TwoWayChannel, type TwoWayState } from 'rillpay/two-way';
import { chinese, translate } from './language';
import { type Say, en, zh } from './two-way-texts';

const AMOUNT_SAT = 1_000n;
/** After how long a cinema is called again that has not answered since the page was opened. */
const RETRY_MILLISECONDS = 5_000;
/** How many payments are listed. */
const LISTED = 5;
const ENDED: readonly TwoWayState[] = ['closed', 'closed_alone', 'spent', 'fell_behind'];

translate(zh.title, zh.page);
const say: Say = chinese ? zh : en;

function found<T extends HTMLElement>(selector: string): T {
  const element = document.querySelector<T>(selector);
  if (!element) throw new Error(`there is no ${selector}`);
  return element;
}

const card = found('.channel');
const status = found('#status');
const payments = found('#payments');
const split = found<HTMLProgressElement>('#split');
const sides = { ours: found<HTMLDataElement>('#ours'), theirs: found<HTMLDataElement>('#theirs') };
const button = (name: string) => found<HTMLButtonElement>(`#${name}`);
const buttons = { open: button('open'), pay: button('pay'), ask: button('ask'), close: button('close'), alone: button('alone') };

/** Asks the demo's node, or its server, for something. */
async function demo<T>(route: string, body?: unknown): Promise<T> {
  const post = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
  const response = await fetch(`/demo/${route}`, body === undefined ? {} : post);
  if (!response.ok) throw new Error(((await response.json()) as { detail?: string }).detail ?? response.statusText);
  return (await response.json()) as T;
}

let node: TwoWay;
let shown: TwoWayChannel | null = null;
/** What the tab waits for; nothing can be pressed meanwhile. */
let busy: string | null = say.starting;
let trouble: string | null = null;

/** The channel that can still be used, or the one that ended last. */
function pick(channels: TwoWayChannel[]): TwoWayChannel | null {
  const same = channels.find(({ id }) => id === shown?.id);
  return channels.find(({ state }) => !ENDED.includes(state)) ?? same ?? channels.at(-1) ?? null;
}

function stateOf(channel: TwoWayChannel | null): 'none' | 'opening' | 'open' | 'offline' | 'closing' | 'ended' {
  if (!channel) return 'none';
  if (ENDED.includes(channel.state)) return 'ended';
  return channel.state as 'opening' | 'open' | 'offline' | 'closing';
}

function show(): void {
  const state = stateOf(shown);
  card.dataset['state'] = busy === say.starting ? 'starting' : state;
  card.setAttribute('aria-busy', String(busy !== null));
  const [ours, capacity] = [shown?.balanceSat ?? 0n, shown?.capacitySat ?? 0n];
  const amounts = { ours, theirs: capacity - ours };
  for (const side of ['ours', 'theirs'] as const) {
    sides[side].value = String(amounts[side]);
    sides[side].textContent = shown ? say.sat(amounts[side]) : '–';
  }
  split.max = Number(capacity) || 1;
  split.value = Number(ours);
  const usable: Record<keyof typeof buttons, boolean> = {
    open: state === 'none' || state === 'ended',
    pay: state === 'open',
    ask: state === 'open',
    close: state === 'open',
    alone: state === 'offline',
  };
  for (const [name, element] of Object.entries(buttons)) {
    const is = usable[name as keyof typeof buttons];
    element.hidden = !is || busy === say.starting;
    element.disabled = busy !== null;
  }
  buttons.pay.disabled ||= ours < AMOUNT_SAT;
  const states = { none: say.none, opening: say.opening, open: say.open, offline: say.offline, closing: say.closing, ended: ended() };
  status.textContent = trouble ?? busy ?? states[state];
  status.classList.toggle('trouble', trouble !== null);
}

function ended(): string {
  switch (shown?.state) {
    case 'closed':
      return say.closed(shown.balanceSat);
    case 'closed_alone':
      return say.closedAlone(shown.balanceSat);
    default:
      return say.spent;
  }
}

function list(text: string): void {
  payments.prepend(Object.assign(document.createElement('li'), { textContent: text }));
  while (payments.children.length > LISTED) payments.lastElementChild?.remove();
}

let looking = false;
let again = false;

/** One look after the other, however many changes there are. */
async function look(): Promise<void> {
  again = true;
  if (looking) return;
  looking = true;
  while (again) {
    again = false;
    try {
      shown = pick(await node.channels());
    } catch (error) {
      trouble = say.failed(error);
    }
    show();
  }
  looking = false;
}

/** Does something at the press of a button. */
function press(name: keyof typeof buttons, waiting: string, act: (channel: string) => Promise<unknown>): void {
  buttons[name].addEventListener('click', async () => {
    [busy, trouble] = [waiting, null];
    show();
    try {
      await act(shown?.id ?? '');
    } catch (error) {
      trouble = say.failed(error);
    }
    busy = null;
    await look();
    show();
  });
}

press('open', say.asking, () => demo('node/open', { nodeKey: node.nodeKey }));
press('pay', say.paying, async (channel) => {
  await node.pay(channel, AMOUNT_SAT);
  list(say.paid(AMOUNT_SAT));
});
press('ask', say.asked, (channel) => demo('node/pay', { request: node.request(channel, AMOUNT_SAT, say.memo) }));
press('close', say.closing, (channel) => node.close(channel));
press('alone', say.closing, (channel) => node.closeAlone(channel));

/** Connects to the cinema. Once it has answered, the node calls it again by itself. */
async function connect(): Promise<void> {
  const cinema = await demo<{ nodeKey: string; socket: string }>('node').catch(() => {
    throw new Error(say.noNode);
  });
  await node.connect(cinema.socket, cinema.nodeKey);
}

async function start(): Promise<void> {
  show();
  node = await openTwoWay({ server: location.origin, confirmations: 1, pollMilliseconds: 1_000 });
  node.subscribe((event) => {
    if (event.type === 'paid') list(say.received(event.amountMsat / 1_000n));
    void look();
  });
  await look();
  const pause = () => new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS));
  if (shown) {
    // It can be looked at, and closed alone, without the cinema; and the node calls whom it has met by itself.
    busy = null;
    show();
    await pause();
  }
  for (let met = false; !met; ) {
    try {
      if ((await node.info()).peers.length === 0) await connect();
      [met, trouble] = [true, null];
    } catch (error) {
      trouble = say.failed(error);
      show();
      await pause();
    }
  }
  if (busy === say.starting) busy = null;
  await look();
}

start().catch((error: unknown) => {
  trouble = say.failed(error);
  show();
});
