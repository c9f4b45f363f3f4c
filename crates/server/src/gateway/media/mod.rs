//! How long media really is, by what the media itself says.
//!
//! A playlist that lies about durations gains nothing: the price follows the timestamps that a player goes by. Reading
//! is bounded in bytes and in steps, whatever the file says about itself, and a file that cannot be understood is not
//! measured at all (`None`): then the price is an estimate, never zero.

pub(super) mod mp4;
mod ts;

use std::io::{self, Read, Seek, SeekFrom};

use super::piece::Slice;

/// A part of something readable, as if it were a file of its own.
pub(super) struct Extent<R> {
    inner: R,
    slice: Slice,
}

impl<R: Read + Seek> Extent<R> {
    /// A slice of `inner`.
    pub(super) fn new(inner: R, slice: Slice) -> Self {
        Self { inner, slice }
    }

    /// How many bytes it has.
    fn len(&self) -> u64 {
        self.slice.len
    }

    /// Reads up to `count` bytes from `offset`; fewer at the end.
    fn read_at(&mut self, offset: u64, count: u64) -> io::Result<Vec<u8>> {
        let count = count.min(self.slice.len.saturating_sub(offset));
        self.inner.seek(SeekFrom::Start(self.slice.start.saturating_add(offset)))?;
        let mut bytes = Vec::new();
        self.inner.by_ref().take(count).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// How long one track of a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TrackLength {
    video: bool,
    ms: u64,
}

/// The play time of a segment in milliseconds, rounded up, or `None` if it cannot be told. `inits` are the initialisation
/// segments that might belong to it; the longest result counts.
pub(super) fn duration_ms<R: Read + Seek>(media: &mut Extent<R>, inits: &[mp4::Tracks]) -> io::Result<Option<u64>> {
    let start = media.read_at(0, ts::LOOK)?;
    let lengths = if ts::is_transport_stream(&start) {
        ts::lengths(media)?
    } else if mp4::begins_like_mp4(&start) {
        mp4::lengths(media, inits)?
    } else {
        Vec::new()
    };
    Ok(together(&lengths).filter(|ms| *ms > 0))
}

/// The pictures' length, or the sound's where that is more than half as long again. Sound is not cut where pictures
/// are: a segment carries some of the next one's, or the last one the rest. Over a stream this cancels out, so counting
/// it would charge for it twice.
fn together(lengths: &[TrackLength]) -> Option<u64> {
    let longest = |video| lengths.iter().filter(|l| l.video == video).map(|l| l.ms).max();
    match (longest(true), longest(false)) {
        (Some(pictures), Some(sound)) if sound.saturating_sub(pictures) <= pictures.div_euclid(2) => Some(pictures),
        (pictures, sound) => pictures.max(sound),
    }
}

/// `ticks` of `1 / per_second` seconds in milliseconds, rounded up.
fn ticks_to_ms(ticks: u64, per_second: u64) -> Option<u64> {
    let product = u128::from(ticks).checked_mul(1000)?;
    let whole = product.checked_div(per_second.into())?;
    let remainder = product.checked_rem(per_second.into())?;
    u64::try_from(whole).ok()?.checked_add(u64::from(remainder > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(video: bool, ms: u64) -> TrackLength {
        TrackLength { video, ms }
    }

    #[test]
    fn sound_counts_where_it_far_outlasts_the_pictures() {
        assert_eq!(together(&[track(true, 1000), track(false, 1500)]), Some(1000));
        assert_eq!(together(&[track(true, 1000), track(false, 1501)]), Some(1501));
        assert_eq!(together(&[track(true, 10), track(false, 9000)]), Some(9000));
        assert_eq!(together(&[track(true, 1000), track(false, 900)]), Some(1000));
        assert_eq!(together(&[track(false, 1003)]), Some(1003));
        assert_eq!(together(&[]), None);
    }

    #[test]
    fn ticks_round_up() {
        assert_eq!(ticks_to_ms(90_000, 90_000), Some(1000));
        assert_eq!(ticks_to_ms(90_001, 90_000), Some(1001));
        assert_eq!(ticks_to_ms(1, 0), None);
        assert_eq!(ticks_to_ms(u64::MAX, 1), None);
    }

    /// Every byte of the boxes (and of the packets' headers) changed in four ways, and every length cut short: whatever
    /// comes out, reading ends and takes no more memory than the file has.
    #[test]
    fn damaged_media_is_read_to_an_end() {
        let read = |path: &str| std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let measure = |bytes: &[u8], inits: &[mp4::Tracks]| {
            let slice = Slice { start: 0, len: u64::try_from(bytes.len()).unwrap() };
            let tracks = mp4::init_tracks(&mut Extent::new(io::Cursor::new(bytes), slice)).unwrap();
            let ms = duration_ms(&mut Extent::new(io::Cursor::new(bytes), slice), inits).unwrap();
            (tracks, ms)
        };
        let file = read("tests/fixtures/ranges/index.m4s");
        let inits: Vec<_> = measure(&file[..1337], &[]).0.into_iter().collect();
        for (sound, inits, expected) in [
            (file[1337..4060].to_vec(), inits.as_slice(), Some(1000)),
            (file[..1337].to_vec(), &[], None),
            (read("tests/fixtures/ts/second-1.ts"), &[], Some(1000)),
        ] {
            assert_eq!(measure(&sound, inits).1, expected);
            for at in 0..sound.len().min(2000) {
                measure(&sound[..at], inits);
                for change in [0x00, 0x01, 0x80, 0xff] {
                    let mut damaged = sound.clone();
                    damaged[at] ^= change;
                    if change == 0 {
                        damaged[at] = 0;
                    }
                    measure(&damaged, inits);
                }
            }
        }
    }
}
