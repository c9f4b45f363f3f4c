//! A server and a chain in the page: `fetch` and `WebSocket` lead here, and behind them stands the real payee machine.
//! No network, no clock; what goes over the wire is what a server would see.

pub(crate) mod chain;

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{ArrayBuffer, Function, Uint8Array};
use rillpay_channel::bitcoin::consensus::encode::deserialize_hex;
use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::secp256k1::{PublicKey, SecretKey};
use rillpay_channel::bitcoin::{Amount, Network, OutPoint, Transaction, Txid};
use rillpay_channel::commitment::{Funding, Paid, SeenOutput};
use rillpay_channel::keys::{Key, Seed};
use rillpay_channel::params::{ChannelParams, FundingKind, verify_recover};
use rillpay_channel::payee::{Cover, Effect, Offer, Payee, Step};
use rillpay_channel::payer::Request;
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::wire::{ChannelState, Message, Refusal, Token};
use rillpay_channel::{Code, Error, Kind, Msat};
use wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::wasm_bindgen};

pub(crate) use chain::Chain;

#[wasm_bindgen(inline_js = "
    const worlds = new Map();
    class Socket {
        constructor(url, protocol) {
            this.world = worlds.get(new URL(url).host);
            if (protocol !== 'rillpay.1' || this.world === undefined) throw new Error('no such server');
            queueMicrotask(() => { this.readyState = 1; this.world.socket(this, undefined); });
        }
        send(bytes) {
            const copy = bytes.slice().buffer;
            queueMicrotask(() => { if (this.readyState === 1) this.world.socket(this, copy); });
        }
        deliver(buffer) { queueMicrotask(() => { if (this.readyState === 1) this.onmessage?.({ data: buffer }); }); }
        close() { if (this.readyState !== 3) { this.readyState = 3; queueMicrotask(() => this.onclose?.({})); } }
    }
    const realFetch = globalThis.fetch.bind(globalThis);
    export function settle(host, socket, http) {
        globalThis.WebSocket = Socket;
        globalThis.fetch = async (request) => {
            const url = new URL(request.url ?? request);
            const world = worlds.get(url.host);
            if (world === undefined) return realFetch(request);
            const body = request.method === 'POST' ? await request.text() : '';
            const answer = world.http(url.pathname, body);
            return answer === undefined ? new Response('', { status: 404 }) : new Response(answer.slice(4), { status: Number(answer.slice(0, 3)) });
        };
        worlds.set(host, { socket, http });
    }
")]
extern "C" {
    fn settle(host: &str, socket: &Function, http: &Function);

    #[derive(Clone)]
    type Socket;
    #[wasm_bindgen(method)]
    fn deliver(this: &Socket, data: &ArrayBuffer);
    #[wasm_bindgen(method)]
    fn close(this: &Socket);
}

/// One server with one chain.
#[derive(Clone)]
pub(crate) struct World(Rc<RefCell<State>>);

pub(crate) struct State {
    origin: String,
    pub(crate) node: Key,
    pub(crate) terms_node: Key,
    pub(crate) offer: Offer,
    pub(crate) tip: u32,
    pub(crate) outputs: Vec<SeenOutput>,
    pub(crate) broadcast: Vec<Transaction>,
    /// The settlement of the funding: what it returns, and whether it is confirmed.
    pub(crate) settled: Option<(Amount, bool)>,
    pub(crate) payee: Option<Payee>,
    /// Channels before that one.
    pub(crate) past: Vec<Payee>,
    /// How many keys were asked about, and what is made of the answer.
    pub(crate) recovers: u32,
    /// Which of these questions come too fast for the server.
    pub(crate) too_fast: std::ops::Range<u32>,
    pub(crate) forge: Option<Forge>,
    /// What wallets see.
    pub(crate) chain: Chain,
    /// Esplora does not answer.
    pub(crate) blind: bool,
    /// How many outputs of an address Esplora lists at most.
    pub(crate) lists: usize,
    /// Esplora refuses every transaction.
    pub(crate) refuses: bool,
    pub(crate) refusals: Vec<Refusal>,
    /// Payments that arrived, whether they were taken or lost.
    pub(crate) payments: Vec<Paid>,
    pub(crate) loses_payments: bool,
    pub(crate) opened: u32,
    socket: Option<Socket>,
}

