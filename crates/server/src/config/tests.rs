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
        ("settlement.min_sat_per_vbyte", "# min_sat_per_vbyte = 1", "min_sat_per_vbyte = 0"),
        ("settlement.max_sat_per_vbyte", "# max_sat_per_vbyte = 200", "max_sat_per_vbyte = 0"),
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
    let error = offer(&file, Network::Bitcoin).unwrap_err();
    assert!(error.to_string().contains("`channel.close_margin_blocks`"), "{error}");
    let file: file::File = toml::from_str(&main).unwrap();
    assert!(offer(&file, Network::Bitcoin).is_ok());
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
