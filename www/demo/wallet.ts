/** The wallet page: what came back from deposits at this site, and a way out for it. */
import '../src/wallet/index';
import { translate } from './language';

translate('您的钱包', {
  kicker: '湖光影像',
  title: '您的钱包',
  lead: '从这个网站退还给您的钱都在这里，钥匙只在您手里。可以付出去，也可以留着下次看片。',
  back: '返回影片',
  footer: '本页仅作演示，其中的币没有价值。',
});
