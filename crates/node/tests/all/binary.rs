//! The program itself, two of it, on a real Bitcoin Core node.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rillpay_chain::testing::Node as Bitcoin;
use rillpay_channel::bitcoin::{Address, Network};
use serde_json::Value;
use tempfile::TempDir;

use crate::pair::{BTC, FEES, btc};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rillpay-node");

/// One process, killed with its value.
struct Program {
    folder: TempDir,
    child: Option<Child>,
    /// `<key>@<address>`.
    name: String,
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Program {
    fn start(bitcoin: &Bitcoin) -> Self {
        let mut program = Self { folder: TempDir::new().unwrap(), child: None, name: String::new() };
        program.run(bitcoin, "127.0.0.1:0");
        program
    }

    fn run(&mut self, bitcoin: &Bitcoin, listen: &str) {
        let mut child = Command::new(PROGRAM)
            .arg("--data")
            .arg(self.folder.path())
            .args(["run", "--network", "regtest", "--listen", listen, "--poll-milliseconds", "100"])
            .args(["--bitcoind", &bitcoin.url(), "--cookie"])
            .arg(bitcoin.cookie())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.child = Some(child);
        self.name = line.trim().to_owned();
        assert!(self.name.contains('@'), "it says who it is: {line}");
    }

    /// As a power cut would.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn output(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(PROGRAM).arg("--data").arg(self.folder.path()).args(arguments).output().unwrap();
        let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    /// The answer as JSON, what it says or why not.
    fn ask(&self, arguments: &[&str]) -> Value {
        let (_, said) = self.output(&[arguments, &["--json"]].concat());
        serde_json::from_str(&said).unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> Value {
        let answer = self.ask(arguments);
        assert!(answer.get("ok").is_some(), "{arguments:?}: {answer}");
        answer["ok"].clone()
    }

    fn channel(&self) -> Value {
        self.ok(&["list"])["channels"][0].clone()
    }

    fn on_chain(&self) -> u64 {
        self.ok(&["balance"])["confirmed_sat"].as_u64().unwrap()
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(60), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn mined(bitcoin: &Bitcoin, transactions: usize) {
    let since = Instant::now();
    while bitcoin.call::<Vec<String>>("getrawmempool", serde_json::json!([])).await.len() < transactions {
        assert!(since.elapsed() < Duration::from_secs(60), "nothing waits to be mined");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bitcoin.mine(1).await;
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777
}

/// What docs/node.md tells a newcomer to do.
#[tokio::test(flavor = "multi_thread")]
async fn two_programs_on_bitcoin_core() {
    let bitcoin = Bitcoin::start().await;
    let (hitesh, mut irene) = (Program::start(&bitcoin), Program::start(&bitcoin));
    for file in ["control", "seed.words", "node.sqlite", "lock"] {
        assert_eq!(mode(&irene.folder.path().join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(irene.folder.path()), 0o700);

    let (success, address) = hitesh.output(&["address"]);
    assert!(success);
    let address: Address<_> = address.trim().parse().unwrap();
    bitcoin.send(&address.require_network(Network::Regtest).unwrap().script_pubkey(), btc(20)).await;
    mined(&bitcoin, 1).await;
    until("his coins are there", || hitesh.on_chain() == 20 * BTC).await;

    hitesh.ok(&["connect", &irene.name]);
    let (id, _) = irene.name.split_once('@').unwrap();
    let opened = hitesh.ok(&["open", id, "1000000000", "--push", "500000000"]);
    let channel = opened["channel"].as_str().unwrap().to_owned();
    mined(&bitcoin, 1).await;
    bitcoin.mine(2).await;
    for program in [&hitesh, &irene] {
        until("the channel is open", || program.channel()["state"] == "open").await;
        assert_eq!(program.channel()["balance_sat"], 5 * BTC);
    }

    // A request goes from one person to the other as a text.
    let (_, request) = hitesh.output(&["request", &channel[..8], "200000000", "two, as agreed"]);
    let (success, said) = irene.output(&["pay", request.trim()]);
    assert!(success && said == "paid 200000000 sat; 300000000 sat are left\n", "{said}");
    assert_eq!(irene.ask(&["pay", request.trim()])["error"]["code"], "request_paid");
    until("seven", || hitesh.channel()["balance_sat"] == 7 * BTC).await;

    // Killed at some moment of some payment, and back at the same address.
    let listen = irene.name.split_once('@').unwrap().1.to_owned();
    for wait in [0, 20, 40] {
        let mut paying = Command::new(PROGRAM)
            .arg("--data")
            .arg(hitesh.folder.path())
            .args(["pay", &channel, "1000"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        irene.kill();
        irene.run(&bitcoin, &listen);
        paying.wait().unwrap();
        until("both can pay", || [&hitesh, &irene].iter().all(|one| one.channel()["state"] == "open")).await;
        until("both agree", || {
            let [one, other] = [&hitesh, &irene].map(|one| one.channel()["balance_sat"].as_u64().unwrap());
            one + other == 10 * BTC
        })
        .await;
    }

    let [hers, before] = [irene.channel()["balance_sat"].as_u64().unwrap(), hitesh.on_chain()];
    assert!((3 * BTC..=3 * BTC + 3_000).contains(&hers), "{hers}");
    assert_eq!(irene.ok(&["close", &channel])["state"], "closed");
    mined(&bitcoin, 1).await;
    until("hers is there", || irene.on_chain() == hers).await;
    until("his is there", || hitesh.on_chain() > before).await;
    let his = hitesh.on_chain() - before;
    assert!(his <= 10 * BTC - hers && his > 10 * BTC - hers - FEES, "{his}");

    let (success, said) = irene.output(&["stop"]);
    assert!(success && said == "the node stops\n");
    until("it has stopped", || !irene.output(&["info"]).0).await;
    let (_, said) = irene.output(&["info"]);
    assert!(said.contains("(not_running)"), "{said}");
}
