use rillpay_chain::bitcoind::Auth;
use rillpay_chain::esplora::EsploraOptions;
use rillpay_channel::bitcoin::bip32::Xpub;
use rillpay_channel::bitcoin::{Address, Script};
use rillpay_channel::{Kind, Ladder, Msat};

use super::*;

const EXAMPLE: &str = include_str!("../../../../docs/rillpay.example.toml");

/// A place with a folder of content, as the example names it.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("media")).unwrap();
    place
}

/// Checks a text at a place of its own.
fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, place().path())
}

#[test]
fn the_example_is_in_order_and_shows_the_defaults() {
    let place = place();
    let config = Config::parse(EXAMPLE, place.path()).unwrap();
    assert_eq!(config.offer.tariff.price, Msat::new(1_000_000).unwrap());
    // The keys shown as comments, taken in, change nothing.
    let shown: String = EXAMPLE
        .lines()
        .map(|line| {
            match line.strip_prefix("# ").filter(|rest| rest.split_once(" = ").is_some_and(|(key, _)| is_key(key))) {
                Some(key) => format!("{key}\n"),
                None => format!("{line}\n"),
            }
        })
        .collect();
    let mut shown = Config::parse(&shown, place.path()).unwrap();
    assert!(shown.limits.store_pages.take().is_some(), "shown with a value, though the default is none");
    assert!(!std::mem::take(&mut shown.free).is_empty(), "shown with a value, though the default is none");
    assert!(shown.settlement.patient.take().is_some(), "shown with a value, though the default is none");
    assert_eq!(format!("{shown:?}"), format!("{config:?}"));
}

