//! How a request is refused: an HTTP status and a problem document (RFC 9457) that says where and how to pay.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rillpay_channel::{Code, Error};
use serde::Serialize;

/// Why nothing is served.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A matter between payer and payee.
    Channel(Error),
    /// A matter of plain HTTP.
    Http(StatusCode, &'static str),
}

impl Refusal {
    /// Nothing there, or nothing that may be named.
    pub(super) const NOT_FOUND: Self = Self::Http(StatusCode::NOT_FOUND, "nothing is served under this path");
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Channel(error)
    }
}

/// The status for each code. There is no default, so that a new code is given one here.
pub fn status_of(code: Code) -> StatusCode {
    match code {
        // Paying, or paying more, or paying differently, would help.
        Code::NotPaid
        | Code::DepositSpent
        | Code::NotFunded
        | Code::DepositTooSmall
        | Code::DepositTooLarge
        | Code::UnknownChannel
        | Code::Paused
        | Code::OverBudget
        | Code::AheadOfDelivery
        | Code::CumulativeFell
        | Code::ExceedsCapacity
        | Code::CloseBelowDelivered
        | Code::InvalidSignature
        | Code::HighS
        | Code::WrongLock
        | Code::NotReclaimable
        | Code::WrongKey
        | Code::WrongNetwork
        | Code::UnacceptableTerms
        | Code::InvalidReturnScript => StatusCode::PAYMENT_REQUIRED,
        // This channel is over; another one can be opened.
        Code::Closing | Code::Expiring | Code::UpdatesSpent => StatusCode::GONE,
        // Somebody else holds the channel now.
        Code::Superseded | Code::StaleDecision => StatusCode::CONFLICT,
        Code::Unavailable | Code::CorruptedStore => StatusCode::SERVICE_UNAVAILABLE,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::MalformedMessage
        | Code::OversizedMessage
        | Code::UnsupportedVersion
        | Code::UnknownMessage
        | Code::UnexpectedMessage => StatusCode::BAD_REQUEST,
        // These are for the machines' own callers; a gate that answers them has a fault.
        Code::InvalidArgument | Code::InvalidWords | Code::NothingToDo | Code::NotExpired | Code::Uneconomic => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        // Two-way channels refuse with these, and nothing is gated on them.
        Code::InvalidContribution
        | Code::InvalidSecret
        | Code::PeerBehind
        | Code::Unaffordable
        | Code::HtlcOutOfBounds
        | Code::UnknownHtlc
        | Code::WrongPreimage => StatusCode::INTERNAL_SERVER_ERROR,
        // The operator sells pieces larger than the window: nothing that the viewer does would help.
        Code::PieceTooLarge => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The document. `type` leads to the terms, which say what each code means and how to pay.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<&'a str>,
}

impl Refusal {
    /// The response. `terms` is the URL path of the terms.
    pub(super) fn into_response(self, terms: &str) -> Response {
        let (status, detail, code) = match &self {
            Self::Channel(error) => (status_of(error.code()), error.text(), Some(error.code().as_str())),
            Self::Http(status, detail) => (*status, *detail, None),
        };
        let document = Document {
            r#type: code.map_or_else(|| "about:blank".to_owned(), |code| format!("{terms}#{code}")),
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            detail,
            code,
            terms: code.map(|_| terms),
        };
        let mut response = (status, axum::Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::PAYMENT_REQUIRED
            && let Ok(link) = HeaderValue::try_from(format!("<{terms}>; rel=\"payment\""))
        {
            headers.insert(header::LINK, link);
        }
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_an_error_status() {
        for code in Code::ALL {
            let status = status_of(*code);
            assert!(status.is_client_error() || status.is_server_error(), "{}", code.as_str());
        }
        assert_eq!(status_of(Code::NotPaid), StatusCode::PAYMENT_REQUIRED);
        assert_eq!(status_of(Code::Superseded), StatusCode::CONFLICT);
        assert_eq!(status_of(Code::Closing), StatusCode::GONE);
        assert_eq!(status_of(Code::Unavailable), StatusCode::SERVICE_UNAVAILABLE);
    }
}
