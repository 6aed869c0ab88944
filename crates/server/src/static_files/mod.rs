//! Serves the files of one directory over HTTP, using hyper-staticfile; meant for demos and small
//! pages.

pub(crate) mod preconditions;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper_staticfile::vfs::{FileOpener, FileWithMetadata};
use hyper_staticfile::{AcceptEncoding, Body, ResolveResult, Resolver, ResponseBuilder};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::net::socket::lift;
use crate::static_files::preconditions::{Validators, Verdict};

/// A directory whose files are served.
pub(crate) struct StaticFiles {
    /// Maps the path of a request to a file.
    resolver: Resolver<Root>,
    /// One permit per file that may be open: a peer that does not read keeps its file open.
    open: Arc<Semaphore>,
}

/// The body of a response.
pub(crate) enum FileBody {
    /// A body that is in memory.
    Whole(Bytes),
    /// A file, with the permit to keep it open. Boxed, because few responses are files.
    File(Box<(Body, OwnedSemaphorePermit)>),
}

impl fmt::Debug for StaticFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticFiles").finish_non_exhaustive()
    }
}

impl StaticFiles {
    /// Opens the directory, which stays the same one even if another directory takes its name. At
    /// most `most` files are open at once.
    pub(crate) fn open(path: &Path, most: usize) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = lift(openat(CWD, path, flags, Mode::empty())?);
        let open = Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Self { resolver: Resolver::with_opener(Root(Arc::new(root))), open })
    }

    /// Answers a GET or HEAD request. Returns `None` if there is no such file. Waits while too many
    /// files are open.
    pub(crate) async fn answer(&self, parts: &Parts) -> Option<http::Response<FileBody>> {
        // The semaphore is never closed while the server runs.
        let permit = self.open.clone().acquire_owned().await.ok()?;
        let path = parts.uri.path();
        let found = self.resolver.resolve_path(path, AcceptEncoding::none()).await.ok()?;
        let builder = &mut ResponseBuilder::new();
        let builder = builder.request_parts(&parts.method, &parts.uri, &parts.headers);
        // Requests for several ranges, which may even overlap, cost much and gain little; RFC 9110
        // section 14.2 allows a server to ignore them.
        let range = &mut builder.file_response_builder.range;
        *range = range.take().filter(|range| !range.contains(','));
        // `Validators` evaluates the preconditions; the library supports only some of them.
        builder.file_response_builder.if_modified_since = None;
        builder.file_response_builder.if_range = None;
        let found = match found {
            ResolveResult::Found(file) => file,
            // Redirects only if the directory has an index page.
            ResolveResult::IsDirectory { redirect_to } => {
                let index = self.resolver.resolve_path(&redirect_to, AcceptEncoding::none()).await;
                let Ok(ResolveResult::Found(_)) = index else { return None };
                let redirect =
                    builder.build::<tokio::fs::File>(ResolveResult::IsDirectory { redirect_to }).ok()?;
                return Some(redirect.map(|_| FileBody::Whole(Bytes::new())));
            }
            _ => return None,
        };
        let content_type = found.content_type.clone();
        let validators = Validators::new(found.size, found.modified, SystemTime::now());
        let verdict = validators.check(&parts.headers);
        if verdict == Verdict::Failed {
            return Some(precondition_failed());
        }
        if !validators.allow_range(&parts.headers) {
            builder.file_response_builder.range = None;
        }
        let mut response = builder.build(ResolveResult::Found(found)).ok()?.map(|body| match body {
            Body::Empty => FileBody::Whole(Bytes::new()),
            body => FileBody::File(Box::new((body, permit))),
        });
        if let Some(tag) = validators.tag().and_then(|tag| HeaderValue::try_from(tag).ok()) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        if verdict == Verdict::NotModified {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = FileBody::Whole(Bytes::new());
            for name in [header::CONTENT_LENGTH, header::CONTENT_RANGE] {
                response.headers_mut().remove(name);
            }
        }
        describe(response.headers_mut(), content_type.as_deref());
        Some(response)
    }
}

