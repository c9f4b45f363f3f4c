//! [`Wallet`]: what was seen, what was built, and what to do next.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::absolute::LockTime;
use bitcoin::{
    Address, Amount, CompressedPublicKey, FeeRate, Network, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid,
    Witness,
};
use rillpay_channel::fee::Fee;
use rillpay_channel::keys::{Seed, wallet_number};

use crate::account::{Account, Branch, Place, Scripts};
use crate::book::{Balance, Book, Coin, Entry, Kind, Seen, balance, confirmations, touches};
use crate::error::{Code, Error, refuse};
use crate::fees;
use crate::look::{GAP_LIMIT, Look};
use crate::record::{Held, Record};
use crate::select::{choose, everything};
use crate::spend::{signed, spend, support};

/// Confirmations after which a transaction that was built here, or one in its place, needs no more care.
pub const BURIED: u32 = 6;

/// How much to pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Exactly this arrives; the fee comes on top.
    Amount(Amount),
    /// Everything that is worth the fee of spending it, less the fee.
    Everything,
}

/// A payment to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// Whom to pay.
    pub to: ScriptBuf,
    /// How much.
    pub what: What,
    /// Between [`fees::MIN_FEE_RATE`] and [`fees::MAX_FEE_RATE`].
    pub rate: FeeRate,
    /// Nobody broadcasts it at once, and others build on its id (the funding of a `timelock` channel): it spends confirmed
    /// coins only, so that nothing can change under it, and has no lock time.
    pub later: bool,
}

/// A signed transaction. Its coins are held until it is sent or released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Ready to be broadcast.
    pub transaction: Transaction,
    /// Its id.
    pub txid: Txid,
    /// What arrives.
    pub amount: Amount,
    /// What the miner gets.
    pub fee: Amount,
    /// What comes back.
    pub change: Option<Amount>,
}

/// Coins that would pay for our part of a transaction that is built together with somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The transactions that made them, and which outputs they are. All are in blocks.
    pub coins: Vec<(Transaction, u32)>,
    /// Where what is left of them goes.
    pub change: ScriptBuf,
}

/// A BIP 84 wallet. Store [`Wallet::record`] after every change, and before anything that was built is broadcast.
pub struct Wallet {
    account: Account,
    scripts: Scripts,
    id: [u8; 8],
    tip: u32,
    /// How many addresses of each branch were handed out or used.
    handed: [u32; 2],
    /// How many receive addresses channels may have returned to when the wallet was opened.
    reserved: u32,
    seen: BTreeMap<Txid, Seen>,
    held: BTreeMap<Txid, Held>,
}

impl Wallet {
    /// The wallet of a seed on a network. It knows nothing before the first look.
    ///
    /// `reserved` is how many numbers channels of the same words have used up: what comes back of them comes to the receive
    /// addresses with these numbers, which are watched in any case. The wallet gives out none of those, and of the later ones
    /// none that channels can return to ([`rillpay_channel::keys`]).
    ///
    /// # Errors
    /// None in practice.
    pub fn new(seed: &Seed, network: Network, reserved: u32) -> Result<Self, Error> {
        let underivable = |_| Error::new(Code::WalletTooLarge, "the account cannot be derived");
        let account = Account::new(seed).map_err(underivable)?;
        let scripts = account.scripts(network)?;
        let id = scripts.id();
        let (seen, held) = (BTreeMap::new(), BTreeMap::new());
        let mut wallet = Self { account, scripts, id, tip: 0, handed: [0, 0], reserved, seen, held };
        wallet.derive()?;
        Ok(wallet)
    }

