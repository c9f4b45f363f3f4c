//! What origins, players and operators write, damaged and made up: every reader of it takes or refuses it, and ends.
//!
//! `PROPTEST_CASES` sets how many inputs each test takes; what fails is kept beside this file and tried first from then on.

use std::io::Cursor;

use proptest::prelude::*;

use super::FreePattern;
use super::media::{Extent, duration_ms, mp4};
use super::path::MediaPath;
use super::piece::Slice;
use super::playlist::{carry_token, is_playlist, listings};

const PLAYLIST: &str = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n\
    #EXT-X-MAP:URI=\"init.mp4\",BYTERANGE=\"700@0\"\n#EXTINF:1.001,\na.m4s\n#EXTINF:2.0,title\n\
    #EXT-X-BYTERANGE:100@700\nall.mp4\n#EXT-X-DISCONTINUITY\n#EXTINF:2,\n../b/%20c.m4s?x=1\n#EXT-X-ENDLIST\n";

/// One to six changes: a byte set, a bit turned, bytes cut off, put in, or copied from elsewhere in it.
fn damaged(real: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((any::<u8>(), any::<u16>(), any::<u16>(), any::<u8>()), 1..6).prop_map(move |changes| {
        let mut bytes = real.clone();
        for (how, at, from, value) in changes {
            let at = usize::from(at) % (bytes.len() + 1);
            match how % 8 {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, value),
                2 => {
                    let from = usize::from(from) % (bytes.len() + 1);
                    let piece = bytes[from..].iter().take(value.into()).copied().collect::<Vec<_>>();
                    bytes.splice(at..at, piece);
                }
                3 if at < bytes.len() => bytes[at] = value,
                _ if at < bytes.len() => bytes[at] ^= 1 << (value % 8),
                _ => {}
            }
        }
        bytes
    })
}

fn fixture(path: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)).unwrap()
}

fn measured(bytes: &[u8]) {
    let slice = Slice { start: 0, len: u64::try_from(bytes.len()).unwrap() };
    let inits: Vec<_> = mp4::init_tracks(&mut Extent::new(Cursor::new(bytes), slice)).unwrap().into_iter().collect();
    for inits in [&[], inits.as_slice()] {
        let ms = duration_ms(&mut Extent::new(Cursor::new(bytes), slice), inits).unwrap();
        assert_ne!(ms, Some(0), "media that takes no time would be free");
    }
}

fn listed(bytes: &[u8]) {
    let path = MediaPath::parse("show/index.m3u8").unwrap();
    for listing in listings(&path, "/media", bytes) {
        let named = listing.piece.path.as_str();
        assert!(
            !named.starts_with('/') && !named.split('/').any(|part| part == ".."),
            "{named} leads out of the folder"
        );
    }
    if is_playlist(bytes) {
        let text = std::str::from_utf8(bytes).unwrap();
        let carried = carry_token(text, "ab");
        assert_eq!(carried.lines().count(), text.lines().count(), "a line more or less");
    }
}

proptest! {
    #[test]
    fn hostile_playlists_lead_nowhere(damaged in damaged(PLAYLIST.into()), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        listed(&damaged);
        listed(&bytes);
        listed(&[b"#EXTM3U\n", bytes.as_slice()].concat());
    }

    #[test]
    fn hostile_media_is_read_to_an_end(
        mp4 in damaged(fixture("ranges/index.m4s").into_iter().take(6000).collect()),
        ts in damaged(fixture("ts/second-1.ts").into_iter().take(188 * 40).collect()),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        measured(&mp4);
        measured(&ts);
        measured(&bytes);
    }

    #[test]
    fn hostile_paths_have_one_spelling(raw in "[a-z./%0-9A-F\\\\ ;\u{0}-\u{1f}\u{e9}]{0,40}", any in "\\PC{0,60}") {
        for raw in [raw, any] {
            let Some(path) = MediaPath::parse(&raw) else { continue };
            let again = MediaPath::parse(&path.encoded());
            prop_assert_eq!(again.as_ref(), Some(&path), "{} is another name", path.encoded());
            let parts: Vec<_> = path.as_str().split('/').collect();
            prop_assert!(parts.iter().all(|part| !part.is_empty() && !part.starts_with('.')), "{}", path);
        }
    }

    #[test]
    fn hostile_references_stay_inside(reference in "[a-z./%0-9A-F?#:\\\\]{0,40}", any in "\\PC{0,60}") {
        let playlist = MediaPath::parse("show/720p/index.m3u8").unwrap();
        for reference in [reference, any] {
            let Some(path) = playlist.resolve(&reference, "/media") else { continue };
            prop_assert_eq!(MediaPath::parse(&path.encoded()), Some(path));
        }
    }

    #[test]
    fn hostile_patterns_never_free_everything(text in "[*./a-z\\\\]{0,12}") {
        if let Ok(pattern) = text.parse::<FreePattern>() {
            prop_assert!(!pattern.matches("film"), "{} frees a film", text);
        }
    }
}
