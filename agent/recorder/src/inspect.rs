//! Decodes a take back: the proof that what is durable can be seen and heard.
//!
//! All packets are walked. Of the picture, key frames spread over the take and everything after the
//! last of them are decoded; of the sound, everything.

use std::path::Path;

use anyhow::{Context as _, ensure};
use ffmpeg_next::{self as ffmpeg, codec, format, frame, media::Type};
use lectern_wire::recorder::Inspection;

/// Key frames decoded at most; the last run of pictures comes on top.
const MAX_KEYS: usize = 30;

/// Prints the [`Inspection`] as one JSON line.
pub fn run(file: &Path) -> anyhow::Result<()> {
    let inspection =
        inspect(file).with_context(|| format!("{} could not be decoded back", file.display()))?;
    println!("{}", serde_json::to_string(&inspection)?);
    Ok(())
}

fn inspect(file: &Path) -> anyhow::Result<Inspection> {
    ensure!(file.to_str().is_some_and(|name| !name.contains('\0')), "the file's name is not UTF-8");
    let mut input = format::input(file)?;
    let video = input.streams().best(Type::Video).context("there is no picture")?;
    let audio = input.streams().best(Type::Audio).context("there is no sound")?;
    let (video_index, video_base, audio_index) = (video.index(), video.time_base(), audio.index());
    let mut pictures = codec::context::Context::from_parameters(video.parameters())?.decoder().video()?;
    let mut sound = codec::context::Context::from_parameters(audio.parameters())?.decoder().audio()?;

    let keys = {
        let mut walk = format::input(file)?;
        let keys: Vec<i64> = walk
            .packets()
            .filter(|(stream, packet)| stream.index() == video_index && packet.is_key())
            .filter_map(|(_, packet)| packet.dts())
            .collect();
        keys
    };
    let last_key = keys.last().copied().context("there is no key frame")?;
    let step = keys.len().div_ceil(MAX_KEYS);
    let chosen: Vec<i64> = keys.iter().copied().step_by(step).collect();

    let mut out = Inspection {
        video_ms: 0,
        audio_ms: 0,
        video_packets: 0,
        decoded_pictures: 0,
        decoded_samples: 0,
        width: pictures.width(),
        height: pictures.height(),
        peak_cdbfs: 0,
    };
    let mut end = 0;
    let mut peak = 0f32;
    for (stream, packet) in input.packets() {
        if stream.index() == audio_index {
            sound.send_packet(&packet).context("sound is damaged")?;
            hear(&mut sound, &mut out, &mut peak);
        } else if stream.index() == video_index {
            out.video_packets += 1;
            let dts = packet.dts().context("a picture has no time")?;
            end = end.max(dts + packet.duration());
            if dts >= last_key || chosen.binary_search(&dts).is_ok() {
                if packet.is_key() {
                    pictures.flush();
                }
                pictures.send_packet(&packet).context("a picture is damaged")?;
                // A key frame alone stays in the decoder until it is told that no more comes.
                if dts < last_key {
                    pictures.send_eof()?;
                }
                see(&mut pictures, &mut out);
            }
        }
    }
    pictures.send_eof()?;
    see(&mut pictures, &mut out);
    sound.send_eof()?;
    hear(&mut sound, &mut out, &mut peak);
    let video_ms = end * 1000 * i64::from(video_base.0) / i64::from(video_base.1).max(1);
    out.video_ms = u64::try_from(video_ms).unwrap_or(0);
    out.audio_ms = out.decoded_samples * 1000 / u64::from(sound.rate().max(1));
    out.peak_cdbfs = if peak > 0.0 { (2000.0 * peak.log10()) as i32 } else { -10_000 };
    ensure!(out.decoded_pictures > 0, "no picture could be decoded");
    Ok(out)
}

fn see(decoder: &mut ffmpeg::decoder::Video, out: &mut Inspection) {
    let mut picture = frame::Video::empty();
    while decoder.receive_frame(&mut picture).is_ok() {
        out.decoded_pictures += 1;
    }
}

fn hear(decoder: &mut ffmpeg::decoder::Audio, out: &mut Inspection, peak: &mut f32) {
    let mut sound = frame::Audio::empty();
    while decoder.receive_frame(&mut sound).is_ok() {
        out.decoded_samples += sound.samples() as u64;
        if sound.format() == format::Sample::F32(format::sample::Type::Planar) {
            for channel in 0..sound.planes() {
                *peak = sound.plane::<f32>(channel).iter().fold(*peak, |p, s| p.max(s.abs()));
            }
        }
    }
}