fn precondition_failed() -> http::Response<FileBody> {
    let body = Bytes::from_static(b"The file does not meet the preconditions of the request.\n");
    let mut response = http::Response::new(FileBody::Whole(body));
    *response.status_mut() = StatusCode::PRECONDITION_FAILED;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// Sets the headers that describe a file.
fn describe(headers: &mut HeaderMap, content_type: Option<&str>) {
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    let content_type = content_type.unwrap_or("application/octet-stream");
    if content_type.starts_with("text/") && !content_type.contains("charset") {
        set(header::CONTENT_TYPE, &format!("{content_type}; charset=utf-8"));
    } else {
        set(header::CONTENT_TYPE, content_type);
    }
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Browsers ask again each time, so that they notice a changed page.
    set(header::CACHE_CONTROL, "no-cache");
}

/// Opens files below a directory. It opens each component of a path in turn and never follows a
/// symbolic link, so that no path leads outside the directory, even if something is renamed
/// meanwhile.
struct Root(Arc<OwnedFd>);

impl FileOpener for Root {
    type File = tokio::fs::File;
    type Future = Pin<Box<dyn Future<Output = io::Result<FileWithMetadata>> + Send>>;

    fn open(&self, path: &Path) -> Self::Future {
        let (root, path) = (self.0.clone(), path.to_owned());
        // Runs on another thread, because disks may be slow.
        let opened = tokio::task::spawn_blocking(move || open_below(&root, &path));
        Box::pin(async { opened.await? })
    }
}

/// Opens a file or directory below `root`.
///
/// # Errors
/// `NotFound` for hidden files and scripts, for symbolic links, and for anything that is neither a
/// regular file nor a directory.
fn open_below(root: &OwnedFd, path: &Path) -> io::Result<FileWithMetadata> {
    // NONBLOCK avoids waiting for the other end of a FIFO; NOCTTY avoids acquiring a controlling
    // terminal.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut opened = openat(root, ".", flags | OFlags::DIRECTORY, Mode::empty())?;
    for name in path {
        if is_private(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        // A component that is not a directory, or is a link, is treated as missing.
        opened = openat(&opened, name, flags, Mode::empty()).map_err(|_| io::ErrorKind::NotFound)?;
    }
    let stat = fstat(&opened)?;
    let is_dir = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => true,
        FileType::RegularFile => false,
        _ => return Err(io::ErrorKind::NotFound.into()),
    };
    let file = File::from(lift(opened));
    let metadata = file.metadata()?;
    Ok(FileWithMetadata {
        handle: tokio::fs::File::from_std(file),
        size: metadata.len(),
        modified: metadata.modified().ok(),
        is_dir,
    })
}

/// Whether a name is never served: hidden files, and names with a PHP extension at any place. That
/// includes copies that editors and administrators leave behind (`a.php~`, `a.php.bak`), which
/// contain the source of a script and would be sent as they are.
fn is_private(name: &OsStr) -> bool {
    let name = name.as_bytes().to_ascii_lowercase();
    let hidden = name.starts_with(b".") && name != b".well-known";
    let mut extensions = name.split(|b| *b == b'.').skip(1);
    hidden || extensions.any(is_of_php)
}

/// Whether an extension, or its beginning, belongs to PHP.
fn is_of_php(extension: &[u8]) -> bool {
    let end = extension.iter().position(|b| !b.is_ascii_alphanumeric()).unwrap_or(extension.len());
    let begins = |with: &[u8]| extension.starts_with(with);
    begins(b"php") || begins(b"pht") || begins(b"phar") || &extension[..end] == b"inc"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_and_scripts_are_private() {
        for name in [
            ".context",
            ".git",
            "..",
            "a.php",
            "a.PHP",
            "a.php7",
            "b.phtml",
            "c.phar",
            "x.y.phps",
            "a.php.bak",
            "a.php.",
            "a.php~",
            "a.php ",
            "a.php.txt",
            "#a.php#",
            "a.php_old",
            "a.php-2",
            "a.Php.swp",
            "db.inc",
            "db.inc~",
        ] {
            assert!(is_private(OsStr::new(name)), "{name}");
        }
        for name in [
            ".well-known",
            "index.html",
            "php",
            "phar.txt",
            "php.ini",
            "photo.jpg",
            "a.income",
            "inc",
            "a.bak",
        ] {
            assert!(!is_private(OsStr::new(name)), "{name}");
        }
    }
}
