//! What the chain shows, look by look.

use rillpay_channel::Code;
use rillpay_channel::payer::Phase;
use wasm_bindgen_futures::spawn_local;

use super::{Input, Session};
use crate::env;
use crate::error::Result;
use crate::esplora::Look;

impl Session {
    /// Looks at the chain, unless a look is under way.
    pub(super) fn look(&mut self) {
        if self.looking || self.shared.site.esplora.is_none() {
            return;
        }
        self.looking = true;
        let (shared, inbox) = (self.shared.clone(), self.inbox.clone());
        spawn_local(async move {
            let look = shared.look_now().await;
            // The task has ended if this fails.
            let _ = inbox.unbounded_send(Input::Seen(look));
        });
    }

    pub(super) async fn on_look(&mut self, look: Result<Look>) {
        self.looking = false;
        self.look_due = env::now().saturating_add(self.look_interval());
        let seen = match look {
            Ok(look) => {
                self.chain_failed = false;
                self.take_look(look).await
            }
            // One outage is told once.
            Err(_) if self.chain_failed => Ok(()),
            Err(error) => {
                self.chain_failed = true;
                Err(error)
            }
        };
        if let Err(error) = seen {
            self.shared.problem(&error);
        }
    }

    async fn take_look(&mut self, look: Look) -> Result<()> {
        *self.shared.look.borrow_mut() = Some(look.clone());
        if let Some(told) = self.told {
            let step = self.shared.payer.borrow().funding_seen(&told, &look.outputs);
            match step {
                Ok(step) => {
                    self.carry_out(step).await?;
                    // Of a restored channel nothing else could be judged before. Twice: what is to be asked for depends on
                    // the payments that the first adopts.
                    if let Some(state) = self.state.take() {
                        for _ in 0..2 {
                            let step = self.shared.payer.borrow().attached(&state);
                            self.carry_out_all(step).await?;
                        }
                    }
                    self.end_if_due().await?;
                }
                // Not deep enough yet: the next look may show it.
                Err(error) if error.code() == Code::NotFunded => {}
                Err(error) => return Err(error.into()),
            }
        }
        let step = self.shared.payer.borrow().spent_seen(look.spend);
        self.carry_out(step).await.map(drop)?;
        self.reclaim(&look);
        Ok(())
    }

    /// Seconds until the next look that nobody asks for. The server's word makes for an earlier one.
    fn look_interval(&self) -> u64 {
        match self.phase() {
            Phase::Opened => 4,
            Phase::Stopping | Phase::Closing | Phase::Closed => 10,
            Phase::Settled | Phase::Refunded if self.wants_socket() => 10,
            Phase::Open => 30,
            Phase::Settled | Phase::Refunded => 60,
        }
    }
}
