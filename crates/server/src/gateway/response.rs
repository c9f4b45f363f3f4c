//! The headers that go with content: media types, caching, ranges.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_range_header::{EndPosition, ParsedRanges, StartPosition, parse_range_header};
use rillpay_channel::wire::Token;

use super::content::Opened;
use super::path::MediaPath;
use super::piece::Slice;
use super::problem::Refusal;

/// The request header that carries a session's token, 64 hexadecimal digits.
pub const SESSION_HEADER: HeaderName = HeaderName::from_static("rillpay-session");
/// The response header that says which quantity was counted for this response; 0 for a repetition that is free.
pub const QUANTITY_HEADER: HeaderName = HeaderName::from_static("rillpay-quantity");

/// The media type of playlists.
pub(super) const PLAYLIST: HeaderValue = HeaderValue::from_static("application/vnd.apple.mpegurl");
/// What was paid for is for the one who paid.
pub(super) const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");
/// A live playlist changes every second: always ask whether it did.
pub(super) const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
/// Posters and initialisation segments.
pub(super) const SHORTLY: HeaderValue = HeaderValue::from_static("public, max-age=60");

/// The media type, by the name where streaming needs a certain one, else by the origin's word or the usual tables.
pub(super) fn media_type(path: &MediaPath, stated: Option<HeaderValue>) -> HeaderValue {
    let known = match path.extension().as_str() {
        "m3u8" => return PLAYLIST,
        "m4s" | "cmfv" | "cmfa" => "video/iso.segment",
        "mp4" | "m4v" => "video/mp4",
        "ts" => "video/mp2t",
        "aac" => "audio/aac",
        "vtt" => "text/vtt",
        _ => {
            let guess = || mime_guess::from_path(path.as_str()).first_raw().map(HeaderValue::from_static);
            return stated.or_else(guess).unwrap_or(HeaderValue::from_static("application/octet-stream"));
        }
    };
    HeaderValue::from_static(known)
}

/// Whether a file that begins like this is a picture that browsers show (PNG, JPEG, GIF, WebP, AVIF).
pub(super) fn begins_like_image(start: &[u8]) -> bool {
    start.starts_with(b"\x89PNG\r\n\x1a\n")
        || start.starts_with(b"\xff\xd8\xff")
        || start.starts_with(b"GIF8")
        || (start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WEBP"))
        || start.get(4..12) == Some(b"ftypavif")
}

/// The response for opened content.
pub(super) fn headers(opened: &Opened, media_type: HeaderValue, caching: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::CACHE_CONTROL, caching);
    if let Some(etag) = &opened.etag {
        headers.insert(header::ETAG, etag.clone());
    }
    if let Some(modified) = &opened.modified {
        headers.insert(header::LAST_MODIFIED, modified.clone());
    }
    if opened.can_seek() {
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    // Content shares the host with the viewer's wallet: it must never run there as a page or a script.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers
}

/// Which bytes are sent, and of how many.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// The bytes.
    pub(super) slice: Slice,
    /// The file's size, where it is known.
    pub(super) of: Option<u64>,
    /// Whether to answer `206`.
    pub(super) partial: bool,
}

/// Puts together status, length and body.
pub(super) fn send(mut headers: HeaderMap, part: Option<Part>, body: Body) -> Response {
    let mut status = StatusCode::OK;
    if let Some(Part { slice, of, partial }) = part {
        headers.insert(header::CONTENT_LENGTH, slice.len.into());
        if partial {
            status = StatusCode::PARTIAL_CONTENT;
            let of = of.map_or_else(|| "*".to_owned(), |of| of.to_string());
            let range = format!("bytes {}-{}/{of}", slice.start, slice.last());
            if let Ok(range) = HeaderValue::try_from(range) {
                headers.insert(header::CONTENT_RANGE, range);
            }
        }
    }
    (status, headers, body).into_response()
}

/// Whether the client says that it has this version already.
pub(super) fn is_unchanged(request: &HeaderMap, opened: &Opened) -> bool {
    let Some(etag) = &opened.etag else { return false };
    let known = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let etag = etag.to_str().unwrap_or_default();
    known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == etag))
}

/// The ranges asked for; what cannot be parsed, or depends on a condition, is ignored as RFC 9110 allows.
pub(super) fn ranges(request: &HeaderMap) -> Option<ParsedRanges> {
    if request.contains_key(header::IF_RANGE) {
        return None;
    }
    let ranges = parse_range_header(request.get(header::RANGE)?.to_str().ok()?).ok()?;
    (ranges.ranges.len() == 1).then_some(ranges)
}

/// The one range, if both its ends are given: how players ask for a listed slice.
pub(super) fn exact(ranges: &ParsedRanges) -> Option<Slice> {
    let range = ranges.ranges.first()?;
    match (range.start, range.end) {
        (StartPosition::Index(first), EndPosition::Index(last)) => Slice::inclusive(first, last),
        _ => None,
    }
}

/// The one range within a file of `len` bytes.
pub(super) fn within(ranges: &ParsedRanges, len: u64) -> Result<Slice, Refusal> {
    let unsatisfiable = Refusal::Http(StatusCode::RANGE_NOT_SATISFIABLE, "the file has no such range");
    let Ok(valid) = ranges.validate(len) else {
        return Err(unsatisfiable);
    };
    let range = valid.first().and_then(|range| Slice::inclusive(*range.start(), *range.end()));
    range.ok_or(unsatisfiable)
}

/// The session's token: from the header, or from the query for players that cannot set headers.
pub(super) fn token(headers: &HeaderMap, query: Option<&str>) -> Option<Token> {
    let text = match headers.get(SESSION_HEADER) {
        Some(value) => value.to_str().ok()?,
        None => query_token(query)?,
    };
    parse_token(text)
}

/// The token in the query, as it was written.
pub(super) fn query_token(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|pair| pair.strip_prefix("rillpay="))
}

fn parse_token(text: &str) -> Option<Token> {
    use rillpay_channel::bitcoin::hex::FromHex;
    <[u8; 32]>::from_hex(text).ok().map(Token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_64_hexadecimal_digits() {
        let hex = "ab".repeat(32);
        let mut headers = HeaderMap::new();
        assert_eq!(token(&headers, None), None);
        assert_eq!(token(&headers, Some(&format!("a=1&rillpay={hex}"))), Some(Token([0xab; 32])));
        for bad in ["", "ab", &"zz".repeat(32), &"ab".repeat(33), &format!("{hex} ")] {
            assert_eq!(token(&headers, Some(&format!("rillpay={bad}"))), None, "{bad:?}");
        }
        headers.insert(SESSION_HEADER, HeaderValue::from_static("nonsense"));
        assert_eq!(token(&headers, Some(&format!("rillpay={hex}"))), None, "the header decides");
    }

    #[test]
    fn media_types_that_streaming_needs() {
        for (path, expected) in [
            ("a.m3u8", "application/vnd.apple.mpegurl"),
            ("a.m4s", "video/iso.segment"),
            ("a.MP4", "video/mp4"),
            ("a.ts", "video/mp2t"),
            ("a.jpg", "image/jpeg"),
            ("a", "application/octet-stream"),
        ] {
            assert_eq!(media_type(&MediaPath::parse(path).unwrap(), None), expected, "{path}");
        }
    }
}
