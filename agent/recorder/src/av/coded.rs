//! Reads and completes what a stream says of its coded pictures.
#![expect(unsafe_code, reason = "a codec's parameters have no safe accessors for these fields")]

use anyhow::{Context as _, ensure};
use ffmpeg_next::{
    Packet,
    codec::{self, Parameters},
    frame,
};

/// The codec's own header: two streams with the same one can be joined.
pub fn header(parameters: &Parameters) -> Vec<u8> {
    // SAFETY: extradata is either null or points to extradata_size bytes that live as long as the parameters.
    unsafe {
        let raw = &*parameters.as_ptr();
        match usize::try_from(raw.extradata_size) {
            Ok(size) if size > 0 && !raw.extradata.is_null() => {
                std::slice::from_raw_parts(raw.extradata, size).to_vec()
            }
            _ => Vec::new(),
        }
    }
}

/// Decodes one key frame alone.
pub fn decode(parameters: &Parameters, key: &Packet) -> anyhow::Result<frame::Video> {
    let mut decoder = codec::context::Context::from_parameters(parameters.clone())?.decoder().video()?;
    decoder.send_packet(key).context("a key frame of the camera cannot be decoded")?;
    decoder.send_eof()?;
    let mut picture = frame::Video::empty();
    decoder.receive_frame(&mut picture).context("a key frame of the camera cannot be decoded")?;
    Ok(picture)
}

/// The parameters with the picture's shape, which a stream need not say, taken from a decoded picture.
pub fn with_shape(mut parameters: Parameters, picture: &frame::Video) -> anyhow::Result<Parameters> {
    ensure!(!header(&parameters).is_empty(), "the camera does not say the form of its pictures in advance");
    let (width, height) = (i32::try_from(picture.width())?, i32::try_from(picture.height())?);
    // SAFETY: plain fields of parameters that are ours alone; a tag of its container means nothing in ours.
    unsafe {
        let raw = &mut *parameters.as_mut_ptr();
        (raw.width, raw.height, raw.codec_tag) = (width, height, 0);
    }
    Ok(parameters)
}
