/** The refund page: takes a deposit back with the refund file alone. It needs nothing of the site that it is served by. */
import '../src/refund/index';
import { translate } from './language';

translate('取回押金', {
  title: '取回押金',
  lead: '有退款文件就够了：即使网站已经消失，即使您付款用的浏览器也不在了。',
  alone: '本页自身就是完整的：可以保存到磁盘，与退款文件放在一起，不需要网站也能使用。',
  footer: '查询区块链和发送退款时，本页只与您在上面填写的服务器联系。',
});
