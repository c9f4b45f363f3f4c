/** What the page with two-way channels says. */
import type { PageTexts } from './language';

export interface Say {
  starting: string;
  noNode: string;
  none: string;
  asking: string;
  opening: string;
  open: string;
  offline: string;
  paying: string;
  asked: string;
  closing: string;
  spent: string;
  memo: string;
  sat(amount: bigint): string;
  paid(amount: bigint): string;
  received(amount: bigint): string;
  closed(ours: bigint): string;
  closedAlone(ours: bigint): string;
  failed(error: unknown): string;
}

const isElsewhere = (error: unknown) => error instanceof Error && 'code' in error && error.code === 'another_tab';
const textOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
const grouped = (amount: bigint, language: string) => amount.toLocaleString(language);

export const en: Say = {
  starting: 'Looking at the chain…',
  noNode: 'This demonstration runs without a node to pay with. `npm start` runs one.',
  none: 'There is no channel between you yet.',
  asking: 'The cinema makes a channel…',
  opening: 'Waiting for a block: this takes some seconds.',
  open: 'Connected. Each payment takes a moment.',
  offline: 'The cinema is not connected. The page calls it again.',
  paying: 'Paying…',
  asked: 'Asking the cinema…',
  closing: 'Closing…',
  spent: 'The cinema closed the channel. What is yours comes to your wallet.',
  memo: 'a thank-you for watching',
  sat: (amount) => `${grouped(amount, 'en')} sat`,
  paid: (amount) => `You paid the cinema ${grouped(amount, 'en')} sat.`,
  received: (amount) => `The cinema paid you ${grouped(amount, 'en')} sat.`,
  closed: (ours) => `Closed. ${grouped(ours, 'en')} sat less the mining fee’s share come to your wallet.`,
  closedAlone: (ours) => `Closed without the cinema. ${grouped(ours, 'en')} sat come to your wallet after a week.`,
  failed: (error) =>
    isElsewhere(error) ? 'Your wallet or this page is open in another tab. Close that one, and reload.' : textOf(error),
};

export const zh: Say & { title: string; page: PageTexts } = {
  title: '有来有往',
  page: {
    kicker: '湖光影像',
    title: '有来有往',
    lead: '在这里，您和影院可以随时互相付款，瞬间到账，次数不限。链上只有两笔交易：开始时一笔，结束时一笔。',
    between: '您与影院之间',
    you: '您的',
    cinema: '影院的',
    open: '开通通道',
    pay: '付 1,000 sat',
    ask: '请对方付 1,000 sat',
    close: '关闭通道',
    alone: '不经影院直接关闭',
    how: '这是怎么做到的',
    step1: ['开通通道。', '影院为双方锁定 200,000 sat，其中一半归您：演示用的测试币。'],
    step2: ['付款，也收款。', '每付一次，双方都为各自的份额签名，并作废先前的状态。谁想退回旧状态，谁就会失去一切。'],
    step3: ['关闭。', '您的那部分会进入您的钱包。即使影院消失，您也可以单独关闭。'],
    trust: '不妨中途刷新本页：要紧的内容总是先保存再发送，通道会从原处继续。',
    wallet: '您的钱包',
    back: '返回影片',
    footer: '本页仅作演示，其中的币没有价值。',
  },
  starting: '正在查看区块链…',
  noNode: '本演示没有运行可以互相付款的节点；`npm start` 会启动一个。',
  none: '你们之间还没有通道。',
  asking: '影院正在建立通道…',
  opening: '正在等待区块，需要几秒钟。',
  open: '已连接，付款瞬间到账。',
  offline: '影院未连接，页面会继续呼叫。',
  paying: '正在付款…',
  asked: '正在请影院付款…',
  closing: '正在关闭…',
  spent: '影院关闭了通道，您的那部分会进入您的钱包。',
  memo: '感谢观看',
  sat: (amount) => `${grouped(amount, 'zh-CN')} sat`,
  paid: (amount) => `您付给影院 ${grouped(amount, 'zh-CN')} sat。`,
  received: (amount) => `影院付给您 ${grouped(amount, 'zh-CN')} sat。`,
  closed: (ours) => `已关闭。${grouped(ours, 'zh-CN')} sat 扣除矿工费份额后进入您的钱包。`,
  closedAlone: (ours) => `已单独关闭。${grouped(ours, 'zh-CN')} sat 将在一周后进入您的钱包。`,
  failed: (error) => (isElsewhere(error) ? '您的钱包或本页已在另一个标签页中打开。请关闭它，然后刷新。' : textOf(error)),
};
