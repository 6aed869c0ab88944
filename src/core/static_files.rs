//! Files of one directory over HTTP (hyper-staticfile), for demos and small pages.

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

use crate::body::ResponseBody;
use crate::listener::lift;

/// A directory whose files are served.
pub(crate) struct StaticFiles {
    resolver: Resolver<Root>,
}

impl fmt::Debug for StaticFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticFiles").finish_non_exhaustive()
    }
}

impl StaticFiles {
    /// Opens the directory. It stays the same one, even if another one takes its name.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = lift(openat(CWD, path, flags, Mode::empty())?);
        Ok(Self { resolver: Resolver::with_opener(Root(Arc::new(root))) })
    }

    /// The answer to a GET or HEAD request; `None` where there is no such file.
    pub(crate) async fn answer(&self, parts: &Parts) -> Option<http::Response<ResponseBody>> {
        let path = parts.uri.path();
        let found = self.resolver.resolve_path(path, AcceptEncoding::none()).await.ok()?;
        let builder = &mut ResponseBuilder::new();
        let builder = builder.request_parts(&parts.method, &parts.uri, &parts.headers);
        // A request for many ranges, even overlapping ones, costs much and brings little (RFC 9110
        // section 14.2: a server may ignore them).
        let range = &mut builder.file_response_builder.range;
        *range = range.take().filter(|range| !range.contains(','));
        let (content_type, found) = match found {
            ResolveResult::Found(file) => (Some(file.content_type.clone()), ResolveResult::Found(file)),
            // Only to where something is.
            ResolveResult::IsDirectory { redirect_to } => {
                let index = self.resolver.resolve_path(&redirect_to, AcceptEncoding::none()).await;
                let Ok(ResolveResult::Found(_)) = index else { return None };
                (None, ResolveResult::IsDirectory { redirect_to })
            }
            _ => return None,
        };
        let mut response = builder.build(found).ok()?.map(|body| match body {
            Body::Empty => ResponseBody::from(Bytes::new()),
            body => ResponseBody::File(Box::new(body)),
        });
        if is_known(&parts.headers, response.headers()) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = ResponseBody::from(Bytes::new());
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        if let Some(content_type) = content_type {
            describe(response.headers_mut(), content_type.as_deref());
        }
        Some(response)
    }
}

/// Whether the client has the file already, by its tag (RFC 9110 section 13.1.2). The library looks
/// only at the time.
fn is_known(request: &HeaderMap, response: &HeaderMap) -> bool {
    let Some(tag) = response.get(header::ETAG).and_then(|tag| tag.to_str().ok()) else { return false };
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).any(|value| value.trim() == "*" || opaque(value) == opaque(tag))
}

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
    // Asked about each time, so that a page that was changed is seen.
    set(header::CACHE_CONTROL, "no-cache");
}

/// Opens files below a directory, one name after the other and never through a symbolic link: so
/// nothing outside of it is reached, whatever its path says and whatever is renamed meanwhile.
struct Root(Arc<OwnedFd>);

impl FileOpener for Root {
    type File = tokio::fs::File;
    type Future = Pin<Box<dyn Future<Output = io::Result<FileWithMetadata>> + Send>>;

    fn open(&self, path: &Path) -> Self::Future {
        let (root, path) = (self.0.clone(), path.to_owned());
        // Off this thread: disks may be slow.
        let opened = tokio::task::spawn_blocking(move || open_below(&root, &path));
        Box::pin(async { opened.await? })
    }
}

fn open_below(root: &OwnedFd, path: &Path) -> io::Result<FileWithMetadata> {
    // Neither waits for the other end of a FIFO nor makes a terminal its own.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut opened = openat(root, ".", flags | OFlags::DIRECTORY, Mode::empty())?;
    for name in path {
        if is_private(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        // What is no directory, or a link, is as good as not there.
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

/// Names that are never meant for visitors: hidden files, and the source of scripts.
fn is_private(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let hidden = name.starts_with(b".") && name != b".well-known";
    let extension = name.rsplit(|b| *b == b'.').next().unwrap_or_default().to_ascii_lowercase();
    let script = name.contains(&b'.') && (extension.starts_with(b"php") || extension.starts_with(b"pht"));
    hidden || script || extension == b"phar"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_and_scripts_are_private() {
        for name in [".env", ".git", "..", "a.php", "a.PHP", "a.php7", "b.phtml", "c.phar", "x.y.phps"] {
            assert!(is_private(OsStr::new(name)), "{name}");
        }
        for name in [".well-known", "index.html", "php", "phar.txt", "a.php.txt", "photo.jpg"] {
            assert!(!is_private(OsStr::new(name)), "{name}");
        }
    }
}
