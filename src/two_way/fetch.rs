//! The browser's own requests, for the chain.

use async_trait::async_trait;
use rillpay_chain::esplora::{Fetch, Fetched, Request};

use crate::http;

/// Whoever browses.
pub(super) struct Browser;

#[async_trait(?Send)]
impl Fetch for Browser {
    async fn fetch(&self, request: Request<'_>) -> Result<Fetched, String> {
        let patience = u32::try_from(request.patience.as_millis()).unwrap_or(u32::MAX);
        match http::fetch(request.url, request.post.as_deref(), (request.limit, patience)).await {
            // Pages of other origins are not shown for how long a server wants to be left alone.
            Ok((status, body)) => Ok(Fetched { status, retry_after: None, body: body.into() }),
            Err(error) => Err(error.cause()),
        }
    }
}
