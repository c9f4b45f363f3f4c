//! From the words alone: a browser that has nothing else asks the server for the channels of its first keys.
//!
//! ```text
//! key 0, 1, 2, …  ──recover──>  server: its parameters and state, or `unknown_channel`   (40 of these in a row end it)
//!        checked against the words (key, return script) and the node's signature
//!        looked at on the chain: over and empty ──> nothing to keep
//!        stored, then adopted: the funding that the chain shows, the payments that bear our signature
//! ```
//!
//! After that a restored channel is one as any other, and its session makes good what could not be judged yet. How far the
//! search has come is stored with each channel, so that one that breaks off goes on at the next start.

use rillpay_channel::bitcoin::secp256k1::ecdsa::Signature;
use rillpay_channel::payer::{Payer, Recovery, Step};
use rillpay_channel::wire::{ChannelState, Message};
use rillpay_channel::{ChannelParams, Code};

use crate::client::Client;
use crate::desk::{Desk, SENSELESS};
use crate::env::sleep;
use crate::error::{Error, Result};
use crate::esplora::NO_CHAIN;

/// How many unknown keys in a row end the search: an opening that came to nothing has used a key up, too, and every other
/// number is left to a wallet (older channels have those as well).
const GAP: u32 = 40;
/// The pause before each question, once one was too many: a server takes so many in a second, as its operator likes. Each
/// that is too many doubles it, so that the server, which closes a socket that goes on like that, sees only a few of them.
const SHORTEST_PAUSE_MS: u32 = 125;
/// Longer than what any server asks for.
const LONGEST_PAUSE_MS: u32 = 2_000;

impl Client {
    /// Finishes the search, if there is one to finish.
    ///
    /// # Errors
    /// Those of the socket, the chain and the store; what the server refuses with; [`Code::WrongKey`] and the like for
    /// channels that are not of these words.
    pub(crate) async fn restore(&self) -> Result<()> {
        if !self.record.borrow().restoring {
            return Ok(());
        }
        let mut desk = Desk::open(&self.terms).await?;
        let (mut index, mut unknown, mut pause) = (self.record.borrow().next_key, 0, 0);
        while unknown < GAP {
            if pause > 0 {
                sleep(pause).await;
            }
            let recovery = Recovery {
                network: self.terms.network,
                key: self.seed.channel_key(index)?,
                key_index: index,
                return_script: self.seed.return_script(index)?,
                node: self.terms.node,
                purpose: self.terms.purpose.clone(),
            };
            match desk.ask(&recovery.message(&desk.challenge)).await {
                Ok(Message::Recovered { params, signature, state }) => {
                    self.take_back(recovery, params, signature, &state).await?;
                    unknown = 0;
                }
                Ok(_) => return Err(SENSELESS),
                Err(Error::Peer(refusal)) if refusal.code == Code::UnknownChannel.as_str() => {
                    unknown = unknown.saturating_add(1);
                }
                Err(Error::Peer(refusal)) if refusal.code == Code::RateLimited.as_str() && pause < LONGEST_PAUSE_MS => {
                    pause = pause.saturating_mul(2).max(SHORTEST_PAUSE_MS);
                    continue;
                }
                Err(error) => return Err(error),
            }
            index = index.saturating_add(1);
        }
        if !self.record.borrow().channels.is_empty() {
            self.ask_to_keep();
        }
        let mut record = self.record.borrow().clone();
        record.restoring = false;
        self.put_record(record).await
    }

    /// Checks and stores one channel, unless it is over.
    async fn take_back(
        &self,
        recovery: Recovery,
        params: Box<ChannelParams>,
        signature: Signature,
        state: &ChannelState,
    ) -> Result<()> {
        let step = recovery.recovered(params.clone(), signature)?;
        let esplora = self.site.esplora.as_ref().ok_or(NO_CHAIN)?;
        let (look, funding) = esplora.look_anew(&params, state.funding).await?;
        let over = look.spend.is_some_and(|spend| spend.confirmed) && look.outputs.is_empty();

        let mut record = self.record.borrow().clone();
        record.next_key = recovery.key_index.saturating_add(1);
        if over {
            return self.put_record(record).await;
        }
        let id = params.id();
        record.channels.push(id.to_string());
        // No word tells what price was agreed. At another one than the viewer sees now nothing more is paid.
        if params.tariff != self.terms.tariff {
            record.ending.push(id.to_string());
        }
        let saved = step.save_async(async |events| self.site.store.create(&record, &id, events).await).await?;
        *self.record.borrow_mut() = record;

        let mut payer = Payer::create(saved, recovery.key, self.budget(self.spent()))?;
        // What is refused here the session will ask for again, and tell: the deposit is safe meanwhile.
        if let Some(funding) = funding
            && let Ok(step) = payer.funding_seen(&funding.funding, &[funding])
        {
            self.adopt(&mut payer, step).await?;
            if let Ok(step) = payer.attached(state) {
                self.adopt(&mut payer, step).await?;
            }
            let step = payer.spent_seen(look.spend);
            self.adopt(&mut payer, step).await?;
        }
        // To be stored with the end of the search, or worked out again.
        self.record.borrow_mut().book(payer.spent());
        Ok(())
    }

    /// Stores and commits. What is to be sent the session sends when it begins.
    async fn adopt(&self, payer: &mut Payer, step: Step) -> Result<()> {
        let id = payer.id();
        let saved = step.save_async(async |events| self.site.store.save(&id, events).await).await?;
        payer.commit(saved)?;
        Ok(())
    }
}
