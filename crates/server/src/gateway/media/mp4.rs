//! Fragmented MP4 (ISO/IEC 14496-12): the time scales come from the initialisation segment (`moov`), the samples'
//! durations from the fragments (`moof`). The media data itself is skipped unread.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};

use mp4_atom::{Atom, Decode, Header, Moof, Moov, Traf};

use super::{Extent, TrackLength, ticks_to_ms};

/// The largest initialisation segment, in bytes.
pub(in crate::gateway) const MAX_INIT: u64 = 1 << 20;
/// How much of descriptive boxes is read in one segment.
const MAX_BOXES_BYTES: u64 = 8 << 20;
/// How many boxes may stand side by side in one segment.
const MAX_BOXES: usize = 10_000;
/// A box header with a 64-bit size.
const HEADER: u64 = 16;

/// What an initialisation segment says about a track.
#[derive(Clone, Copy, Debug)]
struct Track {
    timescale: u32,
    default_duration: u32,
    video: bool,
    /// The length of samples that the `moov` box itself describes; 0 in a fragmented file.
    described: u64,
}

/// The tracks of an initialisation segment, by id.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct Tracks(BTreeMap<u32, Track>);

/// A box next to others: what it is, and where its body lies.
struct Box {
    kind: [u8; 4],
    body: u64,
    len: u64,
}

/// Whether a file that begins with these bytes can be MP4.
pub(in crate::gateway) fn begins_like_mp4(start: &[u8]) -> bool {
    const FIRST: [&[u8; 4]; 8] = [b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"emsg", b"prft", b"free"];
    start.get(4..8).is_some_and(|kind| FIRST.iter().any(|known| kind == *known))
}

/// The tracks, if this is an initialisation segment and nothing else: a `moov` box that describes no sample, and no
/// fragment or media data beside it. Only such a file is free; what a playlist calls it does not matter.
pub(in crate::gateway) fn init_tracks<R: Read + Seek>(file: &mut Extent<R>) -> io::Result<Option<Tracks>> {
    if file.len() > MAX_INIT {
        return Ok(None);
    }
    let Some(boxes) = boxes(file)? else { return Ok(None) };
    if boxes.iter().any(|b| [*b"moof", *b"mdat"].contains(&b.kind)) {
        return Ok(None);
    }
    let Some(moov) = boxes.iter().find(|b| b.kind == *b"moov") else {
        return Ok(None);
    };
    let tracks = decode::<Moov, R>(file, moov)?.map(|moov| tracks_of(&moov));
    Ok(tracks.filter(|tracks| tracks.0.values().all(|track| track.described == 0)))
}

/// The length of every track in a segment. Empty when the file is damaged or something about it is not known.
pub(super) fn lengths<R: Read + Seek>(file: &mut Extent<R>, inits: &[Tracks]) -> io::Result<Vec<TrackLength>> {
    let Some(boxes) = boxes(file)? else { return Ok(Vec::new()) };
    let mut own = Vec::new();
    let mut fragments = Vec::new();
    let mut read: u64 = 0;
    for found in &boxes {
        if ![*b"moov", *b"moof"].contains(&found.kind) {
            continue;
        }
        read = read.saturating_add(found.len);
        if read > MAX_BOXES_BYTES {
            return Ok(Vec::new());
        }
        if found.kind == *b"moov" {
            let Some(moov) = decode::<Moov, R>(file, found)? else { return Ok(Vec::new()) };
            own.push(tracks_of(&moov));
        } else {
            let Some(moof) = decode::<Moof, R>(file, found)? else { return Ok(Vec::new()) };
            fragments.extend(moof.traf);
        }
    }
    let candidates = if own.is_empty() { inits } else { &own };
    let mut all = Vec::new();
    for tracks in candidates {
        // A fragment of a track that this initialisation does not know cannot be timed with it.
        all.extend(timed(tracks, &fragments).unwrap_or_default());
    }
    Ok(all)
}

