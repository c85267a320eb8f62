//! Writes an export into a folder or a zip file, with the lists of RFC 8493 made on the way.

use std::collections::BTreeMap;
use std::fs::File as OsFile;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lectern_base::disk;
use lectern_wire::digest::Digest;
use sha2::{Digest as _, Sha256};

use super::Export;
use super::zip::{self, Written};
use crate::bytes::ReadAt;

/// Read and written at once, bytes.
const PIECE: usize = 256 * 1024;
const DECLARATION: &[u8] = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";

/// Where files go.
trait Sink {
    fn file(&mut self, path: &str, bytes: &dyn ReadAt, seen: &mut dyn FnMut(&[u8])) -> io::Result<()>;
}

/// The tag files, with the hashes of the payload; hashes are zero when only lengths matter.
fn tag_files(export: &Export, payload: &BTreeMap<String, Digest>) -> Vec<(&'static str, Vec<u8>)> {
    let mut info = export.info.clone();
    info.push(("Bag-Size", format!("{} MB", export.bytes().div_ceil(1_000_000))));
    info.push(("Payload-Oxum", format!("{}.{}", export.bytes(), export.files())));
    let info: String = info.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let list = |entries: &mut dyn Iterator<Item = (&str, Digest)>| -> Vec<u8> {
        entries.map(|(path, digest)| format!("{digest}  {path}\n")).collect::<String>().into_bytes()
    };
    let manifest = list(&mut payload.iter().map(|(path, digest)| (path.as_str(), *digest)));
    let mut files = vec![
        ("bagit.txt", DECLARATION.to_vec()),
        ("bag-info.txt", info.into_bytes()),
        ("manifest-sha256.txt", manifest),
    ];
    let tags = list(&mut files.iter().map(|(name, bytes)| (*name, Digest::of(bytes))));
    files.push(("tagmanifest-sha256.txt", tags));
    files
}

fn write(export: &Export, sink: &mut dyn Sink) -> io::Result<()> {
    let mut payload = BTreeMap::new();
    for file in &export.payload {
        let mut hash = Sha256::new();
        sink.file(&file.path, file.bytes.as_ref(), &mut |piece| hash.update(piece))?;
        payload.insert(file.path.clone(), Digest::finish(hash));
    }
    for (path, bytes) in tag_files(export, &payload) {
        sink.file(path, &bytes, &mut |_| {})?;
    }
    Ok(())
}

struct Zip<'a> {
    folder: &'a str,
    writer: zip::Writer<'a>,
}

impl Sink for Zip<'_> {
    fn file(&mut self, path: &str, bytes: &dyn ReadAt, seen: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.writer.entry(&format!("{}/{path}", self.folder), bytes, seen)
    }
}

/// Writes an export as a zip file, in order, without going back.
///
/// # Errors
/// What reading or writing says.
pub fn into_zip(export: &Export, out: &mut dyn Write) -> io::Result<Written> {
    let mut sink = Zip { folder: &export.name, writer: zip::Writer::new(out) };
    write(export, &mut sink)?;
    sink.writer.end()
}

/// Length of the zip file.
#[must_use]
pub fn zip_size(export: &Export) -> u64 {
    let zero = Digest::of(b"");
    let payload = export.payload.iter().map(|file| (file.path.clone(), zero)).collect();
    let tags = tag_files(export, &payload).into_iter().map(|(path, bytes)| (path.to_owned(), bytes.size()));
    let files = export.payload.iter().map(|file| (file.path.clone(), file.bytes.size())).chain(tags);
    let named: Vec<_> = files.map(|(path, size)| (format!("{}/{path}", export.name), size)).collect();
    zip::size(&named)
}

struct Folder(PathBuf);

impl Sink for Folder {
    fn file(&mut self, path: &str, bytes: &dyn ReadAt, seen: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let path = self.0.join(path);
        if let Some(folder) = path.parent() {
            disk::make_folder(folder)?;
        }
        let mut file = OsFile::create_new(&path)?;
        let (mut done, mut piece) = (0, vec![0; PIECE]);
        while done < bytes.size() {
            match bytes.read_at(&mut piece, done)? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early")),
                n => {
                    seen(&piece[..n]);
                    file.write_all(&piece[..n])?;
                    done += n as u64;
                }
            }
        }
        file.sync_all()
    }
}

/// Writes an export into a new folder below `into`, whole or not at all; gives the folder.
///
/// # Errors
/// When the folder is there already; else what the file system says.
pub fn into_folder(export: &Export, into: &Path) -> io::Result<PathBuf> {
    let folder = into.join(&export.name);
    if folder.exists() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} is there already: choose another folder or remove it", folder.display()),
        ));
    }
    disk::make_folder(into)?;
    let growing = into.join(format!(".{}.partial", export.name));
    if growing.exists() {
        // Left by an export that broke off.
        std::fs::remove_dir_all(&growing)?;
    }
    disk::make_folder(&growing)?;
    write(export, &mut Folder(growing.clone()))?;
    std::fs::rename(&growing, &folder)?;
    disk::sync_folder(into)?;
    Ok(folder)
}
