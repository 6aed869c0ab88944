//! Serves the files of one directory over HTTP, using hyper-staticfile; meant for demos and small
//! pages.

pub(crate) mod open_files;
pub(crate) mod preconditions;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper_staticfile::vfs::{FileOpener, FileWithMetadata};
use hyper_staticfile::{AcceptEncoding, Body, ResolveResult, Resolver, ResponseBuilder};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::ffi::OsStr;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use crate::net::socket::lift;
use crate::static_files::open_files::{OpenFiles, SharedFile};
use crate::static_files::preconditions::{Validators, Verdict};

/// Bytes that are encoded in the path of a redirect: all but the separator and the unreserved ones of RFC
/// 3986 section 2.3.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A directory whose files are served.
pub(crate) struct StaticFiles {
    /// Maps the path of a request to a file.
    resolver: Resolver<Root>,
}

/// The body of a response.
pub(crate) enum FileBody {
    /// A body that is in memory.
    Whole(Bytes),
    /// A file. Boxed, because few responses are files.
    File(Box<Body<SharedFile>>),
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
        let files = OpenFiles::new(root, open_below, most);
        Ok(Self { resolver: Resolver::with_opener(Root(files)) })
    }

    /// Answers a GET or HEAD request. Returns `None` if there is no such file. Waits while too many
    /// files are being read.
    pub(crate) async fn answer(&self, parts: &Parts) -> Option<http::Response<FileBody>> {
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
                // The library returns the decoded path, and decodes the one that it is given.
                let redirect_to = utf8_percent_encode(&redirect_to, PATH).to_string();
                let index = self.resolver.resolve_path(&redirect_to, AcceptEncoding::none()).await;
                let Ok(ResolveResult::Found(_)) = index else { return None };
                let redirect =
                    builder.build::<SharedFile>(ResolveResult::IsDirectory { redirect_to }).ok()?;
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
        // An empty file has no range that a response could name.
        if found.size == 0 || !validators.allow_range(&parts.headers) {
            builder.file_response_builder.range = None;
        }
        let size = found.size;
        let mut response = builder.build(ResolveResult::Found(found)).ok()?.map(|body| match body {
            Body::Empty => FileBody::Whole(Bytes::new()),
            body => FileBody::File(Box::new(body)),
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
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            // RFC 9110 section 15.5.17.
            let range = HeaderValue::try_from(format!("bytes */{size}")).ok()?;
            response.headers_mut().insert(header::CONTENT_RANGE, range);
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

/// Opens files below the directory for the resolver.
struct Root(Arc<OpenFiles>);

impl FileOpener for Root {
    type File = SharedFile;
    type Future = Pin<Box<dyn Future<Output = io::Result<FileWithMetadata<SharedFile>>> + Send>>;

    fn open(&self, path: &Path) -> Self::Future {
        let (files, path) = (self.0.clone(), path.to_owned());
        Box::pin(async move {
            let (handle, metadata) = SharedFile::open(files, &path).await?;
            let (size, modified, is_dir) = (metadata.len(), metadata.modified().ok(), metadata.is_dir());
            Ok(FileWithMetadata { handle, size, modified, is_dir })
        })
    }
}

/// Opens a path below `root`. It opens each component in turn and never follows a symbolic link, so
/// that no path leads outside the directory, even if something is renamed meanwhile.
///
/// # Errors
/// `NotFound` for hidden files and scripts, and for symbolic links.
fn open_below(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
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
    Ok(opened)
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