/// Changes what the server says of a channel to a payer that has only its words.
pub(crate) type Forge = Box<dyn Fn(&mut ChannelParams, &mut ChannelState)>;

impl World {
    pub(crate) fn new(host: &str) -> Self {
        let world = Self(Rc::new(RefCell::new(State {
            origin: format!("https://{host}"),
            node: key(3),
            terms_node: key(3),
            offer: Offer {
                kind: Kind::Cltv,
                network: Network::Regtest,
                tariff: Tariff { unit: Unit::Second, price: Msat::new(1_000_000).unwrap(), window: 2 },
                min_deposit: Amount::from_sat(10_000),
                max_deposit: Amount::from_sat(10_000_000),
                confirmations: 1,
                lifetime: 1_008,
                stop_margin: 36,
                close_margin: 18,
                purpose: "https://video.example".to_owned(),
            },
            tip: 100,
            outputs: vec![],
            broadcast: vec![],
            settled: None,
            payee: None,
            past: vec![],
            recovers: 0,
            too_fast: 0..0,
            forge: None,
            chain: Chain::default(),
            blind: false,
            lists: usize::MAX,
            refuses: false,
            refusals: vec![],
            payments: vec![],
            loses_payments: false,
            opened: 0,
            socket: None,
        })));
        let (sockets, pages) = (world.clone(), world.clone());
        let socket = Closure::<dyn FnMut(Socket, JsValue)>::new(move |socket, data: JsValue| {
            sockets.on_socket(socket, data.dyn_ref::<ArrayBuffer>());
        });
        let http = Closure::<dyn FnMut(String, String) -> Option<String>>::new(move |path: String, body: String| {
            pages.on_http(&path, &body)
        });
        settle(host, socket.as_ref().unchecked_ref(), http.as_ref().unchecked_ref());
        // The page keeps them for as long as it lives.
        socket.forget();
        http.forget();
        world
    }

