//! What a request names: one spelling for each piece of content.
//!
//! Prices hang on names, so a name must not have two spellings. A path is percent-decoded once, taken apart, and
//! refused unless every part is an ordinary file name; what is left is the same string for every way to ask for it.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What may stand unescaped in a path segment (RFC 3986, `pchar`), but for the semicolon: some origins cut a name off there,
/// and would answer `film.ts;.vtt` with the film.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The deepest folder, and so the longest walk, that a request can name.
const MAX_PARTS: usize = 32;
/// The longest path, in bytes after decoding.
const MAX_BYTES: usize = 1024;

/// A path below the media root: decoded, relative, without `.`, `..`, hidden names or empty parts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct MediaPath(String);

impl MediaPath {
    /// Takes a request's path as it stands in the URI, with or without a slash in front. `None` when it names nothing
    /// that could be served.
    pub(super) fn parse(raw: &str) -> Option<Self> {
        let parts = raw.strip_prefix('/').unwrap_or(raw).split('/').map(decode);
        Self::from_parts(parts.collect::<Option<Vec<_>>>()?)
    }

    /// Takes a relative path of the file system, which is not percent-encoded.
    pub(super) fn from_file(relative: &std::path::Path) -> Option<Self> {
        let parts = relative.components().map(|part| match part {
            std::path::Component::Normal(name) => name.to_str().map(str::to_owned),
            _ => None,
        });
        Self::from_parts(parts.collect::<Option<Vec<_>>>()?)
    }

    fn from_parts(parts: Vec<String>) -> Option<Self> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let acceptable = parts.len() <= MAX_PARTS && length <= MAX_BYTES && parts.iter().all(|part| is_plain(part));
        (acceptable && !parts.is_empty()).then(|| Self(parts.join("/")))
    }

    /// Where a reference inside this file leads (RFC 3986, section 5.2, for references within the media root).
    /// `mount` is the path at which the media root is served, for references that begin with a slash. `None` for
    /// references to other hosts or out of the root.
    pub(super) fn resolve(&self, reference: &str, mount: &str) -> Option<Self> {
        let reference = reference.split(['?', '#']).next()?;
        let absolute = reference.strip_prefix('/');
        let (mut parts, rest) = match absolute {
            Some(_) => (Vec::new(), reference.strip_prefix(mount)?.strip_prefix('/')?),
            None => (self.folder_parts(), reference),
        };
        let first = rest.split('/').next()?;
        if first.is_empty() || (absolute.is_none() && first.contains(':')) {
            return None;
        }
        for part in rest.split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop()?),
                part => parts.push(decode(part)?),
            }
        }
        Self::from_parts(parts)
    }

    /// The file named `name` in the same folder.
    pub(super) fn sibling(&self, name: &str) -> Option<Self> {
        let mut parts = self.folder_parts();
        parts.push(name.to_owned());
        Self::from_parts(parts)
    }

    /// The folder itself, unless it is the root.
    pub(super) fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(folder, _)| Self(folder.to_owned()))
    }

    fn folder_parts(&self) -> Vec<String> {
        match self.0.rsplit_once('/') {
            Some((folder, _)) => folder.split('/').map(str::to_owned).collect(),
            None => Vec::new(),
        }
    }

    /// The folder, relative to the media root; empty for the root itself.
    pub(super) fn folder(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// The decoded path.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name's ending, in lower case; empty when it has none.
    pub(super) fn extension(&self) -> String {
        let name = self.0.rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default()
    }

    /// The path as it goes into a URI.
    pub(super) fn encoded(&self) -> String {
        let parts: Vec<_> = self.0.split('/').map(|part| utf8_percent_encode(part, ESCAPED).to_string()).collect();
        parts.join("/")
    }
}

impl fmt::Display for MediaPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One part of a path, decoded once.
fn decode(part: &str) -> Option<String> {
    Some(percent_decode_str(part).decode_utf8().ok()?.into_owned())
}

/// An ordinary, visible file name on every file system: no separator in disguise, no control character, no name that
/// Windows would shorten to another one.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && !name.ends_with(['.', ' '])
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str) -> Option<String> {
        MediaPath::parse(raw).map(|path| path.0)
    }

    #[test]
    fn every_spelling_becomes_one_name() {
        for raw in ["/lake/init.mp4", "lake/init.mp4", "/lake/%69nit.mp4", "/%6c%61ke/init%2Emp4"] {
            assert_eq!(parse(raw).as_deref(), Some("lake/init.mp4"), "{raw}");
        }
        // Decoding happens once: this is a file whose name has a percent sign in it.
        assert_eq!(parse("/a%252fb").as_deref(), Some("a%2fb"));
        assert_eq!(MediaPath::parse("/a%252fb%20c").unwrap().encoded(), "a%252fb%20c");
    }

    #[test]
    fn no_origin_is_told_to_cut_a_name_off() {
        assert_eq!(MediaPath::parse("film.ts;.vtt").unwrap().encoded(), "film.ts%3B.vtt");
    }

    #[test]
    fn tricks_name_nothing() {
        for raw in [
            "",
            "/",
            "//",
            "//etc/passwd",
            "/..",
            "/../x",
            "/a/../b",
            "/a/./b",
            "/%2e%2e/x",
            "/a/%2E%2e/b",
            "/a%2fb",
            "/a%2F..%2fb",
            "/a\\b",
            "/a%5cb",
            "/a%00b",
            "/a%0ab",
            "/a/",
            "/a//b",
            "/.env",
            "/a/.git/config",
            "/a.",
            "/a.mp4.",
            "/a.mp4%20",
            "/%ff",
        ] {
            assert_eq!(parse(raw), None, "{raw:?}");
        }
        assert_eq!(parse(&"/a".repeat(MAX_PARTS + 1)), None);
        assert_eq!(parse(&"a".repeat(MAX_BYTES + 1)), None);
    }

    #[test]
    fn references_resolve_within_the_root_only() {
        let playlist = MediaPath::parse("/show/720p/index.m3u8").unwrap();
        let resolve = |reference| playlist.resolve(reference, "/media").map(|path| path.0);
        assert_eq!(resolve("a.m4s?x=1#t").as_deref(), Some("show/720p/a.m4s"));
        assert_eq!(resolve("./a%20b.m4s").as_deref(), Some("show/720p/a b.m4s"));
        assert_eq!(resolve("../480p/a.m4s").as_deref(), Some("show/480p/a.m4s"));
        assert_eq!(resolve("/media/x/a.m4s").as_deref(), Some("x/a.m4s"));
        for outside in ["../../../a.m4s", "/x/a.m4s", "https://other.example/a.m4s", "//other.example/a", "", "data:,x"]
        {
            assert_eq!(resolve(outside), None, "{outside:?}");
        }
        assert_eq!(playlist.resolve("/a.m4s", "").unwrap().0, "a.m4s");
    }
}
