//! The payee: sessions, metered gateway, durable store, settlement. See ARCHITECTURE.md.
//!
//! ```text
//!  socket ──> desk ──> channels ──> store ──> committer (SQLite)
//!    ^                    ^  ^
//!    └── session <────────┘  ├── gatekeeper <── gateway (content)
//!                            └── watcher, settler <── chain
//! ```
//!
//! Signatures authorise (`desk`), the meter records (`gatekeeper`), settlement collects (`settler`); each change of a
//! channel is one decision of `rillpay_channel::payee`, made under the channel's lock and durable before it has any effect.

mod app;
mod channels;
pub mod config;
pub mod demo;
mod desk;
mod errors;
pub mod esplora;
pub mod gate;
mod gatekeeper;
pub mod gateway;
mod limits;
pub mod seed;
mod server;
mod session;
mod settler;
mod socket;
mod sockets;
mod status;
mod store;
mod terms;
pub mod tower;
mod view;
mod watcher;
mod watchlist;

pub use config::{Config, ConfigError, TowerConfig};
pub use server::{Server, StartError, serve};
pub use status::Status;
pub use store::StoreError;
pub use tower::Tower;
