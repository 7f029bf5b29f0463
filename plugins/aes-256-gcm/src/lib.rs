//! A cipher: AES-256-GCM (NIST SP 800-38D). The host does the arithmetic; this names the algorithm and its lengths.

use tidegate_plugin::{Cipher, Key, NoSettings, Opening, Packed, Parameters, Reason, Rejection};

/// Seals with AES-256-GCM: nonces of 12 bytes, the context as associated data, a tag of 16 bytes after the ciphertext.
#[derive(Clone, Copy, Debug)]
pub struct Aes256Gcm;

impl Cipher for Aes256Gcm {
    const NAME: &'static str = "aes-256-gcm";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &'static str = "Seals with AES-256-GCM: authenticated, the context bound in.";

    type Settings = NoSettings;

    fn configure(NoSettings {}: NoSettings) -> Result<Self, Reason> {
        Ok(Self)
    }

    fn parameters(&self) -> Parameters {
        Parameters { cipher: "aes-256-gcm".to_owned(), nonce_bytes: 12, key_bytes: 32 }
    }

    fn seal(&self, key: &Key<'_>, nonces: &Packed, contexts: &Packed, plain: &Packed) -> Result<Packed, Reason> {
        Ok(key.aes_gcm_seal(nonces, contexts, plain)?)
    }

    fn open(&self, key: &Key<'_>, nonces: &Packed, contexts: &Packed, sealed: &Packed) -> Result<Opening, Reason> {
        let opened = key.aes_gcm_open(nonces, contexts, sealed)?;
        Ok(Opening { plain: opened.items, rejected: opened.failed.into_iter().map(not_authentic).collect() })
    }
}

/// Which of forged, damaged, another key or another context it was cannot be told apart.
fn not_authentic(index: u32) -> Rejection {
    let message = "does not open: forged, damaged, or sealed under another key or for another context";
    Rejection { index, reason: Reason::new("not_authentic", message) }
}

tidegate_plugin::cipher!(Aes256Gcm);