/// The boxes on the top level; `None` if they do not fill the file exactly.
fn boxes<R: Read + Seek>(file: &mut Extent<R>) -> io::Result<Option<Vec<Box>>> {
    let mut boxes = Vec::new();
    let mut offset: u64 = 0;
    while offset < file.len() {
        let bytes = file.read_at(offset, HEADER)?;
        let mut rest = bytes.as_slice();
        let Ok(header) = Header::decode(&mut rest) else { return Ok(None) };
        let taken = bytes.len().saturating_sub(rest.len());
        let body = offset.saturating_add(u64::try_from(taken).unwrap_or(u64::MAX));
        let left = file.len().saturating_sub(body);
        // A box without a size goes on to the end.
        let len = header.size.map_or(Some(left), |size| u64::try_from(size).ok());
        let Some(len) = len.filter(|len| *len <= left && boxes.len() < MAX_BOXES) else {
            return Ok(None);
        };
        boxes.push(Box { kind: header.kind.into(), body, len });
        offset = body.saturating_add(len);
    }
    Ok(Some(boxes))
}

fn decode<A: Atom, R: Read + Seek>(file: &mut Extent<R>, found: &Box) -> io::Result<Option<A>> {
    if found.len > MAX_BOXES_BYTES {
        return Ok(None);
    }
    let bytes = file.read_at(found.body, found.len)?;
    Ok(A::decode_body(&mut bytes.as_slice()).ok())
}

fn tracks_of(moov: &Moov) -> Tracks {
    let extends = moov.mvex.iter().flat_map(|mvex| &mvex.trex);
    let defaults: BTreeMap<u32, u32> = extends.map(|trex| (trex.track_id, trex.default_sample_duration)).collect();
    let tracks = moov.trak.iter().map(|trak| {
        let times = trak.mdia.minf.stbl.stts.entries.iter();
        let track = Track {
            timescale: trak.mdia.mdhd.timescale,
            default_duration: defaults.get(&trak.tkhd.track_id).copied().unwrap_or(0),
            video: trak.mdia.hdlr.handler == mp4_atom::FourCC::new(b"vide"),
            described: times
                .map(|entry| u64::from(entry.sample_count).saturating_mul(entry.sample_delta.into()))
                .fold(0, u64::saturating_add),
        };
        (trak.tkhd.track_id, track)
    });
    Tracks(tracks.collect())
}

/// Where a track's fragments begin and end, and how long their samples are together, in ticks.
#[derive(Default)]
struct Span {
    samples: u64,
    first: Option<u64>,
    end: u64,
}

fn timed(tracks: &Tracks, fragments: &[Traf]) -> Option<Vec<TrackLength>> {
    let mut spans: BTreeMap<u32, Span> = BTreeMap::new();
    for traf in fragments {
        let track = tracks.0.get(&traf.tfhd.track_id)?;
        let default = traf.tfhd.default_sample_duration.unwrap_or(track.default_duration);
        let ticks = traf.trun.iter().map(|run| run_ticks(run, default)).fold(0, u64::saturating_add);
        let span = spans.entry(traf.tfhd.track_id).or_default();
        span.samples = span.samples.saturating_add(ticks);
        if let Some(start) = &traf.tfdt {
            let start = start.base_media_decode_time;
            span.first = Some(span.first.map_or(start, |first| first.min(start)));
            span.end = span.end.max(start.saturating_add(ticks));
        }
    }
    let lengths = tracks.0.iter().map(|(id, track)| {
        // Gaps between fragments are play time too: a player shows the last picture until the next one is due.
        let spanned = spans.get(id).map_or(0, |span| {
            let gap = span.end.saturating_sub(span.first.unwrap_or(span.end));
            span.samples.max(gap)
        });
        let ms = ticks_to_ms(spanned.max(track.described), track.timescale.into())?;
        Some(TrackLength { video: track.video, ms })
    });
    // A track that is not in this segment says nothing about it.
    Some(lengths.collect::<Option<Vec<_>>>()?.into_iter().filter(|length| length.ms > 0).collect())
}

fn run_ticks(run: &mp4_atom::Trun, default: u32) -> u64 {
    match &run.samples {
        mp4_atom::TrunSamples::Inherited { count, .. } => u64::from(*count).saturating_mul(default.into()),
        mp4_atom::TrunSamples::Explicit(samples) => {
            samples.iter().map(|sample| u64::from(sample.duration.unwrap_or(default))).fold(0, u64::saturating_add)
        }
    }
}
