//! The files that are being sent, and the limit on how many are open at once.
//!
//! A client that reads slowly must not keep a descriptor from others. A file is therefore closed when
//! its descriptor is needed: first the one that has waited longest for its client. It is opened again
//! when that client reads on.

use bytes::Bytes;
use hyper_staticfile::vfs::{FileAccess, IntoFileAccess};
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::future::Future;
use std::io::{self, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::AsyncSeek;
use tokio::sync::Notify;

use crate::blocking;
use crate::net::socket::lift;

/// Bytes of one read, which wait in memory for the client.
const READ: usize = 16 << 10;

/// Opens a file by its path below the directory that is served.
type OpenFn = fn(&OwnedFd, &Path) -> io::Result<OwnedFd>;

/// The open files of a server, held by its `StaticFiles` and by each response with a file.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    root: OwnedFd,
    open: OpenFn,
    /// Most files that are open at once.
    most: usize,
    table: Mutex<FileTable>,
    /// Notified when a permit ends, and when a file joins `FileTable::idle`.
    available: Notify,
}

#[derive(Debug, Default)]
struct FileTable {
    /// Number of permits.
    permits: usize,
    /// Files that wait for their clients, by key. Keys ascend, so the first file has waited longest.
    idle: BTreeMap<u64, OpenFile>,
    /// The next key.
    next: u64,
}

/// The right to keep one file open.
#[derive(Debug)]
struct Permit(Arc<OpenFiles>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.table().permits -= 1;
        self.0.available.notify_one();
    }
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    permit: Permit,
}

/// The state of a file, which shows whether a path still leads to the same content: device, inode,
/// size, and modification time in seconds and nanoseconds.
type FileState = (u64, u64, u64, i64, i64);

fn state_of(metadata: &Metadata) -> FileState {
    (metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec())
}

impl OpenFiles {
    /// `root`: the directory, below which `open` opens paths. At least one file may be open.
    pub(crate) fn new(root: OwnedFd, open: OpenFn, most: usize) -> Arc<Self> {
        let (table, available) = (Mutex::default(), Notify::new());
        Arc::new(Self { root, open, most: most.max(1), table, available })
    }

    fn table(&self) -> MutexGuard<'_, FileTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a permit, which is short: only while every file is being read from the disk.
    async fn permit(self: &Arc<Self>) -> Permit {
        loop {
            let mut available = pin!(self.available.notified());
            // Registers for notifications before the attempt, so that none is missed after it.
            available.as_mut().enable();
            if let Some(permit) = self.try_permit() {
                return permit;
            }
            available.await;
        }
    }

    /// Returns a permit: a free one, or that of the file that has waited longest for its client, which
    /// is closed.
    fn try_permit(self: &Arc<Self>) -> Option<Permit> {
        let mut table = self.table();
        if table.permits < self.most {
            table.permits += 1;
            return Some(Permit(self.clone()));
        }
        let longest = table.idle.pop_first();
        drop(table);
        let (_, OpenFile { file, permit }) = longest?;
        drop(file);
        Some(permit)
    }

    /// Leaves a file open while it waits for its client. Returns the key for [`OpenFiles::take`].
    fn keep(&self, file: OpenFile) -> u64 {
        let mut table = self.table();
        let key = table.next;
        table.next += 1;
        table.idle.insert(key, file);
        drop(table);
        self.available.notify_one();
        key
    }

    /// Takes a file back. `None` if it was closed meanwhile.
    fn take(&self, key: u64) -> Option<OpenFile> {
        self.table().idle.remove(&key)
    }

    /// Opens a file or directory. Blocks.
    fn open_with(&self, permit: Permit, path: &Path) -> io::Result<(OpenFile, Metadata)> {
        let file = File::from(lift((self.open)(&self.root, path)?));
        let metadata = file.metadata()?;
        if !metadata.is_file() && !metadata.is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((OpenFile { file, permit }, metadata))
    }
}

/// A file that a response sends. It is open while a descriptor is free for it.
pub(crate) struct SharedFile {
    files: Arc<OpenFiles>,
    path: Arc<Path>,
    /// The state when the response began.
    state: FileState,
    /// Key of the open file in [`FileTable::idle`], unless it was closed or a read is in progress.
    key: u64,
    /// Position of the next read.
    offset: u64,
    reading: Option<Reading>,
}

/// A read in progress: its bytes, and the new key of the file.
type Reading = Pin<Box<dyn Future<Output = io::Result<(Bytes, u64)>> + Send + Sync>>;

impl SharedFile {
    /// Opens a file or directory. Waits for a descriptor, and opens on another thread, because disks
    /// may be slow.
    ///
    /// # Errors
    /// Those of opening; `NotFound` for anything that is neither a regular file nor a directory.
    pub(crate) async fn open(files: Arc<OpenFiles>, path: &Path) -> io::Result<(Self, Metadata)> {
        let path = Arc::<Path>::from(path);
        let permit = files.permit().await;
        let opening = {
            let (files, path) = (files.clone(), path.clone());
            blocking::spawn(move || files.open_with(permit, &path))
        };
        let (file, metadata) = opening.await??;
        let (state, key) = (state_of(&metadata), files.keep(file));
        Ok((Self { files, path, state, key, offset: 0, reading: None }, metadata))
    }

    /// Begins to read up to `most` bytes.
    fn read(&self, most: usize) -> Reading {
        let Self { files, path, state, key, offset, .. } = self;
        let (files, path) = (files.clone(), path.clone());
        let (state, key, offset) = (*state, *key, *offset);
        Box::pin(async move {
            let file = match files.take(key) {
                Some(file) => Ok(file),
                None => Err(files.permit().await),
            };
            let reading = {
                let files = files.clone();
                blocking::spawn(move || {
                    let file = match file {
                        Ok(file) => file,
                        Err(permit) => reopened(&files, permit, &path, state)?,
                    };
                    let mut bytes = vec![0; most];
                    let read = read_at(&file.file, &mut bytes, offset)?;
                    bytes.truncate(read);
                    io::Result::Ok((file, bytes))
                })
            };
            let (file, bytes) = reading.await??;
            Ok((bytes.into(), files.keep(file)))
        })
    }
}

/// Opens a file again that was closed during its response.
///
/// # Errors
/// The file has changed since: the rest of the response would not fit what was already sent.
fn reopened(files: &OpenFiles, permit: Permit, path: &Path, state: FileState) -> io::Result<OpenFile> {
    let (file, metadata) = files.open_with(permit, path)?;
    if state_of(&metadata) == state {
        return Ok(file);
    }
    Err(io::Error::other("the file has changed while it was sent"))
}

fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(bytes, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        drop(self.files.take(self.key));
    }
}

impl IntoFileAccess for SharedFile {
    type Output = Self;

    fn into_file_access(self) -> Self {
        self
    }
}

impl FileAccess for SharedFile {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
        if most == 0 {
            return Poll::Ready(Ok(Bytes::new()));
        }
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => self.read(most.min(READ)),
        };
        let Poll::Ready(read) = reading.as_mut().poll(cx) else {
            self.reading = Some(reading);
            return Poll::Pending;
        };
        let (bytes, key) = read?;
        self.key = key;
        self.offset += bytes.len() as u64;
        Poll::Ready(Ok(bytes))
    }
}

/// The library sets the position before the first read of a range.
impl AsyncSeek for SharedFile {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        let SeekFrom::Start(offset) = position else { return Err(io::ErrorKind::Unsupported.into()) };
        self.offset = offset;
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.offset))
    }
}
