//! To come: the build of the components.
use std::path::{Path, PathBuf};

pub(crate) fn build(root: &Path) -> tidegate_harness::Result<PathBuf> {
    Ok(root.join("target/plugins"))
}