    pub(crate) fn origin(&self) -> String {
        self.0.borrow().origin.clone()
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.borrow_mut())
    }

    /// A browser that is gone has opened a channel with its key of this number.
    pub(crate) fn open_elsewhere(&self, seed: &Seed, key_index: u32) {
        self.with(|state| {
            let offer = &state.offer;
            let request = Request {
                ladder: None,
                network: offer.network,
                funding_kind: FundingKind::default(),
                key: seed.channel_key(key_index).unwrap(),
                key_index,
                return_script: seed.return_script(key_index).unwrap(),
                deposit: offer.min_deposit,
                tariff: offer.tariff,
                node: state.node.public(),
                min_deposit: offer.min_deposit,
                max_deposit: offer.max_deposit,
                confirmations: offer.confirmations,
                max_lifetime: offer.lifetime,
                purpose: offer.purpose.clone(),
            };
            let message = request.message();
            state.on_message(message).expect("opens");
        });
    }

    /// The payer's money arrives at the channel's address, and the server sees it.
    pub(crate) fn deposit(&self, sat: u64, number: u8) {
        self.with(|state| state.pay_in(sat, number));
        self.see_funding();
    }

    /// As [`World::deposit`], but too small for the server to take notice of.
    pub(crate) fn deposit_beside(&self, sat: u64, number: u8) {
        self.with(|state| state.pay_in(sat, number));
        let tip = self.with(|state| state.tip);
        self.send(&Message::FundingSeen { funding: None, confirmations: 0, tip });
    }

    /// Somebody pays to the channel's address, and can still replace the payment.
    pub(crate) fn pay_in_unconfirmed(&self, sat: u64, number: u8) {
        self.with(|state| {
            state.pay_in(sat, number);
            state.tip -= 1;
            state.outputs.last_mut().expect("just paid").confirmations = 0;
        });
    }

    /// What the page broadcast to fund its channel gets a block.
    pub(crate) fn confirm_funding(&self) {
        self.with(|state| {
            state.tip += 1;
            state.chain.mine(state.tip);
            let script = state.payee().params().funding_script();
            let transaction = state.broadcast.last().expect("a funding");
            let vout = transaction.output.iter().position(|output| output.script_pubkey == script).expect("ours");
            let outpoint = OutPoint::new(transaction.compute_txid(), u32::try_from(vout).unwrap());
            let funding = Funding { outpoint, capacity: transaction.output[vout].value };
            state.outputs.push(SeenOutput { funding, confirmations: 1 });
        });
        self.see_funding();
    }

    /// Somebody pays to an address, and a block comes.
    pub(crate) fn pay(&self, address: &str, sat: u64) -> Txid {
        self.with(|state| {
            state.tip += 1;
            let height = Some(state.tip);
            state.chain.pay(address, sat, height)
        })
    }

    /// A block with all that waits.
    pub(crate) fn mine(&self) {
        self.with(|state| {
            state.tip += 1;
            state.chain.mine(state.tip);
        });
    }

    fn see_funding(&self) {
        self.answer(|state| state.payee().funding_seen(&state.outputs, state.tip));
    }

    /// Somebody asks for `more` milliseconds of content: released if they are paid, else asked for.
    pub(crate) fn serve(&self, more: u64) -> bool {
        let cover = self.with(|state| state.payee().cover(more, state.tip));
        match cover.expect("an open channel") {
            Cover::Paid => {
                self.answer(|state| state.payee().release(more, state.tip));
                true
            }
            Cover::Need(need) => {
                self.send(&need);
                false
            }
        }
    }

    /// The settlement at the agreed amount is broadcast, or confirmed.
    pub(crate) fn settle(&self, confirmed: bool) {
        self.with(|state| {
            let payee = state.payee();
            let funding = *payee.funding().expect("funded");
            let paid = payee.closing().expect("closed").cumulative;
            state.settled = Some((funding.capacity - paid, confirmed));
            state.outputs.retain(|output| output.funding != funding);
        });
        self.answer(|state| Ok(state.payee().spent_seen(Some(settlement_txid()), 1)));
    }

    /// Sends any message to the page.
    pub(crate) fn send(&self, message: &Message) {
        let socket = self.0.borrow().socket.clone();
        if let Some(socket) = socket {
            socket.deliver(&Uint8Array::from(message.encode().as_slice()).buffer());
        }
    }

    pub(crate) fn drop_socket(&self) {
        let socket = self.0.borrow_mut().socket.take();
        if let Some(socket) = socket {
            socket.close();
        }
    }

    /// Decides, makes it durable, and sends what it says.
    fn answer(&self, decide: impl FnOnce(&State) -> Result<Step, Error>) {
        let messages = self.with(|state| {
            let step = decide(state).expect("a decision");
            state.commit(step)
        });
        messages.iter().for_each(|message| self.send(message));
    }

    fn on_socket(&self, socket: Socket, data: Option<&ArrayBuffer>) {
        self.0.borrow_mut().socket = Some(socket);
        let Some(data) = data else {
            let node = self.with(|state| state.node.public());
            return self.send(&Message::Welcome { challenge: CHALLENGE, node });
        };
        let message = Message::decode(&Uint8Array::new(data).to_vec()).expect("a message");
        match self.with(|state| state.on_message(message)) {
            Ok(messages) => messages.iter().for_each(|message| self.send(message)),
            Err(error) => self.send(&Message::Refused(Refusal::from(&error))),
        }
    }

    fn on_http(&self, path: &str, body: &str) -> Option<String> {
        self.with(|state| state.http(path, body))
    }
}

impl State {
    pub(crate) fn payee(&self) -> &Payee {
        self.payee.as_ref().expect("a channel")
    }

    fn commit(&mut self, step: Step) -> Vec<Message> {
        let saved = step.save(|_| Ok::<_, ()>(())).unwrap();
        let effects = self.payee.as_mut().expect("a channel").commit(saved).expect("fresh");
        let countersigns = effects.contains(&Effect::Countersign);
        let mut messages = messages(effects);
        if countersigns {
            messages.extend(self.payee().countersign(&key(2)).expect("its key"));
        }
        messages
    }

