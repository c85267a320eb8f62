//! The ffmpeg command line for what the recorder does: same sources, same graph, same encoder settings.
//!
//! What stands here is held against the recorder in every run: x264 writes the settings it was really given
//! into each file, and [`super::recording`] refuses to compare files where they differ.
//!
//! The order of the inputs matters. ffmpeg starts each at zero when its first picture comes; a camera opened
//! after the screen would be a second behind it for ever, overlay would wait for it, and the screen's queue would
//! overflow: measured, 65 pictures of the screen in 12 s, the rest repeated. So the camera is opened first; and
//! `vfr` writes no picture twice, so that lost ones are seen.

use lectern_tests::World;
use lectern_tests::sound::MICROPHONE;

/// Picture and sound of the master profile.
pub const WIDTH: u32 = 1920;
/// See [`WIDTH`].
pub const HEIGHT: u32 = 1080;
/// See [`WIDTH`].
pub const FPS: u32 = 25;
/// See [`WIDTH`].
pub const MAX_KBPS: u32 = 4000;
/// See [`WIDTH`].
pub const GOP_S: u32 = 2;
/// See [`WIDTH`].
pub const SOUND_KBPS: u32 = 128;

/// ffmpeg's arguments, without the output file.
pub fn arguments(world: &World, with_camera: bool, seconds: u32) -> Vec<String> {
    let display = world.screen.display();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // As the recorder chooses: see x264_options in its encode.rs.
    let preset = if cores < 4 { "ultrafast" } else { "superfast" };
    let threads = cores.clamp(1, 4);
    // Inputs by number: camera (where there is one), microphone, screen.
    let (sound, screen) = if with_camera { (1, 2) } else { (0, 1) };
    // As the recorder's: nothing is scaled where the size stays, so nothing need be filtered.
    let mut graph = format!(
        "[{screen}:v]scale={WIDTH}:{HEIGHT}:flags=neighbor:in_range=pc:out_range=tv:out_color_matrix=bt709,\
         format=yuv420p"
    );
    let mut line = "-hide_banner -nostdin -loglevel error -y".to_owned();
    if with_camera {
        line += &format!(
            " -thread_queue_size 512 -rtsp_transport tcp -timeout 5000000 -i {}",
            world.camera.url()
        );
        // A quarter of the picture's width in the lower right corner, a fiftieth from the edges.
        let (width, height, margin) = (WIDTH / 4, WIDTH / 4 * 9 / 16, (WIDTH / 50) & !1);
        let (x, y) = ((WIDTH - width - margin) & !1, (HEIGHT - height - margin) & !1);
        // overlay takes only pictures with an alpha plane; made here they cost no second conversion.
        graph += &format!(
            "[s];[0:v]scale={width}:{height}:flags=bilinear:out_color_matrix=bt709,format=yuva420p[c];\
             [s][c]overlay={x}:{y}:format=yuv420:eof_action=pass"
        );
    }
    line += &format!(
        " -thread_queue_size 512 -f pulse -sample_rate 48000 -channels 2 -fragment_size 3840 -i {MICROPHONE} \
         -f x11grab -framerate {FPS} -draw_mouse 1 -i {display}"
    );
    line += &format!(
        " -filter_complex {graph}[v] -map [v] -map {sound}:a -af aresample=async=1 -fps_mode vfr \
         -c:v libx264 -preset {preset} -tune zerolatency -profile:v high -crf 23 \
         -maxrate {MAX_KBPS}k -bufsize {}k -sc_threshold 0 -forced-idr 1 -threads:v {threads} -bf 0 -g {} \
         -force_key_frames expr:gte(t,n_forced*{GOP_S}) \
         -colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv \
         -c:a aac -aac_coder fast -b:a {SOUND_KBPS}k -ar 48000 -ac 2 \
         -movflags +empty_moov+default_base_moof -frag_duration 1000000 -t {seconds}",
        MAX_KBPS * 2,
        FPS * GOP_S * 2,
    );
    line.split_whitespace().map(ToOwned::to_owned).collect()
}
