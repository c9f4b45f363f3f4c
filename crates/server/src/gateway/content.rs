//! Where content comes from: a folder on disk, or another HTTP server.
//!
//! Both answer the same three questions: what is the one name of this, what is in it, and can it be streamed. A file is
//! opened once; it is looked at, measured and sent through the same handle, so that it cannot be changed for another
//! in between.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::folder::Folder;
use super::media::{self, Extent, mp4};
use super::path::MediaPath;
use super::piece::{Piece, Slice};
use super::problem::Refusal;
use super::upstream::{Remote, Upstream};

/// How many bytes decide what a file looks like.
pub(super) const LOOK: u64 = 512;
/// Bytes per read when a file is sent.
const CHUNK: usize = 64 << 10;

/// Where content comes from.
#[derive(Debug)]
pub enum Content {
    /// A folder.
    Folder(Folder),
    /// Another server.
    Upstream(Upstream),
}

/// Something that can be looked at, measured and sent.
pub(super) struct Opened {
    /// What it is; a slice only where the origin was asked for just that slice.
    pub(super) piece: Piece,
    /// Its size in bytes; an origin may not say.
    pub(super) len: Option<u64>,
    /// A string that changes with the content, in the form of an entity tag; an origin may not give one.
    pub(super) etag: Option<HeaderValue>,
    /// When it was changed last, as an HTTP date.
    pub(super) modified: Option<HeaderValue>,
    /// The origin's word on the media type.
    pub(super) media_type: Option<HeaderValue>,
    pub(super) source: Source,
}

/// The bytes.
pub(super) enum Source {
    /// A file on disk.
    File(File),
    /// A response of an origin, and what of it has been read.
    Remote(Box<Remote>),
}

impl Content {
    /// The one name of what is asked for.
    pub(super) async fn locate(&self, path: MediaPath) -> Result<MediaPath, Refusal> {
        match self {
            Self::Folder(folder) => folder.locate(path).await,
            Self::Upstream(_) => Ok(path),
        }
    }

    /// Opens a located file. An origin is asked for `slice` only, where one is given.
    pub(super) async fn open(&self, path: &MediaPath, slice: Option<Slice>) -> Result<Opened, Refusal> {
        match self {
            Self::Folder(folder) => folder.open(path).await,
            Self::Upstream(upstream) => upstream.get(path, slice).await,
        }
    }

    /// The headers of a located file, without its content.
    pub(super) async fn head(&self, path: &MediaPath) -> Result<Opened, Refusal> {
        match self {
            Self::Folder(folder) => folder.open(path).await,
            Self::Upstream(upstream) => upstream.head(path).await,
        }
    }

    /// The playlists that might list a file.
    pub(super) async fn playlists_near(&self, path: &MediaPath) -> Vec<MediaPath> {
        match self {
            Self::Folder(folder) => folder.playlists_near(path).await,
            Self::Upstream(upstream) => upstream.playlists_near(path),
        }
    }
}

impl Opened {
    /// A name for this version of the content; the size, if the origin names none.
    pub(super) fn version(&self) -> String {
        match (&self.etag, &self.modified) {
            (Some(tag), _) | (None, Some(tag)) => String::from_utf8_lossy(tag.as_bytes()).into_owned(),
            (None, None) => format!("{:?}", self.len),
        }
    }

    /// Whether the version can be relied on to change with the content.
    pub(super) fn is_versioned(&self) -> bool {
        self.etag.is_some() || self.modified.is_some()
    }

    /// Whether any part of it can be sent; an origin's answer is sent as it comes.
    pub(super) fn can_seek(&self) -> bool {
        matches!(self.source, Source::File(_))
    }

    /// The first bytes, at most [`LOOK`].
    pub(super) async fn look(&mut self) -> Result<Vec<u8>, Refusal> {
        match &mut self.source {
            Source::File(file) => {
                let mut file = duplicate(file)?;
                blocking(move || {
                    file.seek(SeekFrom::Start(0))?;
                    let mut bytes = Vec::new();
                    file.take(LOOK).read_to_end(&mut bytes)?;
                    Ok(bytes)
                })
                .await
            }
            Source::Remote(remote) => {
                remote.fill(LOOK).await?;
                Ok(remote.first(LOOK))
            }
        }
    }

