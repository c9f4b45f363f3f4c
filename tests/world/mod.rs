//! A server and a chain in the page: `fetch` and `WebSocket` lead here, and behind them stands the real payee machine.
//! No network, no clock; what goes over the wire is what a server would see.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{ArrayBuffer, Function, Uint8Array};
use rillpay_channel::bitcoin::consensus::encode::deserialize_hex;
use rillpay_channel::bitcoin::hashes::Hash;
use rillpay_channel::bitcoin::secp256k1::SecretKey;
use rillpay_channel::bitcoin::{Amount, Network, OutPoint, Transaction, Txid};
use rillpay_channel::commitment::{Funding, Paid, SeenOutput};
use rillpay_channel::keys::Key;
use rillpay_channel::payee::{Cover, Effect, Offer, Payee, Step};
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::wire::{Message, Refusal, Token};
use rillpay_channel::{Code, Error, Msat};
use wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::wasm_bindgen};

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
    pub(crate) refusals: Vec<Refusal>,
    /// Payments that arrived, whether they were taken or lost.
    pub(crate) payments: Vec<Paid>,
    pub(crate) loses_payments: bool,
    pub(crate) opened: u32,
    socket: Option<Socket>,
}

impl World {
    pub(crate) fn new(host: &str) -> Self {
        let world = Self(Rc::new(RefCell::new(State {
            origin: format!("https://{host}"),
            node: key(3),
            terms_node: key(3),
            offer: Offer {
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

    /// The payer's money arrives at the channel's address, and the server sees it.
    pub(crate) fn deposit(&self, sat: u64, number: u8) {
        self.with(|state| {
            state.tip += 1;
            state.outputs.push(SeenOutput {
                funding: Funding {
                    outpoint: OutPoint::new(Txid::from_byte_array([number; 32]), 0),
                    capacity: Amount::from_sat(sat),
                },
                confirmations: 1,
            });
        });
        self.see_funding();
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
        messages(self.payee.as_mut().expect("a channel").commit(saved).expect("fresh"))
    }

    fn on_message(&mut self, message: Message) -> Result<Vec<Message>, Error> {
        let step = match message {
            Message::Open(open) => {
                self.opened += 1;
                let step = self.offer.open(&open, self.tip, key(2).public(), 0, &self.node)?;
                let (payee, effects) = Payee::create(step.save(|_| Ok::<_, ()>(())).unwrap())?;
                self.payee = Some(payee);
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

    /// Status and body; `None` where there is no such thing.
    fn http(&mut self, path: &str, body: &str) -> Option<String> {
        let json = match path {
            "/.well-known/rillpay" => self.terms(),
            "/esplora/blocks/tip/height" => self.tip.to_string(),
            "/esplora/tx" => return Some(self.take(body)),
            _ if path.starts_with("/esplora/address/") => self.utxos(),
            _ if path.contains("/outspend/") => match self.settled {
                None => r#"{"spent":false}"#.to_owned(),
                Some(_) => format!(r#"{{"spent":true,"txid":"{}","vin":0,"status":{{}}}}"#, settlement_txid()),
            },
            _ if path.starts_with("/esplora/tx/") => {
                let (returned, confirmed) = self.settled?;
                let script = self.payee().params().return_script.to_hex_string();
                format!(
                    r#"{{"vin":[{{"witness":["aa","bb","01","cc"]}}],"vout":[{{"scriptpubkey":"{script}","value":{}}}],
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
            r#"{{"versions":[1],"network":"regtest","nodeKey":"{}","unit":"second","priceMsat":"{}","windowUnits":{},
            "minDepositSat":"{}","maxDepositSat":"{}","confirmations":{},"expiryBlocks":{},"esplora":"/esplora",
            "socket":"/rillpay/v1/socket","purpose":"{}","chainTip":{}}}"#,
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
        self.broadcast.push(transaction);
        format!("200 {txid}")
    }
}

fn messages(effects: Vec<Effect>) -> Vec<Message> {
    let sent = effects.into_iter().filter_map(|effect| match effect {
        Effect::Send(message) => Some(message),
        Effect::Settle => None,
    });
    sent.collect()
}

const CHALLENGE: [u8; 32] = [4; 32];

fn key(byte: u8) -> Key {
    Key::new(SecretKey::from_slice(&[byte; 32]).unwrap())
}

pub(crate) fn settlement_txid() -> Txid {
    Txid::from_byte_array([0xee; 32])
}
