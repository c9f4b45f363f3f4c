//! MPEG transport streams (ISO/IEC 13818-1): 188-byte packets; the presentation times stand in the headers of the
//! elementary streams' packets (PES). The span between the first and the last, and one frame more, is the play time.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};

use super::{Extent, TrackLength, ticks_to_ms};

const PACKET: usize = 188;
const SYNC: u8 = 0x47;
/// How many bytes must be seen to tell a transport stream: two packets' beginnings.
pub(super) const LOOK: u64 = 189;
/// The longest transport stream that is measured, in bytes; a longer one is estimated.
const MAX_BYTES: u64 = 256 << 20;
/// How many packets are read at once.
const BATCH: u64 = 188 * 2048;
/// Ticks per second of presentation times.
const CLOCK: u64 = 90_000;
/// Presentation times are 33 bits long and start again from 0.
const WRAP: i64 = 1 << 33;

/// The presentation times seen in one stream, counted from the first one.
struct Times {
    video: bool,
    first: i64,
    least: i64,
    greatest: i64,
    count: u64,
}

/// Whether a file that begins with these bytes is a transport stream.
pub(super) fn is_transport_stream(start: &[u8]) -> bool {
    start.first() == Some(&SYNC) && start.get(PACKET) == Some(&SYNC)
}

/// The length of every stream; empty if the packets lose their step.
pub(super) fn lengths<R: Read + Seek>(file: &mut Extent<R>) -> io::Result<Vec<TrackLength>> {
    let mut streams: BTreeMap<u16, Times> = BTreeMap::new();
    if file.len() > MAX_BYTES {
        return Ok(Vec::new());
    }
    let mut offset: u64 = 0;
    while offset < file.len() {
        let batch = file.read_at(offset, BATCH)?;
        for packet in batch.chunks_exact(PACKET) {
            if packet.first() != Some(&SYNC) {
                return Ok(Vec::new());
            }
            if let Some((pid, video, pts)) = presentation_time(packet) {
                note(&mut streams, pid, video, pts);
            }
        }
        offset = offset.saturating_add(BATCH);
    }
    Ok(streams.values().filter_map(length).collect())
}

fn note(streams: &mut BTreeMap<u16, Times>, pid: u16, video: bool, pts: i64) {
    let times = streams.entry(pid).or_insert(Times { video, first: pts, least: 0, greatest: 0, count: 0 });
    // The nearest way round the clock: frames come a little out of order, and the clock may start again in between.
    let half = WRAP.div_euclid(2);
    let since = pts.saturating_sub(times.first).saturating_add(half).rem_euclid(WRAP).saturating_sub(half);
    times.least = times.least.min(since);
    times.greatest = times.greatest.max(since);
    times.count = times.count.saturating_add(1);
}

/// The span, and the mean distance of two frames for the last one. A single frame has no length of its own.
fn length(times: &Times) -> Option<TrackLength> {
    let span = u64::try_from(times.greatest.saturating_sub(times.least)).ok()?;
    let between = times.count.checked_sub(1).filter(|n| *n > 0)?;
    let ticks = span.checked_mul(times.count)?.div_ceil(between);
    Some(TrackLength { video: times.video, ms: ticks_to_ms(ticks, CLOCK)? })
}

/// The stream, whether it is video, and the presentation time, if a PES packet with one begins in this packet.
fn presentation_time(packet: &[u8]) -> Option<(u16, bool, i64)> {
    let &[_, flags, low, control, ..] = packet else { return None };
    let starts = flags & 0x40 != 0;
    let has_payload = control & 0x10 != 0;
    if !starts || !has_payload {
        return None;
    }
    let adaptation = if control & 0x20 != 0 { usize::from(*packet.get(4)?).checked_add(1)? } else { 0 };
    let pes = packet.get(adaptation.checked_add(4)?..)?;
    let &[0, 0, 1, stream, _, _, _, with, _, a, b, c, d, e, ..] = pes else { return None };
    // Audio, video, private (AC-3) and extended streams carry times.
    if !matches!(stream, 0xbd | 0xc0..=0xef | 0xfd) || with & 0x80 == 0 {
        return None;
    }
    let [a, b, c, d, e] = [a, b, c, d, e].map(i64::from);
    let pts = (a & 0x0e) << 29 | b << 22 | (c & 0xfe) << 14 | d << 7 | e >> 1;
    let pid = u16::from_be_bytes([flags & 0x1f, low]);
    Some((pid, matches!(stream, 0xe0..=0xef), pts))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::Slice;
    use super::*;

    /// A packet of stream 256 that begins a video PES with this time.
    fn packet(pts: u64) -> Vec<u8> {
        let byte = |value: u64| u8::try_from(value & 0xff).unwrap();
        let mut bytes = vec![SYNC, 0x41, 0x00, 0x10, 0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5];
        bytes.push(0x21 | byte((pts >> 29) & 0x0e));
        bytes.extend([byte(pts >> 22), byte(pts >> 14) | 1, byte(pts >> 7), byte(pts << 1) | 1]);
        bytes.resize(PACKET, 0xff);
        bytes
    }

    fn measure(times: &[u64]) -> Vec<TrackLength> {
        let bytes: Vec<u8> = times.iter().flat_map(|pts| packet(*pts)).collect();
        let len = u64::try_from(bytes.len()).unwrap();
        lengths(&mut Extent::new(Cursor::new(bytes), Slice { start: 0, len })).unwrap()
    }

    #[test]
    fn the_span_counts_whatever_the_order_and_across_the_clocks_end() {
        let second = [TrackLength { video: true, ms: 1000 }];
        assert_eq!(measure(&[0, 30_000, 60_000]), second);
        assert_eq!(measure(&[30_000, 0, 60_000]), second);
        assert_eq!(measure(&[(1 << 33) - 30_000, 0, 30_000]), second);
        assert_eq!(measure(&[7]), [], "one frame tells nothing");
    }

    #[test]
    fn a_stream_out_of_step_is_not_measured() {
        let mut bytes = packet(0);
        bytes.extend(packet(90_000));
        bytes[PACKET] = 0;
        let len = u64::try_from(bytes.len()).unwrap();
        assert!(!is_transport_stream(&bytes));
        assert_eq!(lengths(&mut Extent::new(Cursor::new(bytes), Slice { start: 0, len })).unwrap(), []);
    }
}