    fn pay_in(&mut self, sat: u64, number: u8) {
        self.tip += 1;
        let outpoint = OutPoint::new(Txid::from_byte_array([number; 32]), 0);
        self.outputs
            .push(SeenOutput { funding: Funding { outpoint, capacity: Amount::from_sat(sat) }, confirmations: 1 });
    }

    fn on_message(&mut self, message: Message) -> Result<Vec<Message>, Error> {
        let step = match message {
            Message::Open(open) => {
                self.opened += 1;
                let step = self.offer.open(&open, self.tip, key(2).public(), 0, &self.node)?;
                let (payee, effects) = Payee::create(step.save(|_| Ok::<_, ()>(())).unwrap())?;
                self.past.extend(self.payee.replace(payee));
                return Ok(messages(effects));
            }
            Message::Attach { channel, signature } => {
                let payee = self.payee();
                if payee.id() != channel {
                    return Err(Error::new(Code::UnknownChannel, "no such channel"));
                }
                payee.attach(&CHALLENGE, &signature, Token([8; 32]))?
            }
            Message::Pay(paid) => {
                self.payments.push(paid);
                if self.loses_payments {
                    return Ok(vec![]);
                }
                self.payee().pay(paid, self.tip)?
            }
            Message::Reclaim(output) => self.payee().reclaim(output, &key(2))?,
            Message::Recover { payer, signature } => {
                self.recovers += 1;
                if self.too_fast.contains(&self.recovers) {
                    return Err(Error::new(Code::RateLimited, "too many messages"));
                }
                verify_recover(&payer, &CHALLENGE, &signature)?;
                return self.recover(&payer).map(|answer| vec![answer]);
            }
            Message::Fund(funding) => self.payee().fund(funding, &key(2))?,
            Message::Stop => self.payee().stop()?,
            Message::Close(paid) => self.payee().close(paid, &self.node)?,
            Message::Refused(refusal) => {
                self.refusals.push(refusal);
                return Ok(vec![]);
            }
            other => panic!("a payer never sends {other:?}"),
        };
        Ok(self.commit(step))
    }

    fn recover(&self, payer: &PublicKey) -> Result<Message, Error> {
        let mut channels = self.past.iter().chain(&self.payee);
        let found = channels.find(|payee| payee.params().payer == *payer);
        let payee = found.ok_or(Error::new(Code::UnknownChannel, "this key has no channel"))?;
        let (mut params, mut state) = (payee.params().clone(), payee.state());
        if let Some(forge) = &self.forge {
            forge(&mut params, &mut state);
        }
        let signature = params.sign(&self.node);
        Ok(Message::Recovered { params: Box::new(params), signature, state: Box::new(state) })
    }

