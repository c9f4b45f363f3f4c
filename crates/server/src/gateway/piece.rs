//! A whole file or a listed part of one: what is measured, priced and paid for at once.

use super::path::MediaPath;

/// A range of bytes within a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Slice {
    /// The first byte.
    pub(super) start: u64,
    /// How many.
    pub(super) len: u64,
}

impl Slice {
    /// From the first and the last byte, both included; `None` if the last comes before the first.
    pub(super) fn inclusive(first: u64, last: u64) -> Option<Self> {
        let len = last.checked_sub(first)?.checked_add(1)?;
        Some(Self { start: first, len })
    }

    /// The first byte after the slice.
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// The last byte of a slice that has any.
    pub(super) fn last(&self) -> u64 {
        self.end().saturating_sub(1)
    }
}

/// A file, or a slice of it that a playlist lists by itself (`EXT-X-BYTERANGE`).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Piece {
    /// The file.
    pub(super) path: MediaPath,
    /// Which bytes; `None` for all of them.
    pub(super) slice: Option<Slice>,
}

impl Piece {
    /// A whole file.
    pub(super) fn whole(path: MediaPath) -> Self {
        Self { path, slice: None }
    }
}