    /// The wallet as [`Wallet::record`] described it.
    ///
    /// # Errors
    /// [`Code::CorruptedWallet`] for what cannot be read, is of other words or of another network.
    pub fn load(seed: &Seed, network: Network, reserved: u32, record: &[u8]) -> Result<Self, Error> {
        let mut wallet = Self::new(seed, network, reserved)?;
        let record = Record::decode(record)?;
        if record.account != wallet.id {
            return refuse(Code::CorruptedWallet, "what is stored belongs to other words or another network");
        }
        let mut claimed = BTreeSet::new();
        let inputs = record.seen.values().flat_map(|seen| &seen.transaction.input);
        if !inputs.into_iter().all(|input| claimed.insert(input.previous_output)) {
            return refuse(Code::CorruptedWallet, "what is stored for the wallet contradicts itself");
        }
        Record { tip: wallet.tip, handed: wallet.handed, seen: wallet.seen, held: wallet.held, .. } = record;
        wallet.derive().map_err(|_| Error::new(Code::CorruptedWallet, "what is stored for the wallet is absurd"))?;
        Ok(wallet)
    }

    /// What has to survive a reload. Holds no secret.
    pub fn record(&self) -> Vec<u8> {
        let record = Record {
            account: self.id,
            tip: self.tip,
            handed: self.handed,
            seen: self.seen.clone(),
            held: self.held.clone(),
        };
        record.encode()
    }

    /// Eight bytes that name these words' account on this network.
    pub const fn id(&self) -> [u8; 8] {
        self.id
    }

    /// The network.
    pub const fn network(&self) -> Network {
        self.scripts.network()
    }

    /// The height of the best block at the last look.
    pub const fn tip(&self) -> u32 {
        self.tip
    }

    /// The next receive address: the same until it was used.
    ///
    /// # Errors
    /// None in practice.
    pub fn address(&mut self) -> Result<Address, Error> {
        let place = self.next(Branch::Receive);
        self.scripts.address(place)
    }

    /// The number of that address.
    pub fn receive_index(&self) -> u32 {
        self.next(Branch::Receive).index
    }

    /// A receive address that was never given to anybody.
    ///
    /// # Errors
    /// [`Code::GapLimit`] where other wallets would not find money there.
    pub fn fresh_address(&mut self) -> Result<Address, Error> {
        let given = self.next(Branch::Receive).index.saturating_add(1);
        let [used, _] = self.used();
        if wallet_number(given) >= used.saturating_add(GAP_LIMIT) {
            return refuse(Code::GapLimit, "many addresses were given out and not used; use one of them");
        }
        let [handed, _] = &mut self.handed;
        *handed = given;
        self.derive()?;
        self.address()
    }

    /// Begins to look at the chain.
    ///
    /// # Errors
    /// [`Code::WalletTooLarge`].
    pub fn look(&self) -> Result<Look, Error> {
        let [receive, change] = self.handed;
        let known = self.seen.keys().chain(self.held.keys()).copied().collect();
        Look::new(self.scripts.clone(), [receive.max(self.reserved), change], known)
    }

    /// Takes over what a complete look has found; all that earlier looks said is void.
    ///
    /// # Errors
    /// [`Code::ContradictoryChain`] for an incomplete look; then nothing changes.
    pub fn see(&mut self, look: Look) -> Result<(), Error> {
        let mut sight = look.sight()?;
        // What is confirmed prevails, then what was said last: during a look a transaction may replace another.
        sight.listed.sort_by_key(|(_, status)| status.height.is_none());
        let mut transactions = BTreeMap::new();
        let mut statuses = BTreeMap::new();
        let mut claimed = BTreeSet::new();
        for (txid, status) in sight.listed {
            let known = || self.seen.get(&txid).map(|seen| &seen.transaction);
            let built = || self.held.get(&txid).map(|held| &held.transaction);
            let unknown = Error::new(Code::ContradictoryChain, "this look began before a change; look again");
            let transaction = sight.fetched.remove(&txid).or_else(|| known().or_else(built).cloned()).ok_or(unknown)?;
            if transaction.input.iter().any(|input| claimed.contains(&input.previous_output)) {
                continue;
            }
            claimed.extend(transaction.input.iter().map(|input| input.previous_output));
            transactions.insert(txid, transaction);
            statuses.insert(txid, status);
        }
        let ours: BTreeSet<Txid> = transactions
            .iter()
            .filter(|(_, transaction)| touches(&sight.scripts, &transactions, transaction))
            .map(|(txid, _)| *txid)
            .collect();
        self.seen = transactions
            .into_iter()
            .filter(|(txid, _)| ours.contains(txid))
            .map(|(txid, transaction)| {
                let status = statuses.get(&txid).copied().unwrap_or_default();
                (txid, Seen { transaction, status })
            })
            .collect();
        self.tip = sight.tip;
        self.scripts = sight.scripts;
        let ([receive, change], [handed_receive, handed_change]) = (self.used(), self.handed);
        self.handed = [handed_receive.max(receive), handed_change.max(change)];
        self.derive()?;
        self.let_go_of_buried();
        Ok(())
    }

