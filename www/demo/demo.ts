/** The demo page: embeds the widget as any guest page would, and offers a wallet with play money. */
import '../src/index';
import { chinese } from './chinese';
import { offerDemoWallet } from './wallet';

if (new URLSearchParams(location.search).get('lang')?.startsWith('zh')) chinese();
void offerDemoWallet();
