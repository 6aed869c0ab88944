//! Passes the versions of the linked libraries to the extension, for `phpinfo()`.

use std::{env, fs, path::Path};

const LIBRARIES: [&str; 5] = ["tokio", "tokio-tungstenite", "hyper", "rustls", "zlib-rs"];

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let lock = Path::new(&root).join("Cargo.lock");
    println!("cargo:rerun-if-changed={}", lock.display());
    let text = fs::read_to_string(&lock).unwrap_or_default();
    for library in LIBRARIES {
        let name = library.to_uppercase().replace('-', "_");
        let version = version(&text, library).unwrap_or("unknown");
        println!("cargo:rustc-env=SPROCKET_{name}={version}");
    }
    // The Zend symbols belong to the PHP process that loads the extension, so the linker must not require them.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("macos") {
        println!("cargo:rustc-cdylib-link-arg=-undefined");
        println!("cargo:rustc-cdylib-link-arg=dynamic_lookup");
    }
}

/// The version of a package in a lock file.
fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}
