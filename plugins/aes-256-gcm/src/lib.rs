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

#[cfg(test)]
mod tests {
    use tidegate_plugin::testing::{Item, open, seal, settings_problems};
    use tidegate_plugin::{Cipher, Key, NoSettings};

    use super::Aes256Gcm;

    fn item<'a>(context: &'a str, bytes: &'a [u8]) -> Item<'a> {
        Item { nonce: &[0; 12], context: context.as_bytes(), bytes }
    }

    #[test]
    fn it_gives_the_known_answer_of_the_specification() {
        // Test case 14 of the GCM specification: a key, a nonce and a block of zeros.
        let sealed = seal(&Aes256Gcm, &Key::software(&[0; 32]), &[item("", &[0; 16])]).unwrap().remove(0);
        let text: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
    }

    #[test]
    fn what_is_sealed_opens_again_and_what_is_forged_does_not() {
        let key = Key::software(&[7; 32]);
        let sealed = seal(&Aes256Gcm, &key, &[item("row 1", b"Hello, world!"), item("row 2", b"")]).unwrap();
        let mut forged = sealed[0].clone();
        forged[3] ^= 1;
        let items = [
            item("row 1", &sealed[0]),
            item("row 2", &sealed[0]),
            item("row 1", &forged),
            item("row 2", &sealed[1]),
            item("", b""),
        ];
        let [whole, moved, forged, empty, short] = open(&Aes256Gcm, &key, &items).unwrap().try_into().unwrap();
        assert_eq!([whole, empty], [Ok(b"Hello, world!".to_vec()), Ok(Vec::new())]);
        assert!([moved, forged, short].iter().all(|item| item.as_ref().unwrap_err().code == "not_authentic"));
        assert!(open(&Aes256Gcm, &Key::software(&[8; 32]), &items).unwrap().iter().all(Result::is_err));
    }

    #[test]
    fn a_key_of_another_length_fails_the_call() {
        assert_eq!(seal(&Aes256Gcm, &Key::software(&[0; 16]), &[item("", b"x")]).unwrap_err().code, "wrong_length");
    }

    #[test]
    fn the_schema_and_the_settings_say_the_same() {
        assert_eq!(settings_problems::<NoSettings>(), Vec::<String>::new());
        assert_eq!(Aes256Gcm::manifest().name, Aes256Gcm.parameters().cipher);
    }
}
