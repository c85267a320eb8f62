//! The HLS playlist of a lesson (RFC 8216): byte ranges of the takes themselves, no second copy.
//!
//! Every segment starts at a fragment whose picture can be decoded alone and takes the following
//! ones along. Each take has its own initialisation boxes, so each starts a discontinuity.

use std::fmt::Write as _;

use lectern_wire::manifest::{Manifest, Take};

/// The playlist; media addresses are relative to it.
#[must_use]
pub fn hls(manifest: &Manifest) -> String {
    let segments: Vec<(&Take, Vec<Segment>)> =
        manifest.takes.iter().map(|take| (take, segments(take))).collect();
    let longest = segments.iter().flat_map(|(_, s)| s).map(|s| s.length_ms).max().unwrap_or(0);
    let mut out =
        String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    // Writing to a String cannot fail; the results are dropped by `ok`.
    writeln!(out, "#EXT-X-TARGETDURATION:{}", longest.div_ceil(1000).max(1)).ok();
    for (k, (take, segments)) in segments.iter().enumerate() {
        let Some(first) = take.fragments.first() else { continue };
        if k > 0 {
            out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        let uri = format!("takes/{}.mp4", take.n);
        writeln!(out, "#EXT-X-MAP:URI=\"{uri}\",BYTERANGE=\"{}@0\"", first.offset).ok();
        for s in segments {
            writeln!(out, "#EXTINF:{}.{:03},", s.length_ms / 1000, s.length_ms % 1000).ok();
            writeln!(out, "#EXT-X-BYTERANGE:{}@{}\n{uri}", s.bytes, s.offset).ok();
        }
    }
    out.push_str("#EXT-X-ENDLIST\n");
    out
}

struct Segment {
    start_ms: u64,
    offset: u64,
    bytes: u64,
    length_ms: u64,
}

fn segments(take: &Take) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::new();
    for f in &take.fragments {
        match out.last_mut() {
            Some(last) if !f.key => last.bytes += f.length,
            _ => out.push(Segment { start_ms: f.start_ms, offset: f.offset, bytes: f.length, length_ms: 0 }),
        }
    }
    let ends: Vec<u64> = out.iter().skip(1).map(|s| s.start_ms).chain([take.duration_ms]).collect();
    for (segment, end) in out.iter_mut().zip(ends) {
        segment.length_ms = end.saturating_sub(segment.start_ms);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit;

    #[test]
    fn segments_start_at_key_fragments_and_takes_are_discontinuities() {
        let (manifest, _) = testkit::manifest("l1", &[(4, 50), (3, 60)]);
        let text = hls(&manifest);
        let want = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-TARGETDURATION:2\n\
            #EXT-X-MAP:URI=\"takes/1.mp4\",BYTERANGE=\"100@0\"\n\
            #EXTINF:2.000,\n#EXT-X-BYTERANGE:100@100\ntakes/1.mp4\n\
            #EXTINF:2.000,\n#EXT-X-BYTERANGE:100@200\ntakes/1.mp4\n\
            #EXT-X-DISCONTINUITY\n\
            #EXT-X-MAP:URI=\"takes/2.mp4\",BYTERANGE=\"100@0\"\n\
            #EXTINF:2.000,\n#EXT-X-BYTERANGE:120@100\ntakes/2.mp4\n\
            #EXTINF:1.000,\n#EXT-X-BYTERANGE:60@220\ntakes/2.mp4\n\
            #EXT-X-ENDLIST\n";
        assert_eq!(text, want);
    }
}
