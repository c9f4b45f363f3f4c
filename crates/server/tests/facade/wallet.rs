//! A wallet of the Bitcoin Dev Kit lives on our Esplora: it finds its money, pays a channel's address, and gets the deposit
//! back after expiry by a transaction from the refund kit.

use std::time::{SystemTime, UNIX_EPOCH};

use bdk_esplora::EsploraAsyncExt;
use bdk_esplora::esplora_client::{AsyncClient, Builder};
use bdk_wallet::template::Bip84;
use bdk_wallet::{KeychainKind, SignOptions, Wallet};
use bitcoin::bip32::Xpriv;
use bitcoin::{Amount, FeeRate, Network, Transaction, Txid};
use rillpay_chain::kernel::{KernelChain, KernelConfig};
use rillpay_chain::{Chain, Reason, ScriptHash};
use rillpay_channel::commitment::Funding;
use rillpay_channel::keys::Seed;
use rillpay_channel::refund::refund_kit;
use rillpay_channel::tariff::{Tariff, Unit};
use rillpay_channel::{ChannelParams, FundingKind, Kind, Msat};

const EMMA: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";
const FABIAN: &str = "letter advice cage absurd amount doctor acoustic avoid letter advice cage above";
/// 36 mBTC, an hour of video.
const DEPOSIT: Amount = Amount::from_sat(3_600_000);

struct Guest {
    wallet: Wallet,
    client: AsyncClient,
}

impl Guest {
    fn new(url: &str) -> Self {
        let key = Xpriv::new_master(Network::Regtest, &[7; 32]).unwrap();
        let wallet = Wallet::create(Bip84(key, KeychainKind::External), Bip84(key, KeychainKind::Internal));
        let wallet = wallet.network(Network::Regtest).create_wallet_no_persist().unwrap();
        Self { wallet, client: Builder::new(url).build_async().unwrap() }
    }

    async fn scan(&mut self) {
        let update = self.client.full_scan(self.wallet.start_full_scan(), 5, 2).await.unwrap();
        self.wallet.apply_update(update).unwrap();
    }

    async fn sync(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let request = self.wallet.start_sync_with_revealed_spks_at(now);
        let update = self.client.sync(request, 2).await.unwrap();
        self.wallet.apply_update(update).unwrap();
    }
}

/// The refund that the kit has, fit for the network's floor.
async fn give_back(kernel: &KernelChain, params: &ChannelParams, emma: &Seed) -> Transaction {
    let found = kernel.script_unspent(&ScriptHash::of(&params.funding_script())).await.unwrap();
    let funding: Vec<Funding> = found
        .iter()
        .map(|utxo| Funding { outpoint: bitcoin::OutPoint::new(utxo.txid, utxo.vout), capacity: utxo.value })
        .collect();
    let kit = refund_kit(params, &funding, &emma.channel_key(1).unwrap()).unwrap();
    kit.first().unwrap().transaction.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_that_we_did_not_write_pays_and_gets_its_refund() {
    let kernel = KernelChain::open(KernelConfig::default()).await.unwrap();
    let mut guest = Guest::new(&super::serve(&kernel).await);

    // Money arrives, waits, confirms.
    let own = guest.wallet.reveal_next_address(KeychainKind::External).address;
    kernel.send(&own.script_pubkey(), Amount::from_sat(10_000_000)).await.unwrap();
    guest.scan().await;
    assert_eq!(guest.wallet.balance().untrusted_pending, Amount::from_sat(10_000_000));
    kernel.mine(1).await.unwrap();
    guest.sync().await;
    assert_eq!(guest.wallet.balance().confirmed, Amount::from_sat(10_000_000));

    // It pays the address of a channel whose refunds return to it.
    let emma = Seed::from_words(EMMA, Network::Regtest).unwrap();
    let fabian = Seed::from_words(FABIAN, Network::Regtest).unwrap();
    let back = guest.wallet.reveal_next_address(KeychainKind::External).address.script_pubkey();
    let expiry = kernel.tip().await.unwrap().height + 20;
    let params = ChannelParams {
        kind: Kind::Cltv,
        network: Network::Regtest,
        funding_kind: FundingKind::P2shP2wsh,
        payer: emma.channel_key(1).unwrap().public(),
        payee: fabian.channel_key(1).unwrap().public(),
        expiry,
        return_script: back,
        tariff: Tariff { unit: Unit::Second, price: Msat::new(1_000_000).unwrap(), window: 2 },
        min_deposit: Amount::from_sat(10_000),
        max_deposit: DEPOSIT,
        confirmations: 1,
        stop_margin: 2,
        close_margin: 1,
        purpose: String::new(),
    };
    params.validate().unwrap();
    let mut payment = guest.wallet.build_tx();
    payment.add_recipient(params.funding_script(), DEPOSIT).fee_rate(FeeRate::from_sat_per_vb_u32(3));
    let mut psbt = payment.finish().unwrap();
    #[allow(deprecated)]
    let signed = guest.wallet.sign(&mut psbt, SignOptions::default()).unwrap();
    assert!(signed);
    let tx = psbt.extract_tx().unwrap();
    guest.client.broadcast(&tx).await.unwrap();
    kernel.mine(1).await.unwrap();
    guest.sync().await;
    let after = guest.wallet.balance().total();
    assert!(after < Amount::from_sat(10_000_000) - DEPOSIT);

    // The kit's refund is refused before expiry, through the same door, and taken after it.
    let refund = give_back(&kernel, &params, &emma).await;
    let early = guest.client.broadcast(&refund).await.unwrap_err().to_string();
    assert!(early.contains(Reason::NonFinal.as_str()), "{early}");
    let missing = expiry - kernel.tip().await.unwrap().height;
    kernel.mine(missing).await.unwrap();
    guest.client.broadcast(&refund).await.unwrap();
    kernel.mine(1).await.unwrap();
    guest.sync().await;
    let txid: Txid = refund.compute_txid();
    assert!(guest.wallet.get_tx(txid).unwrap().chain_position.is_confirmed());
    assert_eq!(guest.wallet.balance().confirmed, after + refund.output[0].value);
}
