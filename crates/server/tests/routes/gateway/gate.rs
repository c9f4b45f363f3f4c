//! The other side of the gate, which records what it is asked for. (The real one is tested with the sessions.)

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rillpay_channel::wire::Token;
use rillpay_channel::{Code, Error};
use rillpay_server::gate::Gate;

/// The session that always pays, its token in hex.
pub(crate) const PAYS: &str = "0101010101010101010101010101010101010101010101010101010101010101";
/// The session that never pays.
pub(crate) const SILENT: &str = "0202020202020202020202020202020202020202020202020202020202020202";
/// The session that another one took over.
pub(crate) const STALE: &str = "0303030303030303030303030303030303030303030303030303030303030303";
/// The session that takes a while to pay.
pub(crate) const SLOW: &str = "0404040404040404040404040404040404040404040404040404040404040404";
/// No session.
pub(crate) const STRANGER: &str = "0909090909090909090909090909090909090909090909090909090909090909";

#[derive(Default)]
pub(crate) struct RecordingGate {
    /// What was counted as delivered.
    pub(crate) counted: Mutex<Vec<u64>>,
}

impl RecordingGate {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(crate) fn total(&self) -> u64 {
        self.counted.lock().unwrap().iter().sum()
    }
}

impl Gate for RecordingGate {
    async fn release(&self, token: Token, quantity: u64, wait: Duration) -> Result<(), Error> {
        match token.0[0] {
            1 => {}
            2 => {
                tokio::time::sleep(wait).await;
                return Err(Error::new(Code::NotPaid, "not paid in time"));
            }
            3 => return Err(Error::new(Code::Superseded, "another session took over")),
            4 => tokio::time::sleep(Duration::from_millis(200)).await,
            _ => return Err(Error::new(Code::UnknownChannel, "no such session")),
        }
        self.counted.lock().unwrap().push(quantity);
        Ok(())
    }

    async fn stands(&self, token: Token) -> Result<(), Error> {
        match token.0[0] {
            1 | 2 | 4 => Ok(()),
            3 => Err(Error::new(Code::Superseded, "another session took over")),
            _ => Err(Error::new(Code::UnknownChannel, "no such session")),
        }
    }
}
