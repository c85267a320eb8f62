//! What a decoder must know beforehand, to compare two tracks.
#![expect(unsafe_code, reason = "the extra data of codec parameters has no safe accessor")]

use ffmpeg_next::codec;

/// Whether packets of one track can be decoded with the parameters of the other.
pub fn same(one: &codec::Parameters, other: &codec::Parameters) -> bool {
    describe(one) == describe(other)
}

type Description = (codec::Id, i32, i32, i32, Vec<u8>);

fn describe(parameters: &codec::Parameters) -> Description {
    // SAFETY: live parameters, whose extra data is as long as they say.
    unsafe {
        let p = &*parameters.as_ptr();
        let length = usize::try_from(p.extradata_size).unwrap_or(0);
        let extra = match p.extradata.is_null() {
            true => Vec::new(),
            false => std::slice::from_raw_parts(p.extradata, length).to_vec(),
        };
        (parameters.id(), p.width, p.height, p.sample_rate, extra)
    }
}