fn is_key(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[test]
fn every_bad_value_is_answered_with_its_key() {
    let cases = [
        ("listen", r#"listen = "127.0.0.1:8080""#, r#"listen = "nowhere""#),
        ("network", r#"network = "regtest""#, r#"network = "mainnet""#),
        ("payout", "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt081"),
        ("payout", "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
        ("origin", r#"origin = "http://127.0.0.1:8080""#, r#"origin = "a b""#),
        ("esplora", r#"esplora = "/esplora""#, r#"esplora = "esplora""#),
        ("chain.backend", r#"backend = "kernel""#, r#"backend = "carrier pigeon""#),
        ("chain.max_age_seconds", "# max_age_seconds = 120", "max_age_seconds = 0"),
        ("tariff.unit", r#"unit = "second""#, r#"unit = "minute""#),
        ("tariff.price_msat", "price_msat = 1_000_000", "price_msat = 0"),
        ("tariff.price_msat", "price_msat = 1_000_000", "price_msat = 3_000_000_000_000_000_000"),
        ("tariff.window_units", "# window_units = 2", "window_units = 0"),
        ("deposit.min_sat", "min_sat = 10_000", "min_sat = 999"),
        ("deposit.max_sat", "max_sat = 10_000_000", "max_sat = 9_999"),
        ("deposit.min_sat", "price_msat = 1_000_000", "price_msat = 6_000_000"),
        ("deposit.confirmations", "confirmations = 1", "confirmations = 0"),
        ("channel.close_margin_blocks", "close_margin_blocks = 144", "close_margin_blocks = 0"),
        ("channel.stop_margin_blocks", "stop_margin_blocks = 288", "stop_margin_blocks = 143"),
        ("channel.lifetime_blocks", "lifetime_blocks = 1008", "lifetime_blocks = 289"),
        ("channel.calm_sat_per_vbyte", "# calm_sat_per_vbyte = 10", "calm_sat_per_vbyte = 0"),
        ("settlement.min_sat_per_vbyte", "# min_sat_per_vbyte = 1", "min_sat_per_vbyte = 0"),
        ("settlement.max_sat_per_vbyte", "# max_sat_per_vbyte = 200", "max_sat_per_vbyte = 0"),
        ("settlement.value_at_risk_sat", "# value_at_risk_sat = 10_000_000", "value_at_risk_sat = 0"),
        (
            "settlement.value_at_risk_sat",
            "# value_at_risk_sat = 10_000_000",
            "value_at_risk_sat = 2_100_000_000_000_001",
        ),
        ("settlement.patient_sat_per_vbyte", "# patient_sat_per_vbyte = 20", "patient_sat_per_vbyte = 0"),
        ("settlement.patient_sat_per_vbyte", "# patient_sat_per_vbyte = 20", "patient_sat_per_vbyte = 10_001"),
        ("settlement.merge_delay_seconds", "# merge_delay_seconds = 600", "merge_delay_seconds = 86_401"),
        ("content.folder", r#"folder = "media""#, r#"folder = "no such folder""#),
        ("content.upstream", r#"folder = "media""#, r#"upstream = "ftp://example""#),
        ("content", r#"folder = "media""#, ""),
        ("content.path", r#"# path = "/media""#, r#"path = "/a/../b""#),
        ("content.path", r#"# path = "/media""#, r#"path = "/""#),
        ("content.path", r#"# path = "/media""#, r#"path = "/rillpay""#),
        ("content.path", r#"# path = "/media""#, r#"path = "/healthz/x""#),
        ("content.path", r#"# path = "/media""#, r#"path = "/.well-known""#),
        ("esplora", r#"# path = "/media""#, r#"path = "/esplora""#),
        ("esplora", r#"# path = "/media""#, r#"path = "/esplora/media""#),
        ("esplora", r#"esplora = "/esplora""#, r#"esplora = "/media/esplora""#),
        ("esplora", r#"esplora = "/esplora""#, r#"esplora = "/rillpay/v1/socket""#),
        ("esplora", r#"esplora = "/esplora""#, r#"esplora = "/{all}""#),
        ("esplora", r#"esplora = "/esplora""#, r#"esplora = "/""#),
        ("content.free", r#"# free = ["*.vtt"]"#, r#"free = ["**"]"#),
        ("content.wait_milliseconds", "# wait_milliseconds = 5000", "wait_milliseconds = 60_001"),
        ("limits.opens_per_minute", "# opens_per_minute = 60", "opens_per_minute = 0"),
        ("limits.sockets", "# sockets = 10000", "sockets = 0"),
        ("limits.frames_per_second", "# frames_per_second = 20", "frames_per_second = 0"),
        ("limits.store_mebibytes", "# store_mebibytes = 1024", "store_mebibytes = 0"),
        ("cors.origins", "# origins = []", r#"origins = ["video.example"]"#),
    ];
    for (key, line, bad) in cases {
        assert!(EXAMPLE.contains(line), "the example has no line {line}");
        let error = parse(&EXAMPLE.replace(line, bad)).unwrap_err();
        let ConfigError::Value { key: named, .. } = &error else { panic!("{bad}: {error}") };
        assert_eq!(*named, key, "{bad}: {error}");
        assert!(error.to_string().contains(&format!("`{key}`")));
    }
}

#[test]
fn the_main_network_needs_a_day_to_close() {
    let main = EXAMPLE
        .replace(r#"network = "regtest""#, r#"network = "bitcoin""#)
        .replace("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4");
    let error = parse(&main.replace("close_margin_blocks = 144", "close_margin_blocks = 143")).unwrap_err();
    assert!(error.to_string().contains("`chain.backend`"), "the embedded chain is for regtest only: {error}");
    let file: file::File =
        toml::from_str(&main.replace("close_margin_blocks = 144", "close_margin_blocks = 143")).unwrap();
    let error = offer::read(&file, Network::Bitcoin, Script::new()).unwrap_err();
    assert!(error.to_string().contains("`channel.close_margin_blocks`"), "{error}");
    let file: file::File = toml::from_str(&main).unwrap();
    assert!(offer::read(&file, Network::Bitcoin, Script::new()).is_ok());
}

/// The example with other lines for the backend.
fn with_chain(lines: &str) -> Result<Config, ConfigError> {
    let place = place();
    std::fs::write(place.path().join("password"), "correct horse\n").unwrap();
    std::fs::write(place.path().join("media/cookie"), "").unwrap();
    Config::parse(&EXAMPLE.replace(r#"backend = "kernel""#, lines), place.path())
}

#[test]
fn a_node_is_reached_by_cookie_or_password() {
    const NODE: &str = "backend = \"bitcoind\"\nurl = \"http://127.0.0.1:18443\"\n";
    let auth = |lines: &str| match with_chain(&format!("{NODE}{lines}")).unwrap().chain.backend {
        Backend::Bitcoind(options) => options.auth,
        other => panic!("{other:?}"),
    };
    assert!(
        matches!(auth("cookie_file = \"/node/.cookie\""), Auth::Cookie(path) if path == Path::new("/node/.cookie"))
    );
    let expected = Auth::Password { user: "fabian".into(), password: "correct horse".into() };
    assert_eq!(auth("user = \"fabian\"\npassword_file = \"password\""), expected);
    let key = |lines: &str| match with_chain(lines).unwrap_err() {
        ConfigError::Value { key, .. } => key,
        other => panic!("{other}"),
    };
    assert_eq!(key("backend = \"bitcoind\"\ncookie_file = \"x\""), "chain.url");
    assert_eq!(key("backend = \"kernel\"\nurl = \"http://127.0.0.1\""), "chain.url");
    assert_eq!(key(NODE), "chain");
    assert_eq!(key(&format!("{NODE}cookie_file = \"x\"\nuser = \"y\"")), "chain");
    assert_eq!(key(&format!("{NODE}user = \"y\"")), "chain.password_file");
    assert_eq!(key(&format!("{NODE}user = \"y\"\npassword_file = \"nowhere\"")), "chain.password_file");
    assert_eq!(key(&format!("{NODE}cookie_file = \"x\"\npoll_milliseconds = 99")), "chain.poll_milliseconds");
    assert_eq!(key(&format!("{NODE}cookie_file = \"media/cookie\"")), "content.folder");
}

#[test]
fn an_esplora_is_reached_by_its_url() {
    let parsed = with_chain("backend = \"esplora\"\nurl = \"https://blockstream.info/signet/api\"").unwrap();
    let Backend::Esplora(options) = parsed.chain.backend else { panic!("{:?}", parsed.chain.backend) };
    assert_eq!(options, EsploraOptions::new("https://blockstream.info/signet/api", Network::Regtest));
    let key = |lines: &str| match with_chain(&format!("backend = \"esplora\"\n{lines}")).unwrap_err() {
        ConfigError::Value { key, .. } => key,
        other => panic!("{other}"),
    };
    assert_eq!(key(""), "chain.url");
    assert_eq!(key("url = \"ftp://127.0.0.1\""), "chain.url");
    assert_eq!(key("url = \"http://127.0.0.1\"\nuser = \"fabian\""), "chain");
    assert_eq!(key("url = \"http://127.0.0.1\"\ncookie_file = \"cookie\""), "chain");
}

/// Every network, with an address, an extended public key and a descriptor of it; on regtest alone the embedded chain.
#[test]
fn real_networks_are_served_from_a_node_or_an_esplora() {
    let backends = [
        "backend = \"bitcoind\"\nurl = \"http://127.0.0.1:8332\"\ncookie_file = \"/node/.cookie\"",
        "backend = \"esplora\"\nurl = \"http://127.0.0.1:3000\"",
    ];
    for name in ["bitcoin", "testnet", "testnet4", "signet", "regtest"] {
        let network = network(name).unwrap();
        let seed = rillpay_channel::keys::Seed::from_bip39_seed(&[1; 64], network);
        let account = Xpub::from_priv(rillpay_channel::secp(), &seed.account().unwrap());
        let address = Address::from_script(&seed.return_script(0).unwrap(), network).unwrap();
        for payout in [address.to_string(), account.to_string(), format!("wpkh({account}/0/*)")] {
            let with = |backend: &str| {
                let text = EXAMPLE
                    .replace(r#"network = "regtest""#, &format!("network = \"{name}\""))
                    .replace("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", &payout)
                    .replace(r#"backend = "kernel""#, backend);
                parse(&text)
            };
            for backend in backends {
                let config = with(backend).unwrap();
                assert_eq!(config.offer.network, network);
                assert_eq!(*config.payout.fixed(), seed.return_script(0).unwrap());
            }
            assert_eq!(with(r#"backend = "kernel""#).is_ok(), name == "regtest");
        }
    }
}

#[test]
fn a_ladder_has_to_fit_into_the_channels_life() {
    let with = |lines: &str| parse(&EXAMPLE.replace("[channel]", &format!("[channel]\n{lines}")));
    let kind = with("kind = \"timelock\"\nstep_blocks = 1\nupdates = 719").unwrap().offer.kind;
    let Kind::Timelock { ladder, payee_script } = kind else { panic!("{kind:?}") };
    assert_eq!(ladder, Ladder { step: 1, updates: 719 });
    assert!(payee_script.is_p2wpkh());
    for (key, lines) in [
        ("channel.kind", "kind = \"forever\""),
        ("channel.kind", "kind = \"cltv\"\nupdates = 5"),
        ("channel.step_blocks", "kind = \"timelock\"\nupdates = 5"),
        ("channel.step_blocks", "kind = \"timelock\"\nstep_blocks = 0\nupdates = 5"),
        ("channel.updates", "kind = \"timelock\"\nstep_blocks = 1"),
        ("channel.lifetime_blocks", "kind = \"timelock\"\nstep_blocks = 1\nupdates = 720"),
        ("channel.lifetime_blocks", "kind = \"timelock\"\nstep_blocks = 65535\nupdates = 4294967295"),
    ] {
        let ConfigError::Value { key: named, .. } = with(lines).unwrap_err() else { panic!("{lines}") };
        assert_eq!(named, key, "{lines}");
    }
}

#[test]
fn garbled_files_are_refused_with_a_place() {
    for garbled in
        ["", "listen", "listen = 8080", &EXAMPLE.replace("[tariff]", "[tarif]"), &format!("colour = 1\n{EXAMPLE}")]
    {
        let error = parse(garbled).unwrap_err();
        assert!(matches!(error, ConfigError::Syntax(_)), "{error}");
        assert!(error.to_string().starts_with("the configuration is garbled"));
    }
    let missing = Config::load(Path::new("/nowhere/rillpay.toml")).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/rillpay.toml"));
}

#[test]
fn keys_payments_and_settings_are_never_content() {
    let place = place();
    let base = place.path();
    for folder in ["data", "data/films", "media/secret", "other"] {
        std::fs::create_dir_all(base.join(folder)).unwrap();
    }
    std::fs::write(base.join("other/words"), "").unwrap();
    std::os::unix::fs::symlink("media", base.join("link")).unwrap();
    std::os::unix::fs::symlink("../other/words", base.join("media/words")).unwrap();
    let file = base.join("rillpay.toml");
    let load = |content: &str, data: &str, seed: &str| {
        let text = EXAMPLE
            .replace(r#"folder = "media""#, &format!("folder = {content:?}"))
            .replace(r#"data_dir = "data""#, &format!("data_dir = {data:?}"))
            .replace(r#"# file = "data/seed.words""#, &format!("file = {seed:?}"));
        std::fs::write(&file, text).unwrap();
        Config::load(&file)
    };
    load("media", "data", "data/seed.words").unwrap();
    load("media", "not yet", "data/seed.words").unwrap();
    for (content, data, seed) in [
        (".", "data", "data/seed.words"),
        ("data", "data", "seed.words"),
        ("data/films", "data", "seed.words"),
        ("link", "media/data", "seed.words"),
        ("media", "link/not/yet", "seed.words"),
        ("media", "nowhere/../media/data", "seed.words"),
        ("media", "data", "media/seed.words"),
        ("media", "data", "link/secret/seed.words"),
        ("media", "data", "media/words"),
        ("other", "data", "media/words"),
        // Holds the configuration file itself.
        (".", "/nowhere/data", "/nowhere/seed.words"),
    ] {
        let error = load(content, data, seed).unwrap_err();
        assert!(matches!(error, ConfigError::Value { key: "content.folder", .. }), "{content} {data} {seed}: {error}");
    }
}

proptest::proptest! {
    /// Whatever an operator's editor does to the file: it is taken, or refused with words.
    #[test]
    fn hostile_files_are_refused_with_words(
        at in 0_usize..EXAMPLE.len(),
        cut in 0_usize..200,
        text in "[ -~\\n]{0,20}",
        noise in "\\PC{0,200}",
    ) {
        let damaged: String = EXAMPLE.chars().take(at).chain(text.chars()).chain(EXAMPLE.chars().skip(at + cut)).collect();
        for text in [damaged, noise] {
            match parse(&text) {
                Ok(config) => proptest::prop_assert!(config.offer.tariff.price > Msat::ZERO),
                Err(error) => proptest::prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
