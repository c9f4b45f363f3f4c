//! HLS playlists (RFC 8216): what they list, and the token in them for players that cannot set headers.
//!
//! A playlist is a claim. It says which files are segments, how long they are said to be and which initialisation they
//! need; the price is never below what the media itself measures (see the `media` module).

use std::time::Duration;

use m3u8_rs::{MediaPlaylist, Playlist};

use super::path::MediaPath;
use super::piece::{Piece, Slice};

/// The longest playlist, in bytes.
pub(super) const MAX_PLAYLIST: u64 = 1 << 20;

/// One media segment of a playlist.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// Which bytes.
    pub(super) piece: Piece,
    /// How long the playlist says it is (`EXTINF`), in milliseconds, rounded up.
    pub(super) claimed_ms: u64,
    /// The longest that the playlist says any segment is (`EXT-X-TARGETDURATION`), in milliseconds.
    pub(super) target_ms: u64,
    /// What a decoder must be given first (`EXT-X-MAP`).
    pub(super) init: Option<Piece>,
}

/// Whether this is a playlist. Decided by content, never by name: a media file is not UTF-8 that begins like this.
pub(super) fn is_playlist(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.strip_prefix('\u{feff}').unwrap_or(text).starts_with("#EXTM3U"))
}

/// Whether a file that begins with these bytes can be a playlist.
pub(super) fn begins_like_playlist(start: &[u8]) -> bool {
    start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).starts_with(b"#EXTM3U")
}

/// The segments that a playlist at `path` lists; none for a master playlist or one that cannot be parsed.
pub(super) fn listings(path: &MediaPath, mount: &str, text: &[u8]) -> Vec<Listing> {
    match m3u8_rs::parse_playlist_res(text) {
        Ok(Playlist::MediaPlaylist(playlist)) => segments(path, mount, &playlist),
        Ok(Playlist::MasterPlaylist(_)) => Vec::new(),
        Err(_) => {
            tracing::warn!(%path, "this playlist cannot be parsed; its segments are priced as unknown ones");
            Vec::new()
        }
    }
}

fn segments(path: &MediaPath, mount: &str, playlist: &MediaPlaylist) -> Vec<Listing> {
    let target_ms = playlist.target_duration.saturating_mul(1000);
    let mut init = None;
    let mut previous: Option<(String, u64)> = None;
    let mut listings = Vec::with_capacity(playlist.segments.len());
    for segment in &playlist.segments {
        if let Some(map) = &segment.map {
            let slice =
                map.byte_range.as_ref().map(|range| Slice { start: range.offset.unwrap_or(0), len: range.length });
            init = path.resolve(&map.uri, mount).map(|path| Piece { path, slice });
        }
        // A range without an offset goes on where the last one in the same file ended (RFC 8216, 4.3.2.2).
        let slice = segment.byte_range.as_ref().map(|range| {
            let follows = previous.take().filter(|(uri, _)| *uri == segment.uri);
            let start = range.offset.or(follows.map(|(_, end)| end)).unwrap_or(0);
            Slice { start, len: range.length }
        });
        previous = slice.map(|slice| (segment.uri.clone(), slice.end()));
        if let Some(path) = path.resolve(&segment.uri, mount) {
            listings.push(Listing {
                piece: Piece { path, slice },
                claimed_ms: milliseconds(segment.duration),
                target_ms,
                init: init.clone(),
            });
        }
    }
    listings
}

/// Milliseconds, rounded up. The parser keeps seconds in 32-bit floating point; rounding to 10 microseconds first gives
/// back the decimal digits that the playlist has (for segments up to a minute, and near enough beyond), so that
/// `1.001` does not become 1,002.
fn milliseconds(seconds: f32) -> u64 {
    let duration = Duration::try_from_secs_f32(seconds).unwrap_or_default();
    let ten_micros = duration.as_nanos().saturating_add(5_000).div_euclid(10_000);
    u64::try_from(ten_micros.div_ceil(100)).unwrap_or(u64::MAX)
}

