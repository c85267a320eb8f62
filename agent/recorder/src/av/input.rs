//! Opens devices and streams by libav's name for them, with a bound on how long any call may block.
//!
//! ffmpeg-next's own `open_with` cannot take an interrupt, and its interruptible variants cannot
//! name a device; hence the foreign calls.
#![expect(
    unsafe_code,
    reason = "avformat_open_input with a device name and an interrupt has no safe wrapper"
)]

use std::ffi::{CString, c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use ffmpeg_next::{self as ffmpeg, Packet, ffi, format::context, media};
use lectern_base::clock;

/// How long libav may block, and whether it should give up now.
#[derive(Debug, Default)]
pub struct Patience {
    until_ms: AtomicU64,
    over: AtomicBool,
}

impl Patience {
    /// Calls may block for this long from now.
    pub fn renew(&self, length: Duration) {
        let until = clock::mono() + length;
        self.until_ms.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Every blocking call gives up at once.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether [`Patience::end`] was called.
    pub fn ended(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Whether it is over: the time has passed, or [`Patience::end`] was called.
    pub fn lost(&self) -> bool {
        let now = u64::try_from(clock::mono().as_millis()).unwrap_or(0);
        self.ended() || now > self.until_ms.load(Ordering::Relaxed)
    }
}

/// libav polls this; it must not panic, and does nothing that could.
pub(super) extern "C" fn interrupted(patience: *mut c_void) -> c_int {
    // SAFETY: `patience` is the Arc held by the Input or Outgoing whose context calls this.
    c_int::from(unsafe { &*patience.cast::<Patience>() }.lost())
}

/// An open device or stream.
pub struct Input {
    // Dropped before `patience`, which its interrupt callback points to.
    context: context::Input,
    patience: Arc<Patience>,
    /// Packets lie in the driver's memory, which goes when the device is closed.
    lent: bool,
}

/// What a raw video device says of its pictures: packed pixels of known shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw {
    /// Pixel format.
    pub format: ffmpeg::format::Pixel,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

impl Input {
    /// Opens `url` with the input format of that name (`None`: by its scheme).
    pub fn open(
        format: Option<&str>,
        url: &str,
        options: &[(&str, &str)],
        patience: Arc<Patience>,
    ) -> anyhow::Result<Self> {
        let url = CString::new(url).context("an address holds a zero byte")?;
        let name = format.map(CString::new).transpose().context("a format name holds a zero byte")?;
        let mut dictionary = ffmpeg::Dictionary::new();
        for (key, value) in options {
            dictionary.set(key, value);
        }
        // SAFETY: the context is allocated here and either handed to avformat_open_input, which
        // frees it on failure, or wrapped, which frees it on drop. `patience` outlives it in Self.
        unsafe {
            let input_format = match &name {
                Some(name) => {
                    let found = ffi::av_find_input_format(name.as_ptr());
                    if found.is_null() {
                        bail!("this libav has no {} input", name.to_string_lossy());
                    }
                    found
                }
                None => std::ptr::null(),
            };
            let mut context = ffi::avformat_alloc_context();
            if context.is_null() {
                bail!("no memory for an input");
            }
            // These wait inside the driver, where no interrupt reaches them. Told not to, they say "again".
            if matches!(format, Some("v4l2" | "alsa")) {
                (*context).flags |= ffi::AVFMT_FLAG_NONBLOCK as c_int;
            }
            (*context).interrupt_callback = ffi::AVIOInterruptCB {
                callback: Some(interrupted),
                opaque: Arc::as_ptr(&patience).cast_mut().cast(),
            };
            let mut options = dictionary.disown();
            let code = ffi::avformat_open_input(
                &raw mut context,
                url.as_ptr(),
                input_format.cast_mut(),
                &raw mut options,
            );
            drop(ffmpeg::Dictionary::own(options));
            if code < 0 {
                return Err(anyhow!("{}", ffmpeg::Error::from(code)));
            }
            let lent = name.is_some_and(|name| name.as_bytes() == b"v4l2");
            Ok(Self { context: context::Input::wrap(context), patience, lent })
        }
    }

    /// Reads ahead until the streams' parameters are known; devices do not need it.
    pub fn find_streams(&mut self) -> anyhow::Result<()> {
        // SAFETY: the context is open and belongs to this thread.
        let code = unsafe { ffi::avformat_find_stream_info(self.context.as_mut_ptr(), std::ptr::null_mut()) };
        if code < 0 { Err(anyhow!("{}", ffmpeg::Error::from(code))) } else { Ok(()) }
    }

    /// The index and parameters of the first stream of a kind.
    pub fn stream(&self, kind: media::Type) -> Option<(usize, ffmpeg::codec::Parameters)> {
        self.context.streams().find(|s| s.parameters().medium() == kind).map(|s| (s.index(), s.parameters()))
    }

    /// The base of a stream's times.
    pub fn base(&self, index: usize) -> ffmpeg::Rational {
        self.context.stream(index).map_or(ffmpeg::Rational(1, 90_000), |s| s.time_base())
    }

    /// The shape of a raw video stream's pictures.
    pub fn raw(&self, parameters: &ffmpeg::codec::Parameters) -> Raw {
        // SAFETY: reading plain fields of live parameters.
        unsafe {
            let p = &*parameters.as_ptr();
            let format = std::mem::transmute::<c_int, ffi::AVPixelFormat>(p.format);
            Raw {
                format: format.into(),
                width: u32::try_from(p.width).unwrap_or(0),
                height: u32::try_from(p.height).unwrap_or(0),
            }
        }
    }

    /// The next packet; blocks at most as long as the patience allows.
    pub fn read(&mut self, patience: Duration) -> anyhow::Result<Packet> {
        self.patience.renew(patience);
        // A new packet each time: reading into a used one leaks it.
        let mut packet = Packet::empty();
        loop {
            match packet.read(&mut self.context) {
                // Copied, so that a picture may be kept longer than its camera is open; clone copies deeply.
                Ok(()) if self.lent => return Ok(packet.clone()),
                Ok(()) => return Ok(packet),
                Err(ffmpeg::Error::Other { errno: ffi::EAGAIN }) if !self.patience.lost() => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(ffmpeg::Error::Exit) => bail!("nothing arrived for {} s", patience.as_secs()),
                Err(e) => return Err(anyhow!("{e}")),
            }
        }
    }
}
