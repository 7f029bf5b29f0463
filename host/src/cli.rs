//! To come.

/// `tidegate migrate`.
pub mod migrate;
#[cfg(test)]
