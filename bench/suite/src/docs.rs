//! The tables that the documentation takes over.

use crate::servers::bench_dir;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// The file with the tables, in the repository.
pub(crate) const FILE: &str = "docs/performance.md";

/// Replaces a table of the documentation by `text`, if results go to `bench/results`.
pub(crate) fn insert(name: &str, text: &str, out: &Path) -> Result<()> {
    if !same(out, &bench_dir().join("results")) {
        return Ok(());
    }
    let path = bench_dir().join("..").join(FILE);
    let page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    fs::write(&path, replaced(&page, name, text).with_context(|| format!("{FILE}: no markers of {name}"))?)?;
    eprintln!("written: the table {name} in {FILE}");
    Ok(())
}

fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The page with another text between the markers of this name; `None` without such markers.
fn replaced(page: &str, name: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(&format!("<!-- {name} -->"))?;
    let (_, after) = rest.split_once(&format!("<!-- /{name} -->"))?;
    Some(format!("{before}<!-- {name} -->\n{}\n<!-- /{name} -->{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_between_the_markers_changes() {
        let page = "a\n<!-- x -->\nold\n<!-- /x -->\nb <!-- y --><!-- /y -->";
        let new = replaced(page, "x", "new\n").expect("it has the markers");
        assert_eq!(new, "a\n<!-- x -->\nnew\n<!-- /x -->\nb <!-- y --><!-- /y -->");
        assert_eq!(replaced(&new, "x", "new").as_deref(), Some(new.as_str()));
        assert_eq!(replaced(page, "z", ""), None);
    }
}