    /// What there is.
    ///
    /// # Errors
    /// [`Code::ContradictoryChain`] where it would be more than all the bitcoin there can be.
    pub fn balance(&self) -> Result<Balance, Error> {
        balance(&self.coins())
    }

    /// Every coin, in no particular order.
    pub fn coins(&self) -> Vec<Coin> {
        self.book(&[]).coins(&self.locked(&[]))
    }

    /// Every transaction: unconfirmed ones first, then the newest.
    ///
    /// # Errors
    /// As [`Wallet::balance`].
    pub fn history(&self) -> Result<Vec<Entry>, Error> {
        self.book(&[]).history()
    }

    /// Confirmations of a history's entry at the last look.
    pub fn confirmations(&self, entry: &Entry) -> u32 {
        confirmations(entry.status, self.tip)
    }

    /// Builds and signs a payment, and holds its coins. Nothing is broadcast: store the record; then either call
    /// [`Wallet::sent`], store and broadcast, or [`Wallet::release`].
    ///
    /// # Errors
    /// [`Code::InvalidFeeRate`], [`Code::DustAmount`], [`Code::InsufficientFunds`], [`Code::NothingToSpend`].
    pub fn build(&mut self, order: &Order) -> Result<Built, Error> {
        let rate = fees::check(order.rate)?;
        let usable = |coin: &Coin| match coin.kind {
            Kind::Confirmed => true,
            Kind::OwnChange => !order.later,
            Kind::Unconfirmed | Kind::Immature | Kind::Locked => false,
        };
        let mut coins = self.coins();
        coins.retain(usable);
        let to = |value| TxOut { value, script_pubkey: order.to.clone() };
        let (choice, amount) = match order.what {
            What::Amount(amount) => {
                let dust = order.to.minimal_non_dust();
                if amount < dust {
                    let error = Error::new(Code::DustAmount, "this amount is too small for the network to carry");
                    return Err(error.with(dust));
                }
                (choose(&coins, &[to(amount)], rate)?, amount)
            }
            What::Everything => everything(&coins, &order.to, rate)?,
        };
        let mut outputs = vec![to(amount)];
        let place = self.next(Branch::Change);
        if let Some(change) = choice.change {
            outputs.push(TxOut { value: change, script_pubkey: self.scripts.script(place)? });
        }
        // A payment for the next block must not be worth digging up this one for.
        let lock_time = if order.later { LockTime::ZERO } else { LockTime::from_consensus(self.tip) };
        let transaction = spend(&self.account, &choice.coins, outputs, lock_time)?;
        let txid = transaction.compute_txid();
        if choice.change.is_some() {
            self.hand_out_change(place);
            self.derive()?;
        }
        self.held.insert(txid, Held { transaction: transaction.clone(), sent: false });
        Ok(Built { transaction, txid, amount, fee: choice.fee, change: choice.change })
    }

