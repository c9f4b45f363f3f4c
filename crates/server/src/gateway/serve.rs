//! One request, from its path to the response: what is it, what does it cost, is it paid?

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{OriginalUri, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rillpay_channel::tariff::Unit;
use rillpay_channel::wire::Token;
use rillpay_channel::{Code, Error};

use super::content::Opened;
use super::media::mp4;
use super::path::MediaPath;
use super::piece::{Piece, Slice};
use super::playlist::{self, MAX_PLAYLIST};
use super::problem::Refusal;
use super::response::{self, PLAYLIST, PRIVATE, Part, QUANTITY_HEADER, REVALIDATE, SHORTLY};
use super::shelf::SEARCH_AGAIN;
use super::turnstile::Ticket;
use super::{Gateway, MAX_PROBE};
use crate::gate::Gate;

pub(super) async fn serve<G: Gate>(State(gateway): State<Arc<Gateway<G>>>, request: Request) -> Response {
    match gateway.answer(request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(&gateway.settings.terms),
    }
}

/// What of a request matters here.
struct Asked {
    /// Where the media root is mounted, without a slash at the end.
    mount: String,
    headers: HeaderMap,
    query: Option<String>,
    token: Option<Token>,
}

impl Asked {
    fn new(request: Request) -> Self {
        let (parts, _) = request.into_parts();
        let original = parts.extensions.get::<OriginalUri>().map_or("", |uri| uri.path());
        let mount = original.strip_suffix(parts.uri.path()).unwrap_or_default().to_owned();
        let query = parts.uri.query().map(str::to_owned);
        Self { mount, token: response::token(&parts.headers, query.as_deref()), headers: parts.headers, query }
    }
}

impl<G: Gate> Gateway<G> {
    async fn answer(&self, request: Request) -> Result<Response, Refusal> {
        let path = MediaPath::parse(request.uri().path()).ok_or(Refusal::NOT_FOUND)?;
        let method = request.method().clone();
        let asked = Asked::new(request);
        let path = self.content.locate(path).await?;
        match method {
            Method::GET => self.get(path, &asked).await,
            Method::HEAD => self.head(&path).await,
            _ => {
                let refusal = Refusal::Http(StatusCode::METHOD_NOT_ALLOWED, "content can only be read");
                let mut response = refusal.into_response(&self.settings.terms);
                let allow = axum::http::HeaderValue::from_static("GET, HEAD, OPTIONS");
                response.headers_mut().insert(header::ALLOW, allow);
                Ok(response)
            }
        }
    }

    /// The headers are free.
    async fn head(&self, path: &MediaPath) -> Result<Response, Refusal> {
        let opened = self.content.head(path).await?;
        let media_type = response::media_type(path, opened.media_type.clone());
        let part = opened.len.map(whole);
        Ok(response::send(response::headers(&opened, media_type, PRIVATE), part, Body::empty()))
    }

    async fn get(&self, path: MediaPath, asked: &Asked) -> Result<Response, Refusal> {
        self.search(&path, &asked.mount).await;
        let ranges = response::ranges(&asked.headers);
        let listed = ranges.as_ref().and_then(response::exact).filter(|slice| {
            let slice = Some(*slice);
            self.shelf.lists(&Piece { path: path.clone(), slice })
        });
        let mut opened = self.content.open(&path, listed).await?;
        let start = opened.look().await?;

        if listed.is_none()
            && playlist::begins_like_playlist(&start)
            && let Some(bytes) = opened.whole(MAX_PLAYLIST).await?
            && playlist::is_playlist(&bytes)
        {
            self.learn(&opened, &asked.mount, &bytes);
            return Ok(playlist_response(&opened, asked, bytes));
        }
        let piece = Piece { path, slice: listed };
        let free = self.is_free(&mut opened, &piece, &start).await?;
        if free {
            let part = self.part_of(&mut opened, ranges.as_ref(), listed).await?;
            return send_free(opened, part, asked).await;
        }
        let token = asked
            .token
            .ok_or(Error::new(Code::NotPaid, "this content is paid for by the session; the request names none"))?;
        // Measuring costs memory and an origin's time: not for strangers.
        self.turnstile.stands(token).await?;
        let part = self.part_of(&mut opened, ranges.as_ref(), listed).await?;
        self.send_priced(opened, piece, part, token).await
    }

    /// Free is what the operator says is, and what cannot hold media by its content: pictures, and initialisation
    /// segments that describe no sample. What a playlist lists as a segment is never taken for either.
    async fn is_free(&self, opened: &mut Opened, piece: &Piece, start: &[u8]) -> Result<bool, Refusal> {
        if self.settings.free.iter().any(|pattern| pattern.matches(piece.path.as_str())) {
            return Ok(true);
        }
        if self.shelf.facts(piece).is_some() {
            return Ok(false);
        }
        if piece.slice.is_none() && response::begins_like_image(start) {
            return Ok(self.settings.free_images);
        }
        // A slice is looked at by itself: `start` is the beginning of the whole file on disk.
        let maybe = piece.slice.is_some() || mp4::begins_like_mp4(start);
        Ok(maybe && opened.init_tracks(piece.slice).await?.is_some())
    }

    async fn send_priced(
        &self,
        mut opened: Opened,
        piece: Piece,
        part: Option<Part>,
        token: Token,
    ) -> Result<Response, Refusal> {
        let (piece, quantity) = match self.settings.unit {
            // A range of a segment costs what the segment costs; ranges that playlists list are segments themselves.
            Unit::Second => {
                let ms = self.price_ms(&mut opened, &piece, part).await?;
                (piece, ms)
            }
            Unit::Byte => {
                let part = part
                    .ok_or(Refusal::Http(StatusCode::BAD_GATEWAY, "the origin does not say how long its answer is"))?;
                (part_piece(piece, part), part.slice.len)
            }
            Unit::Request => match part {
                Some(part) => (part_piece(piece, part), 1),
                None => (piece, 1),
            },
        };
        let ticket = Ticket { token, piece, version: opened.version() };
        let counted = self.turnstile.admit(ticket, quantity.max(1)).await?;

        let media_type = response::media_type(&opened.piece.path, opened.media_type.clone());
        let mut headers = response::headers(&opened, media_type, PRIVATE);
        headers.insert(QUANTITY_HEADER, counted.into());
        let body = opened.into_body(part.map_or(EVERYTHING, |part| part.slice)).await?;
        Ok(response::send(headers, part, body))
    }

    /// Milliseconds of media: the longer of what a playlist claims and what the media measures; where it cannot be
    /// measured, the larger of the claim and an estimate from its size, which is too low for media of a
    /// low bit rate.
    async fn price_ms(&self, opened: &mut Opened, piece: &Piece, part: Option<Part>) -> Result<u64, Refusal> {
        let facts = self.shelf.facts(piece);
        let inits = match &facts {
            Some(facts) if !facts.inits.is_empty() => facts.inits.clone(),
            _ => self.shelf.inits_near(&piece.path),
        };
        let version = opened.version();
        let measured = match self.shelf.measured(piece, &version, &inits) {
            Some(measured) => measured,
            None => {
                let measured = self.measure(opened, piece, &inits).await?;
                if opened.is_versioned() {
                    self.shelf.remember(piece.clone(), version, inits, measured);
                }
                measured
            }
        };
        let claimed = facts.as_ref().map_or(0, |facts| facts.claimed_ms);
        if let Some(measured) = measured {
            return Ok(measured.max(claimed));
        }
        let floor = facts.map_or(self.settings.unknown_segment_ms, |facts| facts.target_ms);
        let bytes = match (piece.slice, opened.len, part) {
            (Some(slice), ..) => slice.len,
            (None, Some(len), _) => len,
            (None, None, _) => {
                return Err(Refusal::Http(StatusCode::BAD_GATEWAY, "the origin does not say how long its answer is"));
            }
        };
        Ok(claimed.max(floor).max(self.settings.estimate_ms(bytes)))
    }

    /// The part that is sent. `None` if an origin does not say how much it sends, and sends more than can be held to count.
    async fn part_of(
        &self,
        opened: &mut Opened,
        ranges: Option<&http_range_header::ParsedRanges>,
        listed: Option<Slice>,
    ) -> Result<Option<Part>, Refusal> {
        if opened.piece.slice.is_some() {
            // The origin was asked for just that.
            return Ok(listed.map(|slice| Part { slice, of: None, partial: true }));
        }
        if opened.len.is_none() {
            // As for measuring: few are held in memory at a time.
            let _permit = self.probes.acquire().await;
            opened.whole(MAX_PROBE).await?;
        }
        let Some(len) = opened.len else { return Ok(None) };
        match ranges {
            Some(ranges) if opened.can_seek() => {
                Ok(Some(Part { slice: response::within(ranges, len)?, of: Some(len), partial: true }))
            }
            _ => Ok(Some(whole(len))),
        }
    }

    async fn measure(&self, opened: &mut Opened, piece: &Piece, inits: &[Piece]) -> Result<Option<u64>, Refusal> {
        // Few at a time: an origin's segment is held in memory for it.
        let _permit = self.probes.acquire().await;
        let mut tracks = Vec::new();
        for init in inits {
            let Ok(mut opened) = self.content.open(&init.path, init.slice).await else { continue };
            tracks.extend(opened.init_tracks(init.slice).await.ok().flatten());
        }
        opened.duration_ms(piece.slice, tracks, MAX_PROBE).await
    }

    /// Reads the playlists that might list a file that none is known to list: after a restart a player goes on without
    /// asking for its playlist.
    async fn search(&self, path: &MediaPath, mount: &str) {
        let Some(search) = self.shelf.search_for(path) else { return };
        let mut searched = search.lock().await;
        if searched.is_some_and(|at| at.elapsed() < SEARCH_AGAIN) {
            return;
        }
        *searched = Some(Instant::now());
        for candidate in self.content.playlists_near(path).await {
            if candidate == *path {
                continue;
            }
            let Ok(mut opened) = self.content.open(&candidate, None).await else { continue };
            if let Ok(Some(bytes)) = opened.whole(MAX_PLAYLIST).await
                && playlist::is_playlist(&bytes)
            {
                self.learn(&opened, mount, &bytes);
            }
        }
    }

    fn learn(&self, opened: &Opened, mount: &str, text: &[u8]) {
        let (path, version) = (&opened.piece.path, opened.version());
        if !opened.is_versioned() || self.shelf.is_news(path, &version) {
            self.shelf.learn(path, version, playlist::listings(path, mount, text));
        }
    }
}

/// A slice that takes in any file.
const EVERYTHING: Slice = Slice { start: 0, len: u64::MAX };

fn whole(len: u64) -> Part {
    Part { slice: Slice { start: 0, len }, of: Some(len), partial: false }
}

/// What is paid for when each range has its own price.
fn part_piece(piece: Piece, part: Part) -> Piece {
    Piece { slice: part.partial.then_some(part.slice), ..piece }
}

async fn send_free(opened: Opened, part: Option<Part>, asked: &Asked) -> Result<Response, Refusal> {
    let media_type = response::media_type(&opened.piece.path, opened.media_type.clone());
    let headers = response::headers(&opened, media_type, SHORTLY);
    if response::is_unchanged(&asked.headers, &opened) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let body = opened.into_body(part.map_or(EVERYTHING, |part| part.slice)).await?;
    Ok(response::send(headers, part, body))
}

fn playlist_response(opened: &Opened, asked: &Asked, bytes: axum::body::Bytes) -> Response {
    // A player that cannot set headers gets the token into every URI, if it came that way.
    let in_query = asked.token.and(response::query_token(asked.query.as_deref()));
    if let Some(token) = in_query {
        let text = playlist::carry_token(&String::from_utf8_lossy(&bytes), token);
        let mut headers = response::headers(opened, PLAYLIST, PRIVATE);
        headers.remove(header::ETAG);
        return (headers, text).into_response();
    }
    let headers = response::headers(opened, PLAYLIST, REVALIDATE);
    if response::is_unchanged(&asked.headers, opened) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, bytes).into_response()
}
