//! The configuration file as it is written: TOML, every key known, nothing interpreted yet.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) listen: String,
    pub(super) network: String,
    pub(super) data_dir: PathBuf,
    pub(super) origin: String,
    pub(super) payout: String,
    pub(super) esplora: Option<String>,
    #[serde(default)]
    pub(super) seed: Seed,
    pub(super) chain: Chain,
    pub(super) tariff: Tariff,
    pub(super) deposit: Deposit,
    pub(super) channel: Channel,
    #[serde(default)]
    pub(super) settlement: Settlement,
    pub(super) content: Content,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) cors: Cors,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seed {
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chain {
    pub(super) backend: String,
    pub(super) url: Option<String>,
    pub(super) cookie_file: Option<PathBuf>,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) poll_milliseconds: Option<u64>,
    #[serde(default = "Chain::default_max_age")]
    pub(super) max_age_seconds: u64,
}

impl Chain {
    const fn default_max_age() -> u64 {
        120
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tariff {
    pub(super) unit: String,
    pub(super) price_msat: u64,
    #[serde(default = "Tariff::default_window")]
    pub(super) window_units: u32,
}

impl Tariff {
    const fn default_window() -> u32 {
        2
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deposit {
    pub(super) min_sat: u64,
    pub(super) max_sat: u64,
    pub(super) confirmations: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Channel {
    #[serde(default = "Channel::default_kind")]
    pub(super) kind: String,
    pub(super) step_blocks: Option<u16>,
    pub(super) updates: Option<u32>,
    pub(super) lifetime_blocks: u32,
    pub(super) stop_margin_blocks: u16,
    pub(super) close_margin_blocks: u16,
    #[serde(default = "Channel::default_calm")]
    pub(super) calm_sat_per_vbyte: u64,
}

impl Channel {
    fn default_kind() -> String {
        "cltv".into()
    }

    const fn default_calm() -> u64 {
        10
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settlement {
    pub(super) min_sat_per_vbyte: u64,
    pub(super) max_sat_per_vbyte: u64,
    pub(super) merge_delay_seconds: u64,
    pub(super) value_at_risk_sat: u64,
    pub(super) patient_sat_per_vbyte: Option<u64>,
}

impl Default for Settlement {
    fn default() -> Self {
        Self {
            min_sat_per_vbyte: 1,
            max_sat_per_vbyte: 200,
            merge_delay_seconds: 600,
            value_at_risk_sat: 10_000_000,
            patient_sat_per_vbyte: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    pub(super) folder: Option<PathBuf>,
    pub(super) upstream: Option<String>,
    #[serde(default = "Content::default_path")]
    pub(super) path: String,
    #[serde(default)]
    pub(super) free: Vec<String>,
    #[serde(default = "Content::default_playlists")]
    pub(super) playlists: Vec<String>,
    #[serde(default = "Content::default_wait")]
    pub(super) wait_milliseconds: u64,
}

impl Content {
    fn default_path() -> String {
        "/media".into()
    }

    fn default_playlists() -> Vec<String> {
        ["index.m3u8", "playlist.m3u8", "master.m3u8"].map(String::from).into()
    }

    const fn default_wait() -> u64 {
        5_000
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) opens_per_minute: u32,
    pub(super) sockets: u32,
    pub(super) frames_per_second: u32,
    pub(super) store_mebibytes: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { opens_per_minute: 60, sockets: 10_000, frames_per_second: 20, store_mebibytes: None }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cors {
    #[serde(default)]
    pub(super) origins: Vec<String>,
}