    /// Brings money along to a transaction that cannot pay its fee: confirmed coins come after its inputs, `value` of which is in
    /// them, and change after its outputs. Its inputs have witnesses as long as the signed ones may become, and are to be signed
    /// by whoever owns them; those of the wallet are. Transactions in `replaces`, ours from before, leave for it.
    ///
    /// Nothing changes here before [`Wallet::supported`].
    ///
    /// # Errors
    /// [`Code::InsufficientFunds`] with what is missing, [`Code::InvalidFeeRate`] for an absurd one.
    pub fn support(
        &mut self,
        base: &Transaction,
        value: Amount,
        fee: &Fee,
        replaces: &[Txid],
    ) -> Result<Transaction, Error> {
        let mut coins = self.book(replaces).coins(&self.locked(replaces));
        // A replacement must not build on anything that waits, unless what it replaces did (BIP 125).
        coins.retain(|coin| coin.kind == Kind::Confirmed);
        let change = self.scripts.script(self.next(Branch::Change))?;
        support(&self.account, base, value, coins, change, fee)
    }

    /// A transaction of [`Wallet::support`] is going to be broadcast: its coins are held for it, and those of the ones that it
    /// replaces no more. To be released when it cannot confirm any more.
    ///
    /// # Errors
    /// None in practice.
    pub fn supported(&mut self, transaction: Transaction, replaces: &[Txid]) -> Result<(), Error> {
        self.hand_out_change(self.next(Branch::Change));
        self.derive()?;
        self.held.retain(|txid, _| !replaces.contains(txid));
        self.held.insert(transaction.compute_txid(), Held { transaction, sent: false });
        Ok(())
    }

    /// What [`Wallet::build`] would build now; changes nothing.
    ///
    /// # Errors
    /// As [`Wallet::build`].
    pub fn quote(&mut self, order: &Order) -> Result<Built, Error> {
        let (handed, known) = (self.handed, self.held.clone());
        let built = self.build(order);
        (self.handed, self.held) = (handed, known);
        built
    }

    /// Coins for our part of a transaction that is built together with somebody else, enough for one that makes this output alone.
    /// They are not held: whoever comes first with [`Wallet::build`] or [`Wallet::join`] has them.
    ///
    /// # Errors
    /// As [`Wallet::build`].
    pub fn offer(&mut self, output: &TxOut, rate: FeeRate) -> Result<Offer, Error> {
        let rate = fees::check(rate)?;
        let mut coins = self.coins();
        coins.retain(|coin| coin.kind == Kind::Confirmed);
        let choice = choose(&coins, std::slice::from_ref(output), rate)?;
        let made = |coin: &Coin| {
            let seen = self.seen.get(&coin.outpoint.txid).ok_or(UNKNOWN)?;
            Ok((seen.transaction.clone(), coin.outpoint.vout))
        };
        let coins = choice.coins.iter().map(made).collect::<Result<_, Error>>()?;
        let change = self.scripts.script(self.next(Branch::Change))?;
        Ok(Offer { coins, change })
    }

    /// Signs for these coins of ours, and for nothing else, in a transaction that was built together with somebody else; holds
    /// it. Gives the witnesses, in the order of the coins. Store the record; then either call [`Wallet::complete`] once all have
    /// signed, or [`Wallet::release`].
    ///
    /// # Errors
    /// [`Code::InsufficientFunds`] where a coin is not there to be spent any more; [`Code::UnknownTransaction`] where the
    /// transaction does not spend one of them, or spends another one of ours.
    pub fn join(&mut self, transaction: &Transaction, ours: &[OutPoint]) -> Result<Vec<Witness>, Error> {
        let all = self.coins();
        let at = |outpoint: &OutPoint| transaction.input.iter().position(|input| input.previous_output == *outpoint);
        if all.iter().any(|coin| at(&coin.outpoint).is_some() && !ours.contains(&coin.outpoint)) {
            return refuse(Code::UnknownTransaction, "this transaction spends more of our coins than we offered");
        }
        let find = |outpoint: &OutPoint| {
            let coin = all.iter().find(|coin| coin.outpoint == *outpoint && coin.kind == Kind::Confirmed);
            let gone = Error::new(Code::InsufficientFunds, "a coin that was offered is not free any more");
            Ok((at(outpoint).ok_or(UNKNOWN)?, *coin.ok_or(gone)?))
        };
        let coins = ours.iter().map(find).collect::<Result<Vec<_>, Error>>()?;
        let signed = signed(&self.account, &coins, transaction.clone())?;
        let inputs = coins.iter().filter_map(|(index, _)| signed.input.get(*index));
        let witnesses = inputs.map(|input| input.witness.clone()).collect();
        for output in &signed.output {
            if let Some(place) =
                self.scripts.place(&output.script_pubkey).filter(|place| place.branch == Branch::Change)
            {
                self.hand_out_change(place);
            }
        }
        self.derive()?;
        self.held.insert(signed.compute_txid(), Held { transaction: signed, sent: false });
        Ok(witnesses)
    }

