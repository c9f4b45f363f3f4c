//! What is known about the content: what playlists list, and what was measured. Everything in it can be found out anew,
//! so it is bounded and forgets what was not asked for longest.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use super::path::MediaPath;
use super::piece::Piece;
use super::playlist::Listing;

/// How many segments are remembered.
const SEGMENTS: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();
/// How many playlists and folders are remembered.
const FOLDERS: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// How many initialisation segments may belong to one segment (one, unless playlists disagree), or are tried on a file
/// that no playlist lists.
const MAX_INITS: usize = 8;
/// How long a folder whose playlists were looked for is not searched again.
pub(super) const SEARCH_AGAIN: Duration = Duration::from_secs(10);

/// When a folder was last searched. The lock is held while it is, so that requests at the same time know as much.
pub(super) type Search = Arc<tokio::sync::Mutex<Option<Instant>>>;

/// What playlists say about a segment, the most expensive claim of each kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// `EXTINF` in milliseconds.
    pub(super) claimed_ms: u64,
    /// `EXT-X-TARGETDURATION` in milliseconds.
    pub(super) target_ms: u64,
    /// Initialisation segments.
    pub(super) inits: Vec<Piece>,
}

/// The shelf.
pub(super) struct Shelf(Mutex<Inner>);

struct Inner {
    segments: LruCache<Piece, Facts>,
    /// What playlists name as initialisation segments.
    inits: LruCache<Piece, ()>,
    /// The initialisation segments that playlists name for the segments of a folder.
    folders: LruCache<String, Vec<Piece>>,
    /// The version of each playlist that was last read.
    playlists: LruCache<MediaPath, String>,
    searched: LruCache<String, Search>,
    measured: LruCache<(Piece, String), Measured>,
}

struct Measured {
    inits: Vec<Piece>,
    ms: Option<u64>,
}

impl Shelf {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Inner {
            segments: LruCache::new(SEGMENTS),
            inits: LruCache::new(FOLDERS),
            folders: LruCache::new(FOLDERS),
            playlists: LruCache::new(FOLDERS),
            searched: LruCache::new(FOLDERS),
            measured: LruCache::new(SEGMENTS),
        }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this version of a playlist has not been read yet.
    pub(super) fn is_news(&self, playlist: &MediaPath, version: &str) -> bool {
        self.inner().playlists.get(playlist).is_none_or(|known| known != version)
    }

    /// Takes in what a playlist lists.
    pub(super) fn learn(&self, playlist: &MediaPath, version: String, listings: Vec<Listing>) {
        let mut inner = self.inner();
        inner.playlists.put(playlist.clone(), version);
        for listing in listings {
            inner.learn(listing);
        }
    }

    /// What is known of a segment.
    pub(super) fn facts(&self, piece: &Piece) -> Option<Facts> {
        self.inner().segments.get(piece).cloned()
    }

    /// Whether a playlist names exactly this slice, as a segment or as an initialisation.
    pub(super) fn lists(&self, piece: &Piece) -> bool {
        let inner = self.inner();
        inner.segments.contains(piece) || inner.inits.contains(piece)
    }

    /// The initialisation segments to try on a file that no playlist lists.
    pub(super) fn inits_near(&self, path: &MediaPath) -> Vec<Piece> {
        self.inner().folders.get(path.folder()).cloned().unwrap_or_default()
    }

    /// The search for playlists that list this file, unless one does already.
    pub(super) fn search_for(&self, path: &MediaPath) -> Option<Search> {
        let mut inner = self.inner();
        if inner.segments.contains(&Piece::whole(path.clone())) {
            return None;
        }
        let search = inner.searched.get_or_insert(path.folder().to_owned(), Search::default);
        Some(Arc::clone(search))
    }

    /// The measured length of a piece, if it was measured in this version with these initialisation segments: `Some(None)`
    /// when it could not be.
    pub(super) fn measured(&self, piece: &Piece, version: &str, inits: &[Piece]) -> Option<Option<u64>> {
        let key = (piece.clone(), version.to_owned());
        let mut inner = self.inner();
        let known = inner.measured.get(&key)?;
        (known.inits == inits).then_some(known.ms)
    }

    /// Remembers a measurement.
    pub(super) fn remember(&self, piece: Piece, version: String, inits: Vec<Piece>, ms: Option<u64>) {
        self.inner().measured.put((piece, version), Measured { inits, ms });
    }
}

impl Inner {
    fn learn(&mut self, listing: Listing) {
        let Listing { piece, claimed_ms, target_ms, init } = listing;
        if let Some(init) = &init {
            self.inits.put(init.clone(), ());
            let folder = piece.path.folder().to_owned();
            add(self.folders.get_or_insert_mut(folder, Vec::new), init);
        }
        // The whole file is known to hold segments too, so that it does not pass for something else.
        let whole = Piece::whole(piece.path.clone());
        for piece in [whole, piece] {
            let facts = self.segments.get_or_insert_mut(piece, Facts::default);
            facts.claimed_ms = facts.claimed_ms.max(claimed_ms);
            facts.target_ms = facts.target_ms.max(target_ms);
            if let Some(init) = &init {
                add(&mut facts.inits, init);
            }
        }
    }
}

fn add(inits: &mut Vec<Piece>, init: &Piece) {
    if !inits.contains(init) && inits.len() < MAX_INITS {
        inits.push(init.clone());
    }
}
