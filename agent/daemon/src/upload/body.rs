//! A part's bytes on their way out of its file, at the pace.
//!
//! Without TLS the kernel takes them straight from the file to the socket (`sendfile`) and they are never copied here;
//! with TLS they pass through one block of memory.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lectern_base::clock;
use rustix::fs::{Advice, fadvise, sendfile};
use rustix::io::{Errno, pread, retry_on_intr};
use tokio::io::{AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;

use super::error::UploadError;
use super::line::STALL;
use super::pace::Pace;
use super::turns::Turn;

/// Read at once where the bytes are encrypted.
const BLOCK: u64 = 256 * 1024;
/// The kernel reads at least so much of a file when one byte of it is asked for.
const READ_AHEAD: usize = 64 * 1024;

/// A part's bytes in its take's file.
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub size: u64,
}

/// A [`Source`] that is open, and what lets it go.
pub struct Body<'p> {
    source: Source,
    file: File,
    pace: &'p Pace,
    progress: Progress,
    turn: Mutex<Option<Turn>>,
}

/// Why a body did not get out.
pub enum Broken {
    /// Its file.
    File(UploadError),
    /// The line.
    Line(io::Error),
}

impl From<io::Error> for Broken {
    fn from(e: io::Error) -> Self {
        Self::Line(e)
    }
}

impl<'p> Body<'p> {
    /// Opens the file, and waits here for the disk, so that nothing does later: what sends must not block.
    /// `turn` is given back when all its bytes are out.
    pub async fn open(source: Source, turn: Turn, pace: &'p Pace) -> Result<Self, UploadError> {
        let opened = tokio::task::spawn_blocking(move || {
            let file = File::open(&source.path).and_then(|file| fetch(&file, &source).map(|()| file));
            (file, source)
        });
        let (file, source) =
            opened.await.map_err(|e| UploadError::Network(format!("opening broke off: {e}")))?;
        let file = file.map_err(|e| UploadError::file(&source.path, e))?;
        Ok(Self { progress: Progress::new(source.size), source, file, pace, turn: Mutex::new(Some(turn)) })
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.source.size
    }

    /// How far it is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Begins again.
    pub fn again(&mut self) {
        self.progress = Progress::new(self.source.size);
    }

    /// Sends it by the kernel's hand.
    pub async fn straight(&self, socket: &TcpStream) -> Result<(), Broken> {
        let (mut at, end) = (self.source.offset, self.source.offset + self.source.size);
        while at < end {
            let piece = self.piece(end - at).await;
            let until = at + piece;
            while at < until {
                let left = usize::try_from(until - at).unwrap_or(usize::MAX);
                let send = || Ok(retry_on_intr(|| sendfile(socket, &self.file, Some(&mut at), left))?);
                match socket.async_io(Interest::WRITABLE, send).await {
                    Ok(0) => return Err(self.file_broke(io::ErrorKind::UnexpectedEof.into())),
                    Ok(sent) => self.progress.went(sent),
                    Err(e) if e.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                        return Err(self.file_broke(e));
                    }
                    Err(e) => return Err(Broken::Line(e)),
                }
            }
        }
        self.out();
        Ok(())
    }

    /// Sends it through memory.
    pub async fn through(&self, line: &mut (impl AsyncWrite + Unpin)) -> Result<(), Broken> {
        let (mut at, end) = (self.source.offset, self.source.offset + self.source.size);
        let mut block = Vec::new();
        while at < end {
            let piece = self.piece((end - at).min(BLOCK)).await;
            block.resize(usize::try_from(piece).unwrap_or(0), 0);
            let read = retry_on_intr(|| pread(&self.file, &mut block[..], at))
                .map_err(|e| self.file_broke(e.into()))?;
            if read == 0 {
                return Err(self.file_broke(io::ErrorKind::UnexpectedEof.into()));
            }
            line.write_all(&block[..read]).await?;
            self.progress.went(read);
            at += read as u64;
        }
        line.flush().await?;
        self.out();
        Ok(())
    }

    /// All is out: the next may go while the answer comes.
    fn out(&self) {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Waits until a piece may go; answers its bytes.
    async fn piece(&self, left: u64) -> u64 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(self.pace.piece());
        self.pace.leave(piece).await;
        piece as u64
    }

    fn file_broke(&self, e: io::Error) -> Broken {
        Broken::File(UploadError::file(&self.source.path, e))
    }
}