    /// The transaction that funded the channel, or one as good: the page looks at one output of it.
    fn funding(&self, txid: &str) -> Option<String> {
        let payee = self.payee.as_ref()?;
        let funding = payee.funding().filter(|funding| funding.outpoint.txid.to_string() == txid)?;
        let other = r#"{"scriptpubkey":"51","value":1}"#.to_owned();
        let mut outputs = vec![other; funding.outpoint.vout as usize];
        outputs.push(format!(
            r#"{{"scriptpubkey":"{}","value":{}}}"#,
            payee.params().funding_script().to_hex_string(),
            funding.capacity.to_sat()
        ));
        Some(format!(r#"{{"vout":[{}],"status":{{"confirmed":true,"block_height":{}}}}}"#, outputs.join(","), self.tip))
    }

    /// Status and body; `None` where there is no such thing.
    fn http(&mut self, path: &str, body: &str) -> Option<String> {
        if self.blind && path.starts_with("/esplora") {
            return Some("503 down".to_owned());
        }
        if let Some(txid) = path.strip_prefix("/esplora/tx/")
            && let Some(json) = self.funding(txid)
        {
            return Some(format!("200 {json}"));
        }
        let history = path.strip_prefix("/esplora/address/").and_then(|path| path.split_once("/txs"));
        if let Some((address, _)) = history {
            return Some(format!("200 {}", self.chain.history(address)));
        }
        if let Some(txid) = path.strip_prefix("/esplora/tx/").and_then(|path| path.strip_suffix("/hex")) {
            return Some(format!("200 {}", self.chain.hex(txid)?));
        }
        let json = match path {
            "/.well-known/rillpay" => self.terms(),
            "/esplora/blocks/tip/height" => self.tip.to_string(),
            "/esplora/fee-estimates" => r#"{"2":20.5,"6":10,"144":2}"#.to_owned(),
            "/esplora/tx" => return Some(self.take(body)),
            _ if path.starts_with("/esplora/address/") && self.outputs.len() > self.lists => {
                return Some("400 Too many unspent transaction outputs".to_owned());
            }
            _ if path.starts_with("/esplora/address/") => self.utxos(),
            _ if path.contains("/outspend/") => match self.settled {
                None => r#"{"spent":false}"#.to_owned(),
                Some(_) => format!(r#"{{"spent":true,"txid":"{}","vin":0,"status":{{}}}}"#, settlement_txid()),
            },
            _ if path.starts_with("/esplora/tx/") => {
                let (returned, confirmed) = self.settled?;
                let script = self.payee().params().return_script.to_hex_string();
                format!(
                    r#"{{"vin":[{{"witness":["aa","bb","01","cc"]}}],"vout":[{{"scriptpubkey":"{script}","value":{}}},{{"scriptpubkey":"51","value":1000}}],
                    "status":{{"confirmed":{confirmed},"block_height":{}}}}}"#,
                    returned.to_sat(),
                    self.tip
                )
            }
            _ => return None,
        };
        Some(format!("200 {json}"))
    }

    fn terms(&self) -> String {
        format!(
            r#"{{"versions":[1],"kind":"{}"{},"network":"regtest","nodeKey":"{}","unit":"second","priceMsat":"{}","windowUnits":{},
            "minDepositSat":"{}","maxDepositSat":"{}","confirmations":{},"expiryBlocks":{},"esplora":"/esplora",
            "socket":"/rillpay/v1/socket","purpose":"{}","chainTip":{}}}"#,
            self.offer.kind.name().as_str(),
            self.offer.kind.ladder().map_or_else(String::new, |ladder| format!(
                r#","ladder":{{"stepBlocks":{},"updates":{}}}"#,
                ladder.step, ladder.updates
            )),
            self.terms_node.public(),
            self.offer.tariff.price.get(),
            self.offer.tariff.window,
            self.offer.min_deposit.to_sat(),
            self.offer.max_deposit.to_sat(),
            self.offer.confirmations,
            self.offer.lifetime,
            self.offer.purpose,
            self.tip,
        )
    }

    fn utxos(&self) -> String {
        let listed: Vec<String> = self
            .outputs
            .iter()
            .map(|output| {
                let height = self.tip + 1 - output.confirmations;
                format!(
                    r#"{{"txid":"{}","vout":{},"value":{},"status":{{"confirmed":true,"block_height":{height}}}}}"#,
                    output.funding.outpoint.txid,
                    output.funding.outpoint.vout,
                    output.funding.capacity.to_sat(),
                )
            })
            .collect();
        format!("[{}]", listed.join(","))
    }

    /// A chain that obeys nLockTime, and nothing else.
    fn take(&mut self, hex: &str) -> String {
        let transaction: Transaction = deserialize_hex(hex).expect("a transaction");
        if transaction.lock_time.to_consensus_u32() > self.tip {
            return "400 non-final".to_owned();
        }
        let txid = transaction.compute_txid();
        let known = self.chain.find(&txid.to_string()).is_some();
        if self.refuses || !(known || self.chain.take(&transaction)) {
            return "400 bad-txns-inputs-missingorspent".to_owned();
        }
        self.broadcast.push(transaction);
        format!("200 {txid}")
    }
}

fn messages(effects: Vec<Effect>) -> Vec<Message> {
    let sent = effects.into_iter().filter_map(|effect| match effect {
        Effect::Send(message) => Some(message),
        Effect::Settle | Effect::Countersign => None,
    });
    sent.collect()
}

const CHALLENGE: [u8; 32] = [4; 32];

pub(crate) fn key(byte: u8) -> Key {
    Key::new(SecretKey::from_slice(&[byte; 32]).unwrap())
}

pub(crate) fn settlement_txid() -> Txid {
    Txid::from_byte_array([0xee; 32])
}
