/**
 * The widget without its looks: joins the money (the Rillpay module) and the video, and says what to show.
 * The states are drawn in `state.ts`.
 */
import type { Channel, ChannelEvent, ChannelSnapshot, Client, RefundKit, Safety, Statement } from 'rillpay';
import { obstacle } from './environment';
import { codeOf, failure, failureOf } from './failures';
import { arrivalOf, Funding } from './funding';
import { forget, recall, remember } from './memory';
import { loadRillpay } from './module';
import { currentNotice, noticeFor } from './notices';
import { Playback } from './playback';
import { choicesFor, type Notice, type PlayerState, type Playing } from './state';

const REMEMBER_EVERY_SECONDS = 2;

export interface PlayerSettings {
  /** Origin of the paid server. */
  server: string;
  /** Absolute URL of the playlist. */
  source: string;
  /** The deposit that the page proposes. */
  depositSat: bigint | null;
  bufferSeconds: number;
  esplora: string | null;
}

export interface PlayerHost {
  settings(): PlayerSettings;
  video(): HTMLVideoElement;
  changed(state: PlayerState): void;
  paid(snapshot: ChannelSnapshot): void;
  settled(statement: Statement): void;
  problem(error: unknown): void;
}

export class Player {
  state: PlayerState = { name: 'idle' };

  #client: Client | null = null;
  /** The deposit that the page is about. */
  #channel: Channel | null = null;
  #playback: Playback | null = null;
  /** Puts the viewer's payment into the deposit, where the page has to do that. */
  #funding: Funding | null = null;
  #unsubscribe = () => {};
  /** What the payment side last reported, beside what can be read from the snapshot. */
  #notice: Notice | null = null;
  #remembered = 0;
  /** Rises whenever what was begun before is no longer wanted. */
  #life = 0;

  constructor(private readonly host: PlayerHost) {}

  /** Goes on by itself where the viewer left, if money is at work at this server. */
  resumeIfOpen(): void {
    if (this.state.name === 'idle' && recall(this.host.settings().server)) void this.begin();
  }

  /** The viewer pressed Watch (or asked to try again). */
  async begin(): Promise<void> {
    await this.#connect({ name: 'connecting' }, null, (error) => this.#fail(error));
  }

  /** The viewer has recovery words: asks for them. */
  restore(): void {
    this.#reset();
    this.#show({ name: 'restore', busy: false, failure: null });
  }

