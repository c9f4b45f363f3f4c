//! What all visitors together may ask of the chain at a time: the payee asks the same backend, and comes first.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

/// Requests that are answered at a time.
const AT_ONCE: usize = 4;
/// Those, and the ones that wait for their turn.
const ADMITTED: usize = 64;
/// The longest that a request may take, its wait included.
const PATIENCE: Duration = Duration::from_secs(20);
/// When a visitor who was turned away may come again, in seconds.
const AGAIN: u16 = 2;

/// The places that there are.
pub(super) struct Budget {
    admitted: Semaphore,
    places: Semaphore,
}

impl Budget {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { admitted: Semaphore::new(ADMITTED), places: Semaphore::new(AT_ONCE) })
    }
}

/// Answers a request in its turn, or 503 where too many wait, or it takes too long.
pub(super) async fn admit(State(budget): State<Arc<Budget>>, request: Request, next: Next) -> Response {
    let Ok(_admitted) = budget.admitted.try_acquire() else { return busy() };
    let answer = async {
        // Closed never: the semaphore lives as long as this.
        let _place = budget.places.acquire().await;
        next.run(request).await
    };
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| busy())
}

fn busy() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, AGAIN)], "too many questions at the moment")
        .into_response()
}
