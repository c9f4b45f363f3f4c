//! One socket attached to a channel, as the rest of the server sees it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rillpay_channel::Code;
use rillpay_channel::wire::{Message, Token};

use crate::sockets::Outbox;

/// Something to send that the socket did not ask for.
#[derive(Debug)]
pub(crate) enum Push {
    /// A message.
    Message(Message),
    /// A newer session has the channel: say so and close.
    Superseded,
    /// The server goes down: say so and close.
    GoingDown,
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) token: Token,
    pub(crate) epoch: u64,
    outbox: Outbox,
    over: AtomicBool,
    refusal: Mutex<Option<Code>>,
}

impl Session {
    pub(crate) fn new(token: Token, epoch: u64, outbox: Outbox) -> Self {
        Self { token, epoch, outbox, over: AtomicBool::new(false), refusal: Mutex::new(None) }
    }

    /// Hands a message to the socket. A socket that is gone or does not read loses it; it learns the state when it
    /// attaches again.
    pub(crate) fn push(&self, push: Push) {
        if self.outbox.try_send(push).is_err() {
            tracing::debug!(epoch = self.epoch, "a push was lost: the socket is gone or does not read");
        }
    }

    /// The socket is gone, or has turned to another channel.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// See [`Session::end`].
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The payer refused to pay what it was asked for (`None` before it is asked anew).
    pub(crate) fn set_refusal(&self, code: Option<Code>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = code;
    }

    /// Why the payer refuses to pay, if it does.
    pub(crate) fn refusal(&self) -> Option<Code> {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
