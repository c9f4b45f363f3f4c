/**
 * "Pay from the demo wallet": shown where the demo server has one. It knows of the deposit only what the widget tells
 * every page, by its `rillpay-state` event.
 */

const PAY_URL = '/demo/pay';
const STATUS_URL = '/demo/status';

const words = {
  en: { paying: 'Paying…', paid: 'Paid. The page will notice in a moment.', failed: 'The demo wallet did not answer. Try again.' },
  zh: { paying: '正在付款…', paid: '已付款，页面很快就会看到。', failed: '演示钱包没有回应，请重试。' },
};

export async function offerDemoWallet(): Promise<void> {
  const player = document.querySelector('rillpay-player');
  const wallet = document.querySelector<HTMLElement>('#wallet');
  const button = document.querySelector<HTMLButtonElement>('#pay');
  const status = document.querySelector<HTMLElement>('#paid');
  if (!player || !wallet || !button || !status) return;
  const say = document.documentElement.lang.startsWith('zh') ? words.zh : words.en;

  let request: { address: string; amountSat: number } | null = null;
  let exists = false;
  const show = () => (wallet.hidden = !exists || request === null);

  player.addEventListener('rillpay-state', ({ detail: { state, snapshot } }) => {
    request =
      state === 'deposit' && snapshot ? { address: snapshot.address, amountSat: Number(snapshot.depositSat) } : null;
    status.textContent = '';
    button.disabled = false;
    show();
  });

  button.addEventListener('click', async () => {
    button.disabled = true;
    status.textContent = say.paying;
    try {
      const response = await fetch(PAY_URL, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(request),
      });
      if (!response.ok) throw new Error(response.statusText);
      status.textContent = say.paid;
    } catch {
      status.textContent = say.failed;
      button.disabled = false;
    }
  });

  try {
    exists = (await fetch(STATUS_URL)).ok;
  } catch {
    exists = false;
  }
  show();
}
