//! To come.
use tidegate_harness::Result;
pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    Ok(())
}
