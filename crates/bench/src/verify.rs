//! The yardstick: nothing but libsecp256k1 verifications, on one thread, of the very payments that the server took.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Result, ensure};
use rillpay_channel::bitcoin::secp256k1::ecdsa::Signature;
use rillpay_channel::bitcoin::secp256k1::{Message, PublicKey};
use rillpay_channel::secp;

use crate::process::thread_cpu_time;

/// A signature with all that it needs to be verified, parsed and hashed before the clock starts.
#[derive(Clone, Copy)]
pub(crate) struct Signed {
    pub(crate) message: Message,
    pub(crate) signature: Signature,
    pub(crate) key: PublicKey,
}

/// So many verifications took so much CPU time.
#[derive(Clone, Copy, Default)]
pub(crate) struct Verified {
    pub(crate) count: u64,
    pub(crate) cpu: Duration,
}

impl Verified {
    pub(crate) fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.cpu = self.cpu.saturating_add(other.cpu);
    }
}

/// Verifies the payments over and over for about `time` of this thread's CPU time.
pub(crate) fn verify_for(time: Duration, payments: &[Signed]) -> Result<Verified> {
    ensure!(!payments.is_empty(), "nothing to verify");
    let began = thread_cpu_time();
    let mut count = 0_u64;
    for batch in payments.chunks(256).cycle() {
        for signed in batch {
            secp().verify_ecdsa(black_box(&signed.message), &signed.signature, &signed.key)?;
            count = count.saturating_add(1);
        }
        let cpu = thread_cpu_time().saturating_sub(began);
        if cpu >= time {
            return Ok(Verified { count, cpu });
        }
    }
    Ok(Verified::default())
}