  /** Brings back what these words hold at this site. */
  async restoreFrom(words: string): Promise<void> {
    if (this.state.name !== 'restore' || this.state.busy) return;
    await this.#connect({ name: 'restore', busy: true, failure: null }, words, (error) => {
      this.host.problem(error);
      this.#show({ name: 'restore', busy: false, failure: failureOf(error) });
    });
  }

  /** After the end of one deposit: offers another. */
  again(): void {
    this.#unfollow();
    if (this.#client) this.#offer();
    else void this.begin();
  }

  /** The viewer would rather have what the page's wallet holds put in than pay again. */
  useWallet(): void {
    void this.#funding?.putIn();
  }

  choose(index: number): void {
    if (this.state.name === 'offer') this.#show({ ...this.state, chosen: index });
  }

  /** The viewer agrees to the chosen amount: asks for an address. */
  async deposit(): Promise<void> {
    const { state } = this;
    const choice = state.name === 'offer' ? state.choices[state.chosen] : undefined;
    if (state.name !== 'offer' || state.opening || !choice || !this.#client) return;
    const life = this.#life;
    this.#show({ ...state, opening: true });
    try {
      const channel = await this.#client.open({ depositSat: choice.sat });
      if (life === this.#life) this.#follow(channel, false);
    } catch (error) {
      if (life === this.#life) this.#fail(error);
    }
  }

  /** Starts the video or goes on after a pause. */
  async play(): Promise<void> {
    const channel = this.#channel;
    if (!channel || (this.state.name !== 'ready' && this.state.name !== 'watching')) return;
    this.#playback ??= this.#newPlayback(channel);
    this.#notice = null;
    channel.resume();
    this.#watch(channel.snapshot());
    try {
      await this.#playback.play();
    } catch {
      // The browser wants the viewer's own press before there is sound.
      channel.pause();
      if (this.state.name === 'watching') {
        this.#show({ name: 'ready', terms: this.state.terms, snapshot: channel.snapshot(), resumed: false });
      }
    }
  }

  /** Nothing is fetched and nothing can be paid until `play`. */
  pause(): void {
    this.#channel?.pause();
    this.#playback?.pause();
  }

  /** Ends the deposit: the site gets what was delivered, the rest comes back. */
  async stop(): Promise<void> {
    const channel = this.#channel;
    if (!channel || !this.#client) return;
    const life = this.#life;
    const { terms } = this.#client;
    this.#endPlayback();
    this.#show({ name: 'settling', terms, snapshot: channel.snapshot() });
    try {
      const statement = await channel.stop();
      if (life === this.#life) this.#settle(channel.snapshot(), statement);
    } catch (error) {
      if (life === this.#life) this.#fail(error);
    }
  }

  /** After the deposit's term: takes everything back. */
  async takeBack(): Promise<void> {
    const channel = this.#channel;
    if (!channel || this.state.name !== 'expired') return;
    const { state } = this;
    this.#show({ ...state, busy: true, failure: null });
    try {
      const txid = await channel.refund();
      forget(this.host.settings().server);
      this.#show({ name: 'returned', terms: state.terms, snapshot: channel.snapshot(), txid });
    } catch (error) {
      this.host.problem(error);
      this.#show({ ...state, busy: false, failure: failureOf(error) });
    }
  }

  async refundKit(): Promise<RefundKit | null> {
    return (await this.#channel?.refundKit()) ?? null;
  }

  recoveryWords(): string | null {
    return this.#client?.recoveryWords() ?? null;
  }

  /** How well this browser keeps what is stored; null before it is known. */
  get safety(): Safety | null {
    return this.#client?.safety ?? null;
  }

  /** The deposit that the page is about. */
  get snapshot(): ChannelSnapshot | null {
    return this.#channel?.snapshot() ?? null;
  }

  /** Lets go of socket, store and video; the deposit stays and `begin` goes on with it. */
  dispose(): void {
    this.#reset();
    this.#show({ name: 'idle' });
  }

  /** From a press to the deposit that is at work here, or to the offer. */
  async #connect(meanwhile: PlayerState, words: string | null, failed: (error: unknown) => void): Promise<void> {
    const life = this.#reset();
    const { server, esplora } = this.host.settings();
    this.#show(meanwhile);
    const hindrance = await obstacle();
    if (life !== this.#life) return;
    if (hindrance) return this.#show({ name: 'failed', failure: hindrance, snapshot: null });
    try {
      const { Client } = await loadRillpay();
      const client = await Client.connect({ server, ...(esplora !== null && { esplora }), ...(words !== null && { words }) });
      if (life !== this.#life) return client.disconnect();
      this.#client = client;
    } catch (error) {
      if (life === this.#life) failed(error);
      return;
    }
    const { channel } = this.#client;
    // A deposit whose end is agreed stands in nobody's way: its money is on its way home.
    if (channel && !(channel.snapshot().statement && channel.snapshot().phase !== 'refundable')) this.#follow(channel, true);
    else this.#offer(words !== null && channel === null);
  }

  #reset(): number {
    this.#unfollow();
    this.#client?.disconnect();
    this.#client = null;
    return ++this.#life;
  }

  #unfollow(): void {
    this.#endPlayback();
    this.#funding?.end();
    this.#funding = null;
    this.#unsubscribe();
    this.#unsubscribe = () => {};
    this.#channel = null;
    this.#notice = null;
  }

  #offer(nothingFound = false): void {
    if (!this.#client) return;
    const { terms, safety } = this.#client;
    // It would not be taken: better said before an amount is chosen.
    if (safety.privateMode) {
      return this.#show({ name: 'failed', failure: failure('private_window', 'private_mode'), snapshot: null });
    }
    const choices = choicesFor(terms, this.host.settings().depositSat);
    this.#show({ name: 'offer', terms, ...choices, opening: false, nothingFound });
  }

  #follow(channel: Channel, resumed: boolean): void {
    const { server, source } = this.host.settings();
    if (!recall(server)) remember(server, { position: 0, source });
    // Nothing is paid before the viewer starts the video.
    channel.pause();
    this.#channel = channel;
    this.#unsubscribe = channel.subscribe((event) => this.#on(event));
    this.#place(channel.snapshot(), resumed);
  }

  #on(event: ChannelEvent): void {
    if (event.type === 'problem') {
      this.host.problem(event.error);
      this.#notice = noticeFor(codeOf(event.error)) ?? this.#notice;
      if (this.#channel) this.#watch(this.#channel.snapshot());
      return;
    }
    if (event.type === 'superseded') {
      const { snapshot } = event;
      this.#reset();
      this.#show({ name: 'failed', failure: failure('taken_over', 'superseded'), snapshot });
      return;
    }
    if (event.type === 'paid') {
      if (this.#notice !== 'expiring') this.#notice = null;
      this.host.paid(event.snapshot);
    }
    this.#playback?.sessionChanged();
    this.#place(event.snapshot, false);
  }

  /** Shows what the deposit's phase asks for. */
  #place(snapshot: ChannelSnapshot, resumed: boolean): void {
    const terms = this.#client?.terms;
    if (!terms) return;
    switch (snapshot.phase) {
      case 'opened':
      case 'confirming':
        return this.#await(snapshot);
      case 'open': {
        const before = this.state.name;
        if (before === 'watching') return this.#watch(snapshot);
        if (before === 'settling') return;
        // The viewer may have walked off while the payment was confirmed: the video waits for a press.
        return this.#show({ name: 'ready', terms, snapshot, resumed: resumed || (before === 'ready' && this.state.resumed) });
      }
      case 'closing':
      case 'settled':
        if (snapshot.statement) return this.#settle(snapshot, snapshot.statement);
        // Stopped before a reload: ask for the statement again.
        if (this.state.name !== 'settling') void this.stop();
        return;
      case 'refundable':
        this.#endPlayback();
        if (this.state.name !== 'expired') this.#show({ name: 'expired', terms, snapshot, busy: false, failure: null });
        return;
      case 'refunded':
        this.#endPlayback();
        forget(this.host.settings().server);
        if (this.state.name !== 'returned') this.#show({ name: 'returned', terms, snapshot, txid: null });
    }
  }

  /** Shows where to pay, and then how far the payment has come. */
  #await(snapshot: ChannelSnapshot): void {
    const client = this.#client;
    const channel = this.#channel;
    if (!client || !channel) return;
    const { terms } = client;
    if (snapshot.kind === 'timelock' && snapshot.phase === 'opened') this.#funding ??= this.#newFunding(client, channel);
    const arrival = arrivalOf(snapshot, this.#funding?.progress ?? null);
    const coming = snapshot.phase === 'confirming' || (snapshot.kind === 'timelock' && arrival.sat >= terms.minDepositSat);
    this.#show({ name: coming ? 'confirming' : 'deposit', terms, snapshot, arrival });
  }

  #newFunding(client: Client, channel: Channel): Funding {
    const { server, esplora } = this.host.settings();
    return new Funding(channel, { server, esplora, terms: client.terms }, {
      changed: () => {
        if (this.#channel === channel) this.#place(channel.snapshot(), false);
      },
      problem: (error) => this.host.problem(error),
    });
  }

  #settle(snapshot: ChannelSnapshot, statement: Statement): void {
    const terms = this.#client?.terms;
    if (!terms) return;
    const first = this.state.name !== 'settled';
    this.#endPlayback();
    forget(this.host.settings().server);
    this.#show({ name: 'settled', terms, snapshot, statement });
    if (first) this.host.settled(statement);
  }

  #newPlayback(channel: Channel): Playback {
    const { server, source, bufferSeconds } = this.host.settings();
    const note = recall(server);
    return new Playback(
      this.host.video(),
      {
        source,
        bufferSeconds,
        unit: channel.snapshot().unit,
        position: note?.source === source ? note.position : 0,
        session: () => channel.snapshot().session,
      },
      {
        delivered: (amount) => {
          channel.received(amount);
          this.#watch(channel.snapshot());
        },
        changed: () => {
          // Media keys reach the video first.
          if (this.#playback?.wanted === false && !channel.snapshot().paused) channel.pause();
          if (this.#playback?.wanted === true && channel.snapshot().paused) channel.resume();
          this.#watch(channel.snapshot());
        },
        moved: (position) => {
          if (Math.abs(position - this.#remembered) < REMEMBER_EVERY_SECONDS) return;
          this.#remembered = position;
          remember(server, { position, source });
          this.#watch(channel.snapshot());
        },
        failed: (code) => {
          channel.pause();
          this.#endPlayback();
          this.#show({ name: 'failed', failure: failure('media', code), snapshot: channel.snapshot() });
        },
      },
    );
  }

  #watch(snapshot: ChannelSnapshot): void {
    const terms = this.#client?.terms;
    const playback = this.#playback;
    if (!terms || !playback || (this.state.name !== 'watching' && this.state.name !== 'ready')) return;
    const status: Playing['status'] = playback.ended
      ? 'ended'
      : !playback.wanted
        ? 'paused'
        : playback.stalled
          ? 'loading'
          : 'playing';
    const { position, duration } = playback;
    this.#show({
      name: 'watching',
      terms,
      snapshot,
      playing: { status, position, duration, notice: currentNotice(snapshot, playback, this.#notice) },
    });
  }

  #endPlayback(): void {
    const playback = this.#playback;
    if (!playback) return;
    this.#playback = null;
    const { server, source } = this.host.settings();
    if (recall(server)) remember(server, { position: playback.position, source });
    playback.destroy();
  }

  #fail(error: unknown): void {
    this.host.problem(error);
    const snapshot = this.#channel?.snapshot() ?? null;
    this.#show({ name: 'failed', failure: failureOf(error), snapshot });
  }

  #show(state: PlayerState): void {
    this.state = state;
    this.host.changed(state);
  }
}
