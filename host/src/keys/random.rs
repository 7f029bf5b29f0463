//! Random bytes of the operating system.

/// The operating system gave no random bytes. Nothing may be sealed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RandomError {
    /// The call failed.
    #[error("the operating system gives no random bytes: {0}")]
    Unavailable(getrandom::Error),
    /// More nonces than fit into memory were asked for.
    #[error("{count} nonces of {bytes} bytes are more than can be drawn at once")]
    TooMany {
        /// How many.
        count: usize,
        /// How long each.
        bytes: usize,
    },
}

/// Draws `count` nonces of `bytes` bytes each, one after the other, in one call a batch.
///
/// # Errors
/// Fails when the operating system has none to give, or the answer would pass 1 GiB.
pub fn draw_nonces(count: usize, bytes: usize) -> Result<Vec<u8>, RandomError> {
    const LIMIT: usize = 1 << 30;
    let total = count.checked_mul(bytes).filter(|total| *total <= LIMIT).ok_or(RandomError::TooMany { count, bytes })?;
    let mut nonces = vec![0; total];
    fill(&mut nonces)?;
    Ok(nonces)
}

/// Fills the buffer.
pub(super) fn fill(buffer: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(buffer).map_err(RandomError::Unavailable)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_nonces_of_a_batch_are_the_same() {
        let nonces = draw_nonces(1000, 12).unwrap();
        assert_eq!(nonces.len(), 12_000);
        assert_eq!(nonces.chunks_exact(12).collect::<HashSet<_>>().len(), 1000);
    }

    #[test]
    fn nothing_and_too_much_are_no_panic() {
        assert_eq!(draw_nonces(0, 12), Ok(Vec::new()));
        assert_eq!(draw_nonces(5, 0), Ok(Vec::new()));
        assert!(matches!(draw_nonces(usize::MAX, 2), Err(RandomError::TooMany { .. })));
        assert!(matches!(draw_nonces(1 << 30, 2), Err(RandomError::TooMany { .. })));
    }
}