    /// All have signed what was joined: it counts from now on.
    ///
    /// # Errors
    /// [`Code::UnknownTransaction`].
    pub fn complete(&mut self, transaction: &Transaction) -> Result<(), Error> {
        let held = self.held.get_mut(&transaction.compute_txid()).ok_or(UNKNOWN)?;
        *held = Held { transaction: transaction.clone(), sent: true };
        Ok(())
    }

    /// A transaction that was built is being handed to the network: it counts from now on.
    ///
    /// # Errors
    /// [`Code::UnknownTransaction`].
    pub fn sent(&mut self, txid: &Txid) -> Result<(), Error> {
        self.held.get_mut(txid).ok_or(UNKNOWN)?.sent = true;
        Ok(())
    }

    /// A transaction that was built will never be broadcast: its coins are free again. Whoever has it could still broadcast
    /// it, until one of its coins is spent otherwise.
    ///
    /// # Errors
    /// [`Code::UnknownTransaction`].
    pub fn release(&mut self, txid: &Txid) -> Result<(), Error> {
        self.held.remove(txid).map(|_| ()).ok_or(UNKNOWN)
    }

    /// Transactions that were built and neither sent, released nor seen.
    pub fn held(&self) -> Vec<&Transaction> {
        let waiting = self.held.iter().filter(|(txid, held)| !held.sent && !self.seen.contains_key(*txid));
        waiting.map(|(_, held)| &held.transaction).collect()
    }

    /// Transactions that were sent, and that the last look did not show: to be broadcast again.
    pub fn unseen(&self) -> Vec<&Transaction> {
        self.pending().into_values().collect()
    }

    /// Those that were sent, are not seen, and could still be confirmed.
    fn pending(&self) -> BTreeMap<Txid, &Transaction> {
        let spent: BTreeSet<OutPoint> =
            self.seen.values().flat_map(|seen| &seen.transaction.input).map(|input| input.previous_output).collect();
        let mut pending: BTreeMap<Txid, &Transaction> = self
            .held
            .iter()
            .filter(|(txid, held)| held.sent && !self.seen.contains_key(*txid))
            .filter(|(_, held)| !held.transaction.input.iter().any(|input| spent.contains(&input.previous_output)))
            .map(|(txid, held)| (*txid, &held.transaction))
            .collect();
        // Each of them spends what was seen or what is pending; what builds on one that is out is out, too. Of coins that others
        // put in nothing is known.
        loop {
            let is_there = |txid: &Txid| self.seen.contains_key(txid) || pending.contains_key(txid);
            let stands = |input: &TxIn| is_there(&input.previous_output.txid) || !self.signed(input);
            let fallen: Vec<Txid> = pending
                .iter()
                .filter(|(_, transaction)| !transaction.input.iter().all(stands))
                .map(|(txid, _)| *txid)
                .collect();
            if fallen.is_empty() {
                return pending;
            }
            pending.retain(|txid, _| !fallen.contains(txid));
        }
    }

