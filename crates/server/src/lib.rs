//! The payee: sessions, metered gateway, durable store, settlement. See ARCHITECTURE.md.

pub mod gate;