/// The playlist with the session's token on every URI in it, for players that cannot set headers.
pub(super) fn carry_token(text: &str, token: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_mul(2));
    for line in text.lines() {
        if line.starts_with('#') {
            // An attribute: `URI="..."`.
            match line.split_once("URI=\"").and_then(|(tag, rest)| Some((tag, rest.split_once('"')?))) {
                Some((tag, (uri, rest))) => {
                    out.push_str(tag);
                    out.push_str("URI=\"");
                    push_uri(&mut out, uri, token);
                    out.push('"');
                    out.push_str(rest);
                }
                None => out.push_str(line),
            }
        } else if line.trim().is_empty() {
            out.push_str(line);
        } else {
            push_uri(&mut out, line.trim(), token);
        }
        out.push('\n');
    }
    out
}

/// Other hosts are not told the token.
fn push_uri(out: &mut String, uri: &str, token: &str) {
    out.push_str(uri);
    let first = uri.split('/').next().unwrap_or_default();
    if !uri.starts_with("//") && !first.contains(':') {
        out.push(if uri.contains('?') { '&' } else { '?' });
        out.push_str("rillpay=");
        out.push_str(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(raw: &str) -> MediaPath {
        MediaPath::parse(raw).unwrap()
    }

    #[test]
    fn lists_files_and_slices_with_their_initialisation() {
        let text = b"#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"init.mp4\"\n\
            #EXTINF:1.001,\na.m4s\n#EXT-X-MAP:URI=\"all.mp4\",BYTERANGE=\"700@0\"\n\
            #EXTINF:2.0,\n#EXT-X-BYTERANGE:100@700\nall.mp4\n#EXTINF:2.0,\n#EXT-X-BYTERANGE:50\nall.mp4\n\
            #EXTINF:1,\nhttps://other.example/b.m4s\n";
        let slice = |start, len| Some(Slice { start, len });
        let all = |slice| Piece { path: path("/x/all.mp4"), slice };
        let listing = |piece, claimed_ms, init| Listing { piece, claimed_ms, target_ms: 2000, init: Some(init) };
        assert!(is_playlist(text) && begins_like_playlist(text));
        assert_eq!(
            listings(&path("/x/index.m3u8"), "/media", text),
            [
                listing(Piece::whole(path("/x/a.m4s")), 1001, Piece::whole(path("/x/init.mp4"))),
                listing(all(slice(700, 100)), 2000, all(slice(0, 700))),
                listing(all(slice(800, 50)), 2000, all(slice(0, 700))),
            ]
        );
    }

    #[test]
    fn durations_are_rounded_up_from_their_decimal_digits() {
        let cases = [(1.0, 1000), (1.001, 1001), (6.006, 6006), (9.97667, 9977), (0.0, 0), (-1.0, 0), (f32::NAN, 0)];
        for (seconds, expected) in cases {
            assert_eq!(milliseconds(seconds), expected, "{seconds}");
        }
        assert_eq!(milliseconds(f32::INFINITY), 0, "what is no number claims nothing; the media is measured");
    }

    #[test]
    fn a_token_goes_on_every_uri_of_this_host() {
        let text = "#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4\",X=1\n#EXTINF:1,\na.m4s?x=1\nhttps://other.example/b\n";
        assert_eq!(
            carry_token(text, "ab"),
            "#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4?rillpay=ab\",X=1\n#EXTINF:1,\na.m4s?x=1&rillpay=ab\nhttps://other.example/b\n"
        );
    }

    #[test]
    fn a_file_is_a_playlist_by_what_is_in_it() {
        assert!(is_playlist(b"\xef\xbb\xbf#EXTM3U\n"));
        assert!(!is_playlist(b"#EXTM3U\n\xff\xfe"), "not text");
        assert!(!is_playlist(b"\x47#EXTM3U"));
    }
}