    /// Whether it was us who signed for this input.
    fn signed(&self, input: &TxIn) -> bool {
        let key = input.witness.last().and_then(|key| CompressedPublicKey::from_slice(key).ok());
        key.is_some_and(|key| self.scripts.place(&ScriptBuf::new_p2wpkh(&key.wpubkey_hash())).is_some())
    }

    /// Everything but those that are `leaving` for another one.
    fn book(&self, leaving: &[Txid]) -> Book<'_> {
        let seen = self.seen.iter().map(|(txid, seen)| (*txid, &seen.transaction, seen.status));
        let pending = self.pending().into_iter().map(|(txid, transaction)| (txid, transaction, Default::default()));
        let all = seen.chain(pending).filter(|(txid, ..)| !leaving.contains(txid));
        Book::new(&self.scripts, self.tip, all)
    }

    /// What transactions that wait to be sent will spend, but for those that are `leaving`.
    fn locked(&self, leaving: &[Txid]) -> BTreeSet<OutPoint> {
        let waiting = self.held.iter().filter(|(txid, held)| !held.sent && !leaving.contains(txid));
        let inputs = waiting.flat_map(|(_, held)| &held.transaction.input);
        inputs.map(|input| input.previous_output).collect()
    }

    /// An address for change is not given again.
    fn hand_out_change(&mut self, place: Place) {
        let [_, handed] = &mut self.handed;
        *handed = (*handed).max(place.index.saturating_add(1));
    }

    /// Transactions that are buried, or whose coins others have spent in buried ones, are forgotten.
    fn let_go_of_buried(&mut self) {
        let buried = self.seen.iter().filter(|(_, seen)| confirmations(seen.status, self.tip) >= BURIED);
        let mut over: BTreeSet<OutPoint> = BTreeSet::new();
        for (_, seen) in buried {
            over.extend(seen.transaction.input.iter().map(|input| input.previous_output));
        }
        self.held.retain(|_, held| !held.transaction.input.iter().any(|input| over.contains(&input.previous_output)));
    }

    /// The number of addresses of each branch up to the last one that a transaction pays.
    fn used(&self) -> [u32; 2] {
        let mut used = [0, 0];
        let seen = self.seen.values().map(|seen| &seen.transaction);
        let all = seen.chain(self.held.values().map(|held| &held.transaction));
        for output in all.flat_map(|transaction| &transaction.output) {
            let Some(place) = self.scripts.place(&output.script_pubkey) else {
                continue;
            };
            let [receive, change] = &mut used;
            let used = if place.branch == Branch::Receive { receive } else { change };
            *used = (*used).max(place.index.saturating_add(1));
        }
        used
    }

    /// The next address that nobody has, unless a search from words alone would not reach it.
    fn next(&self, branch: Branch) -> Place {
        let ([receive, change], [used_receive, used_change]) = (self.handed, self.used());
        let (next, handed, used) = match branch {
            Branch::Receive => (receive.max(self.reserved), receive, used_receive),
            Branch::Change => (change, change, used_change),
        };
        let reach = used.saturating_add(GAP_LIMIT);
        let own = |least| if branch == Branch::Receive { wallet_number(least) } else { least };
        let index = [next, handed].map(own).into_iter().find(|index| *index < reach).unwrap_or(own(used));
        Place { branch, index }
    }

    /// Recognises all addresses that a look would ask about.
    fn derive(&mut self) -> Result<(), Error> {
        let [receive, change] = self.handed;
        for (branch, handed) in [(Branch::Receive, receive.max(self.reserved)), (Branch::Change, change)] {
            if handed > crate::look::MAX_ADDRESSES {
                return refuse(Code::WalletTooLarge, "this wallet has more addresses than can be looked at here");
            }
            self.scripts.script(Place { branch, index: handed.saturating_add(GAP_LIMIT) })?;
        }
        Ok(())
    }
}

const UNKNOWN: Error = Error::new(Code::UnknownTransaction, "the wallet holds no such transaction");
