//! Static files and the limit on how many are open.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use sprocket_server::{Config, Server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::*;

/// A server of a new directory with a file "large", with a limit of open files.
struct Files {
    dir: PathBuf,
    server: Server,
    address: SocketAddr,
}

impl Files {
    /// Larger than the socket buffers, in bytes.
    const SIZE: usize = 16 << 20;

    fn start(name: &str, max_open_files: usize) -> Self {
        let dir = std::env::temp_dir().join(format!("sprocket-files-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("large"), Self::content()).unwrap();
        // On a busy machine the transfers take long, and a client must not be cut meanwhile.
        let handshake_timeout = Duration::from_secs(60);
        let config = Config {
            static_files: Some(dir.clone()),
            max_open_files,
            handshake_timeout,
            ..Config::default()
        };
        let (server, address) = start(config);
        Self { dir, server, address }
    }

    fn content() -> Vec<u8> {
        (0..Self::SIZE / 4).flat_map(|n| (n as u32).to_ne_bytes()).collect()
    }

    /// Requests the large file and reads the head of the response.
    fn begin(&self) -> TcpStream {
        let mut client = connect(self.address);
        client.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
        client
    }

    /// The number of descriptors of the large file in this process.
    fn open(&self) -> usize {
        let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let path = self.dir.join("large");
        all.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|link| link == path)).count()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn clients_that_do_not_read_keep_no_file_from_others_and_get_theirs_in_full() {
    let files = Files::start("slow", 2);
    let mut slow: Vec<_> = (0..6).map(|_| files.begin()).collect();
    let mut quick = files.begin();
    let mut body = vec![0; Files::SIZE];
    quick.read_exact(&mut body).unwrap();
    assert_eq!(body, Files::content());
    if cfg!(target_os = "linux") {
        assert!(files.open() <= 2, "{} files are open", files.open());
    }
    std::thread::scope(|scope| {
        for client in &mut slow {
            scope.spawn(|| {
                let mut body = vec![0; Files::SIZE];
                client.read_exact(&mut body).unwrap();
                assert!(body == Files::content(), "the content differs");
            });
        }
    });
    drop((quick, slow));
    if cfg!(target_os = "linux") {
        pump(&files.server, |_, _| {}, || files.open() == 0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_was_replaced_after_it_was_closed_ends_its_response() {
    let files = Files::start("replaced", 1);
    std::fs::write(files.dir.join("small"), "small").unwrap();
    let mut slow = files.begin();
    // Once the client's buffers are full, another request takes the only descriptor.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut quick = connect(files.address);
        quick.write_all(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(read_head(&mut quick).starts_with("HTTP/1.1 200"));
        if files.open() == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "the file stays open");
    }
    std::fs::write(files.dir.join("new"), vec![b'x'; Files::SIZE]).unwrap();
    std::fs::rename(files.dir.join("new"), files.dir.join("large")).unwrap();
    let mut body = Vec::new();
    // The connection may end by a reset.
    let _ = slow.read_to_end(&mut body);
    assert!(body.len() < Files::SIZE, "the response is complete");
    assert!(body == Files::content()[..body.len()], "the contents are mixed");
}
