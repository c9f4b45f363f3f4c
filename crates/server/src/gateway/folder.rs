//! A folder as a source of content. Nothing outside it, nothing hidden, nothing that is not a plain file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use axum::http::HeaderValue;

use super::content::{Opened, Source, blocking};
use super::path::MediaPath;
use super::piece::Piece;
use super::problem::Refusal;

/// How many playlists of one folder are looked at.
const MAX_PLAYLISTS: usize = 64;
/// How many entries of one folder are looked at.
const MAX_ENTRIES: usize = 20_000;

/// A folder as a source of content.
#[derive(Debug)]
pub struct Folder {
    /// Absolute, without symbolic links.
    root: PathBuf,
}

impl Folder {
    /// Serves what lies under `root`.
    ///
    /// # Errors
    /// If there is no such folder.
    pub fn new(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "the media root is not a folder"));
        }
        Ok(Self { root })
    }

    /// The file's own path under the root: symbolic links followed, the letters' case as on disk.
    pub(super) async fn locate(&self, path: MediaPath) -> Result<MediaPath, Refusal> {
        let root = self.root.clone();
        let located = blocking(move || Ok(locate(&root, &path))).await?;
        located.ok_or(Refusal::NOT_FOUND)
    }

    /// Opens a located file.
    pub(super) async fn open(&self, path: &MediaPath) -> Result<Opened, Refusal> {
        let (root, path) = (self.root.clone(), path.clone());
        blocking(move || {
            // The file may have been replaced by a link since it was located; a second look costs little.
            if locate(&root, &path).as_ref() != Some(&path) {
                return Err(io::ErrorKind::NotFound.into());
            }
            let file = File::open(root.join(path.as_str()))?;
            let metadata = file.metadata()?;
            let modified = metadata.modified()?;
            let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            let etag = format!("\"{:x}-{:x}\"", metadata.len(), since.as_nanos());
            Ok(Opened {
                piece: Piece::whole(path),
                len: Some(metadata.len()),
                etag: HeaderValue::try_from(etag).ok(),
                modified: HeaderValue::try_from(httpdate::fmt_http_date(modified)).ok(),
                media_type: None,
                source: Source::File(file),
            })
        })
        .await
    }

    /// The playlists beside a file and in the folders above it.
    pub(super) async fn playlists_near(&self, path: &MediaPath) -> Vec<MediaPath> {
        let (root, path) = (self.root.clone(), path.clone());
        let found = blocking(move || {
            let folder = root.join(path.folder());
            let above = folder.ancestors().take_while(|folder| folder.starts_with(&root));
            Ok(above.flat_map(|folder| playlists_in(&root, folder)).collect())
        });
        found.await.unwrap_or_default()
    }
}

fn locate(root: &Path, path: &MediaPath) -> Option<MediaPath> {
    let canonical = root.join(path.as_str()).canonicalize().ok()?;
    let own = MediaPath::from_file(canonical.strip_prefix(root).ok()?)?;
    canonical.metadata().ok()?.is_file().then_some(own)
}

fn playlists_in(root: &Path, folder: &Path) -> Vec<MediaPath> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let names = entries.take(MAX_ENTRIES).flatten().map(|entry| entry.path());
    let paths = names.filter_map(|file| MediaPath::from_file(file.strip_prefix(root).ok()?));
    paths.filter(|path| path.extension() == "m3u8").filter_map(|path| locate(root, &path)).take(MAX_PLAYLISTS).collect()
}
