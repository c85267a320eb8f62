//! The bytes of one sealed take, read by ranges, wherever they are.

use std::io::{self, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use axum::body;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use lectern_wire::PART_SIZE;
use lectern_wire::digest::Digest;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::runtime::Handle;
use tokio_util::io::ReaderStream;

use super::bucket::{Bucket, S3Error};
use super::read_part;

/// Bytes as they come.
pub type Bytes = Pin<Box<dyn Stream<Item = io::Result<body::Bytes>> + Send>>;

/// How often a range is asked for before it counts as unreadable.
const TRIES: u32 = 3;
/// Ranges that are on their way from an S3 store side by side.
const AHEAD: usize = 16;
/// Read from a file in one go.
const CHUNK: usize = 128 * 1024;

/// A sealed take. Cheap to clone; nothing is open.
#[derive(Debug, Clone)]
pub struct Source(Form);

#[derive(Debug, Clone)]
enum Form {
    File(PathBuf),
    S3 { bucket: Arc<Bucket>, key: String },
}

impl Source {
    pub(super) fn file(path: PathBuf) -> Self {
        Self(Form::File(path))
    }

    pub(super) fn s3(bucket: Arc<Bucket>, key: String) -> Self {
        Self(Form::S3 { bucket, key })
    }

    /// A range of it, as a stream. The stream ends early only with an error.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn stream(&self, start: u64, length: u64) -> io::Result<Bytes> {
        match &self.0 {
            Form::File(path) => {
                let mut file = tokio::fs::File::open(path).await?;
                file.seek(SeekFrom::Start(start)).await?;
                Ok(Box::pin(ReaderStream::with_capacity(file.take(length), CHUNK)))
            }
            Form::S3 { .. } if length == 0 => Ok(Box::pin(futures_util::stream::empty())),
            Form::S3 { bucket, key } => {
                Ok(Box::pin(bucket.get(key, start, length).await.map_err(failed)?.map_err(failed)))
            }
        }
    }

    /// Ranges of it, each whole, in order. For threads that may wait.
    ///
    /// # Errors
    /// When one of them cannot be read in full.
    pub fn read_now(&self, ranges: &[(u64, u64)]) -> io::Result<Vec<Vec<u8>>> {
        match &self.0 {
            Form::File(path) => {
                let file = std::fs::File::open(path)?;
                let read = |(start, length): &(u64, u64)| {
                    let mut bytes = vec![0; usize::try_from(*length).map_err(io::Error::other)?];
                    file.read_exact_at(&mut bytes, *start)?;
                    Ok(bytes)
                };
                ranges.iter().map(read).collect()
            }
            Form::S3 { bucket, key } => waiting(async {
                let reads = ranges.iter().map(|(start, length)| patiently(bucket, key, *start, *length));
                futures_util::stream::iter(reads).buffered(AHEAD).try_collect().await
            }),
        }
    }

    /// A part as the store holds it, not as some memory remembers it. For threads that may wait.
    ///
    /// # Errors
    /// When it cannot be read in full.
    pub fn read_part_now(&self, n: u32, size: u64) -> io::Result<Vec<u8>> {
        match &self.0 {
            Form::File(path) => read_part(path, n, size),
            Form::S3 { bucket, key } => waiting(patiently(bucket, key, u64::from(n) * PART_SIZE, size)),
        }
    }

    /// Its length. For threads that may wait.
    ///
    /// # Errors
    /// When there is nothing.
    pub fn size_now(&self) -> io::Result<u64> {
        match &self.0 {
            Form::File(path) => Ok(std::fs::metadata(path)?.len()),
            Form::S3 { bucket, key } => {
                let size = waiting(bucket.size(key)).map_err(failed)?;
                size.ok_or_else(|| {
                    io::Error::new(io::ErrorKind::NotFound, "the object is not at the S3 store")
                })
            }
        }
    }
}

/// Waits on a thread that may wait, for work that needs the runtime.
pub fn waiting<T>(work: impl Future<Output = T>) -> T {
    Handle::current().block_on(work)
}

/// Parts of an object as the store holds them, each with its hash, one after the other while the next are on their
/// way and being hashed.
pub fn parts(
    bucket: Arc<Bucket>,
    key: String,
    sizes: Vec<u64>,
) -> impl Stream<Item = io::Result<(Digest, Vec<u8>)>> + Send {
    futures_util::stream::iter(sizes.into_iter().enumerate())
        .map(move |(n, size)| {
            let (bucket, key) = (Arc::clone(&bucket), key.clone());
            async move {
                let bytes = patiently(&bucket, &key, n as u64 * PART_SIZE, size).await?;
                let hashed = tokio::task::spawn_blocking(move || (Digest::of(&bytes), bytes)).await;
                hashed.map_err(io::Error::other)
            }
        })
        .buffered(3)
}

/// Reads a range; a line that breaks off is tried again, a store that says no is believed.
async fn patiently(bucket: &Bucket, key: &str, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut tries = 1;
    loop {
        match bucket.read(key, start, length).await {
            Ok(bytes) => return Ok(bytes),
            Err(S3Error::Unreachable(_) | S3Error::Odd(..)) if tries < TRIES => tries += 1,
            Err(e) => return Err(failed(e)),
        }
    }
}

fn failed(e: S3Error) -> io::Error {
    let kind = if e.is_missing() { io::ErrorKind::NotFound } else { io::ErrorKind::Other };
    io::Error::new(kind, e)
}
