//! The door between content and money: the gateway asks, the sessions answer.

use std::time::Duration;

use rillpay_channel::Error;
use rillpay_channel::wire::Token;

/// Lets content out once it is paid for and the delivery is durable.
pub trait Gate: Send + Sync + 'static {
    /// Asks the channel behind `token` to pay for `quantity` more (in the tariff's base quantity: milliseconds, bytes or
    /// requests), waits for the payment for at most `wait`, and counts the quantity as delivered. Content may leave only
    /// after this returned `Ok`.
    ///
    /// # Errors
    /// The refusal that the viewer's page is to see: no such session, superseded, not paid in time, deposit spent,
    /// closing, expiring, stale chain view, and the like.
    fn release(&self, token: Token, quantity: u64, wait: Duration) -> impl Future<Output = Result<(), Error>> + Send;

    /// Whether the session behind `token` stands and its channel is still being served: neither stopped, closing,
    /// expiring, nor taken over. Asks nobody for anything.
    ///
    /// # Errors
    /// The refusal that [`Gate::release`] would give.
    fn stands(&self, token: Token) -> impl Future<Output = Result<(), Error>> + Send;
}
