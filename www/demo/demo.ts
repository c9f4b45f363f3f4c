/** The demo page: embeds the widget as any guest page would, and offers a wallet with play money. */
import '../src/index';
import { offerDemoWallet } from './demo-wallet';
import { chinese, translate } from './language';

if (chinese) {
  const player = document.querySelector('rillpay-player');
  player?.setAttribute('title', '湖畔一日');
  for (const page of ['refund-page', 'wallet-page']) player?.setAttribute(page, `${player.getAttribute(page)}?lang=zh-CN`);
}
translate('湖畔一日', {
  kicker: '湖光影像 · 九十秒的影片',
  title: '湖畔一日',
  lead: '太阳从山后升起，越过水面，再把天空让给群星。看多少秒，付多少钱，此外分文不取。',
  wallet: '手边没有钱包？本演示备有一个，里面是没有价值的测试币。',
  pay: '用演示钱包付款',
  how: '这里如何付款',
  step1: ['点“观看”并选择金额。', '36 mBTC 可看一小时。用任意比特币钱包扫码，只需付款一次。'],
  step2: ['观看。', '每秒 1,000 sat。只有送达的那一秒才会付款，因此暂停不花钱。'],
  step3: ['点“停止”。', '影片收取您看过的部分，其余退还给您，一分不少。'],
  trust: '不用注册，不用银行卡，不用订阅，也不必信任谁：即使网站不诚实，也最多只能比已播放的内容多拿几十秒的钱；即使网站消失，押金仍归您所有。',
  both: '互相付款',
  yours: '退还给您的钱',
  refund: '凭退款文件取回押金',
  footer: '本页仅作演示，其中的币没有价值。',
});
void offerDemoWallet();
