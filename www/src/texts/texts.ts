/** Every text of the widget. A language that lacks one does not compile. */
import type { FailureKind } from '../failures';
import type { Notice, Playing } from '../state';

export interface Heading {
  title: string;
  text: string;
}

export interface Texts {
  /** BCP 47 tag of the language the texts are in. */
  lang: string;
  defaultTitle: string;
  watch: string;
  payBySecond: string;
  haveWords: string;
  connecting: string;
  restore: Heading & {
    label: string;
    /** What to be careful of. */
    hint: string;
    action: string;
    busy: string;
    back: string;
    nothingFound: string;
  };

  price: { second: (price: string) => string; byte: (price: string) => string; request: (price: string) => string };
  offer: {
    title: string;
    lead: (price: string) => string;
    choose: string;
    /** What an amount is good for. */
    lasts: { second: (duration: string) => string; byte: (count: string) => string; request: (count: string) => string };
    amount: (mbtc: string, btc: string) => string;
    promise: string;
    proceed: string;
    proceeding: string;
  };
  deposit: {
    title: string;
    lead: (mbtc: string, btc: string) => string;
    /** The page puts it in, and that costs a fee. */
    withFee: string;
    amount: string;
    address: string;
    copy: string;
    copyAmount: string;
    copyAddress: string;
    copied: string;
    openWallet: string;
    qr: string;
    waiting: string;
    once: string;
    bounds: (least: string, most: string) => string;
    tooSmall: (arrived: string, least: string) => string;
    cancel: string;
    /** Pays with what is in the page's own wallet. */
    fromWallet: (amount: string) => string;
  };
  confirming: {
    title: string;
    lead: (amount: string) => string;
    progress: (done: string, needed: string) => string;
    hint: string;
  };
  ready: { title: string; titleResumed: string; lead: (left: string) => string; start: string; goOn: string };
  watching: {
    status: Record<Playing['status'], string>;
    pause: string;
    play: string;
    again: string;
    stop: string;
    mute: string;
    unmute: string;
    fullscreen: string;
    paid: string;
    timeLeft: string;
    unitsLeft: string;
    depositLeft: string;
    paymentsLeft: (count: string) => string;
    /** Says what was delivered, and that nothing else is owed. */
    delivered: { second: (time: string) => string; byte: (count: string) => string; request: (count: string) => string };
    ahead: (amount: string) => string;
    pausedHint: string;
    endedHint: string;
    used: string;
    /** For screen readers, once a minute. */
    spoken: (paid: string, left: string) => string;
  };
  notices: Record<Notice, string>;
  settling: Heading;
  settled: {
    title: string;
    lead: string;
    paid: string;
    returned: string;
    deposit: string;
    transaction: string;
    returnAddress: string;
    look: string;
    confirmed: string;
    pending: string;
    noTransaction: string;
    keys: string;
    again: string;
  };
  expired: Heading & { action: string; busy: string; failed: (code: string) => string };
  returned: Heading;
  safety: {
    title: string;
    intro: string;
    wordsTitle: string;
    wordsText: string;
    words: string;
    showWords: string;
    hideWords: string;
    fileTitle: string;
    /** `when` is one of the two below. */
    fileText: (when: string) => string;
    fromBlock: (block: string, time: string) => string;
    afterTerm: string;
    file: string;
    /** While the deposit is not confirmed. */
    fileLater: string;
    refundPage: string;
    walletPage: string;
    privateWindow: string;
    /** The deposit may outlive what the browser stores. */
    evictable: (days: string) => string;
    notPersistent: string;
    failed: string;
  };
  failures: Record<FailureKind, Heading>;
  code: (code: string) => string;
  tryAgain: string;
  watchHere: string;
  settleNow: string;
  moneySafe: string;
}