    /// Everything, or `None` if that is more than `limit` bytes. An origin's response can still be sent afterwards.
    pub(super) async fn whole(&mut self, limit: u64) -> Result<Option<Bytes>, Refusal> {
        if self.len.is_some_and(|len| len > limit) {
            return Ok(None);
        }
        match &mut self.source {
            Source::File(file) => {
                let mut file = duplicate(file)?;
                let bytes = blocking(move || {
                    file.seek(SeekFrom::Start(0))?;
                    let mut bytes = Vec::new();
                    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
                    Ok(bytes)
                })
                .await?;
                Ok((size(&bytes) <= limit).then(|| bytes.into()))
            }
            Source::Remote(remote) => {
                let complete = remote.fill(limit.saturating_add(1)).await?;
                let bytes = remote.first(limit);
                if complete && self.len.is_none() && remote.filled() <= limit {
                    self.len = Some(remote.filled());
                }
                Ok((complete && remote.filled() <= limit).then(|| bytes.into()))
            }
        }
    }

    /// The tracks that this describes, if it is an initialisation segment and nothing else. `slice` is the part meant.
    pub(super) async fn init_tracks(&mut self, slice: Option<Slice>) -> Result<Option<mp4::Tracks>, Refusal> {
        self.examine(slice, mp4::MAX_INIT, |extent| match extent {
            Either::File(mut extent) => mp4::init_tracks(&mut extent),
            Either::Memory(mut extent) => mp4::init_tracks(&mut extent),
        })
        .await
        .map(Option::flatten)
    }

    /// How long the media in `slice` plays, in milliseconds; `None` if that cannot be told, or if an origin sends more
    /// than `limit` bytes, which would have to be held in memory.
    pub(super) async fn duration_ms(
        &mut self,
        slice: Option<Slice>,
        inits: Vec<mp4::Tracks>,
        limit: u64,
    ) -> Result<Option<u64>, Refusal> {
        self.examine(slice, limit, move |extent| match extent {
            Either::File(mut extent) => media::duration_ms(&mut extent, &inits),
            Either::Memory(mut extent) => media::duration_ms(&mut extent, &inits),
        })
        .await
        .map(Option::flatten)
    }

    /// Runs a reader over the content on a thread where it may block.
    async fn examine<T: Send + 'static>(
        &mut self,
        slice: Option<Slice>,
        limit: u64,
        read: impl FnOnce(Either) -> std::io::Result<T> + Send + 'static,
    ) -> Result<Option<T>, Refusal> {
        if let Source::File(file) = &self.source {
            let whole = Slice { start: 0, len: self.len.unwrap_or(0) };
            let slice = slice.unwrap_or(whole);
            let extent = Extent::new(duplicate(file)?, slice);
            return blocking(move || read(Either::File(extent))).await.map(Some);
        }
        // An origin's response is the piece that it was asked for.
        let Some(bytes) = self.whole(limit).await? else {
            return Ok(None);
        };
        let len = size(&bytes);
        let extent = Extent::new(Cursor::new(bytes), Slice { start: 0, len });
        blocking(move || read(Either::Memory(extent))).await.map(Some)
    }

    /// The content as a response body: `slice` of a file, or all of an origin's response.
    pub(super) async fn into_body(self, slice: Slice) -> Result<Body, Refusal> {
        match self.source {
            Source::File(mut file) => {
                let file = blocking(move || {
                    file.seek(SeekFrom::Start(slice.start))?;
                    Ok(file)
                })
                .await?;
                let reader = tokio::fs::File::from_std(file).take(slice.len);
                Ok(Body::from_stream(ReaderStream::with_capacity(reader, CHUNK)))
            }
            Source::Remote(remote) => Ok(remote.into_body()),
        }
    }
}

/// Content that may be on disk or in memory.
enum Either {
    File(Extent<File>),
    Memory(Extent<Cursor<Bytes>>),
}

/// Another handle to the same open file. The position is shared, so every reader seeks first.
fn duplicate(file: &File) -> Result<File, Refusal> {
    file.try_clone().map_err(|error| unreadable(&error))
}

/// Runs file work where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Err(Refusal::NOT_FOUND),
        Ok(Err(error)) => Err(unreadable(&error)),
        Err(error) => Err(unreadable(&error)),
    }
}

fn unreadable(error: &(dyn std::error::Error + 'static)) -> Refusal {
    tracing::error!(error, "content cannot be read");
    Refusal::Http(StatusCode::INTERNAL_SERVER_ERROR, "the content cannot be read")
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// One header of an origin's response.
pub(super) fn header(headers: &HeaderMap, name: &axum::http::HeaderName) -> Option<HeaderValue> {
    headers.get(name).cloned()
}
