//! The [`Gate`]: content waits here until it is paid for and counted.

use std::sync::Arc;
use std::time::Duration;

use rillpay_channel::payee::Cover;
use rillpay_channel::wire::Token;
use rillpay_channel::{Code, Error};
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::channels::Channel;
use crate::errors::{NO_SESSION, NOT_PAID, SHUTTING_DOWN, STALE_CHAIN, SUPERSEDED};
use crate::gate::Gate;
use crate::session::{Push, Session};

/// Lets content out for the channels of this server.
#[derive(Clone)]
pub(crate) struct Gatekeeper(pub(crate) Arc<App>);

impl Gate for Gatekeeper {
    async fn release(&self, token: Token, quantity: u64, wait: Duration) -> Result<(), Error> {
        let deadline = Instant::now().checked_add(wait).ok_or(NOT_PAID)?;
        let (channel, session) = self.0.channels.by_token(&token).ok_or(NO_SESSION)?;
        // One request at a time: the next one's need counts on what this one has delivered.
        let _turn = timeout_at(deadline, channel.turn.lock()).await.map_err(|_| NOT_PAID)?;
        session.set_refusal(None);
        let mut asked = None;
        loop {
            let progress = channel.progress.notified();
            tokio::pin!(progress);
            // Whatever happens from here on wakes us, even before we wait.
            progress.as_mut().enable();
            let Some(need) = self.try_release(&channel, &session, quantity).await? else {
                return Ok(());
            };
            if let Some(code) = session.refusal() {
                return Err(refused_by_payer(code));
            }
            if session.is_over() {
                return Err(SUPERSEDED);
            }
            if asked.as_ref() != Some(&need) {
                session.push(Push::Message(need.clone()));
                asked = Some(need);
            }
            tokio::select! {
                () = progress => {}
                () = tokio::time::sleep_until(deadline) => return Err(NOT_PAID),
                () = self.0.shutdown.cancelled() => return Err(SHUTTING_DOWN),
            }
        }
    }

    async fn stands(&self, token: Token) -> Result<(), Error> {
        let (channel, session) = self.0.channels.by_token(&token).ok_or(NO_SESSION)?;
        let now = self.0.view.now()?;
        let serving = self.0.channels.look(&channel, Some(session.epoch), |payee| payee.check_serving(now));
        match serving.await {
            // A deposit that a reorganisation shook may be back at once: that is for the release to say.
            Err(error) if error.code() != Code::NotFunded => Err(error),
            _ if session.is_over() => Err(SUPERSEDED),
            _ => Ok(()),
        }
    }
}

impl Gatekeeper {
    /// Counts the quantity as delivered if it is paid for, else gives the message to ask with.
    async fn try_release(
        &self,
        channel: &Channel,
        session: &Session,
        quantity: u64,
    ) -> Result<Option<rillpay_channel::wire::Message>, Error> {
        let channels = &self.0.channels;
        let now = self.0.view.fresh()?;
        // A reorganisation may have taken the deposit away while the payer was: look first. And where this channel alone
        // cannot be looked at, this channel alone is not served.
        if !channel.is_looked_at() || channels.watched.is_stale(channel.id(), self.0.view.max_age()) {
            return Err(STALE_CHAIN);
        }
        let cover = channels.look(channel, Some(session.epoch), |payee| payee.cover(quantity, now)).await?;
        match cover {
            Cover::Paid => {
                let release = channels.decide(channel, Some(session.epoch), |payee| payee.release(quantity, now));
                release.await.map(|effects| {
                    channel.push(effects);
                    None
                })
            }
            Cover::Need(message) => Ok(Some(message)),
        }
    }
}

/// The payer said why it does not pay; the page that asked for content is told the same where it makes sense.
const fn refused_by_payer(code: Code) -> Error {
    let text = "the payment was refused";
    match code {
        Code::Paused
        | Code::OverBudget
        | Code::AheadOfDelivery
        | Code::DepositSpent
        | Code::NotFunded
        | Code::Closing => Error::new(code, text),
        _ => Error::new(Code::NotPaid, text),
    }
}