/// Brings a part into the kernel's memory, where it mostly is already.
fn fetch(file: &File, source: &Source) -> io::Result<()> {
    let end = source.offset + source.size;
    if let Err(e) = fadvise(file, source.offset, NonZeroU64::new(source.size), Advice::WillNeed) {
        tracing::debug!("the disk is not told what will be needed: {e}");
    }
    for at in (source.offset..end).step_by(READ_AHEAD).chain([end.saturating_sub(1)]) {
        if source.size > 0 && retry_on_intr(|| pread(file, &mut [0_u8; 1], at))? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// How far a part is.
pub struct Progress {
    left: AtomicU64,
    /// When it began and when the last piece went, milliseconds on the monotonic clock.
    began: u64,
    last: AtomicU64,
}

fn now_ms() -> u64 {
    u64::try_from(clock::mono().as_millis()).unwrap_or(u64::MAX)
}

impl Progress {
    fn new(size: u64) -> Self {
        let now = now_ms();
        Self { left: AtomicU64::new(size), began: now, last: AtomicU64::new(now) }
    }

    fn went(&self, bytes: usize) {
        self.left.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.last.store(now_ms(), Ordering::Relaxed);
    }

    /// Whether no byte went yet.
    pub fn untouched(&self, size: u64) -> bool {
        self.left() == size
    }

    fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Comes back when nothing moves any more, with the sentence.
    pub async fn stalled(&self) -> String {
        let stall = u64::try_from(STALL.as_millis()).unwrap_or(u64::MAX);
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let last = self.last.load(Ordering::Relaxed);
            let still = now_ms().saturating_sub(last);
            let out = self.left() == 0;
            // What is out may still lie in buffers here, and takes no longer than what went before.
            let patience = if out { stall + 2 * last.saturating_sub(self.began) } else { stall };
            if still > patience {
                let what = if out { "no answer came" } else { "nothing moved" };
                return format!("{what} for {} s", still / 1000);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::super::turns::Turns;
    use super::*;

    fn part(folder: &tempfile::TempDir, promised: u64) -> (Source, Vec<u8>) {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7 / 3) as u8).collect();
        let path = folder.path().join("take-1.mp4");
        std::fs::write(&path, &bytes).expect("a file");
        (Source { path, offset: 1000, size: promised }, bytes)
    }

    async fn turn() -> Turn {
        Turns::new(1).next().await.expect("a turn")
    }

    #[tokio::test]
    async fn both_ways_bring_just_these_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, bytes) = part(&folder, 2_500_000);
        let wanted = bytes[1000..2_501_000].to_vec();
        let pace = Pace::default();
        let body = Body::open(source, turn().await, &pace).await.expect("open");

        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let there = server.local_addr().expect("an address");
        let receive = tokio::spawn(async move {
            let mut got = Vec::new();
            server.accept().await.expect("accepted").0.read_to_end(&mut got).await.expect("read");
            got
        });
        let socket = TcpStream::connect(there).await.expect("connected");
        assert!(body.straight(&socket).await.is_ok());
        drop(socket);
        assert!(receive.await.expect("received") == wanted);

        let (mut near, mut far) = tokio::io::duplex(1000);
        let receive = tokio::spawn(async move {
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.expect("read");
            got
        });
        assert!(body.through(&mut near).await.is_ok());
        drop(near);
        assert!(receive.await.expect("received") == wanted);
        assert_eq!(pace.moved(), 5_000_000);
    }

    #[tokio::test]
    async fn a_file_that_ends_too_early_is_the_files_fault() {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, _) = part(&folder, 3_000_000);
        assert!(matches!(
            Body::open(source, turn().await, &Pace::default()).await,
            Err(UploadError::File { .. })
        ));
        // It is cut once it is open.
        let (source, _) = part(&folder, 2_500_000);
        let path = source.path.clone();
        let pace = Pace::default();
        let body = Body::open(source, turn().await, &pace).await.expect("open");
        File::options().write(true).open(path).and_then(|f| f.set_len(5000)).expect("cut");
        let (mut near, _far) = tokio::io::duplex(1 << 20);
        assert!(matches!(body.through(&mut near).await, Err(Broken::File(_))));
    }
}
