//! Fresh keys.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::id::KeyId;
use super::key::Key;
use super::random::{self, RandomError};

/// A fresh key of 32 bytes with an initialization vector of 16, not yet stored anywhere.
pub struct Generated {
    /// A fresh id: the day and four random characters, e.g. `k20250131-9f3c`.
    pub id: KeyId,
    key: Zeroizing<String>,
    iv: Zeroizing<String>,
    created: String,
}

/// Draws a key and an initialization vector from the operating system.
///
/// # Errors
/// Fails when the operating system has no random bytes to give.
pub fn generate() -> Result<Generated, RandomError> {
    let mut bytes = Zeroizing::new([0; Key::BYTES + 16 + 2]);
    random::fill(bytes.as_mut())?;
    let (key, rest) = bytes.split_at(Key::BYTES);
    let (iv, tail) = rest.split_at(16);
    let created = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let day: String = created.chars().take_while(|character| *character != 'T').filter(char::is_ascii_digit).collect();
    let tail: String = tail.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = KeyId::new(&format!("k{day}-{tail}")).expect("a day and four characters are a key id");
    let [key, iv] = [key, iv].map(|bytes| Zeroizing::new(STANDARD.encode(bytes)));
    Ok(Generated { id, key, iv, created })
}

impl Generated {
    /// The ring's file with this key alone, as `[key_rings.NAME] file` reads it. The initialization vector stands in a comment, because only rows
    /// of the original want one.
    #[must_use]
    pub fn file_text(&self) -> Zeroizing<String> {
        let vector = format!("# Only for rows in the original's form, which is not authenticated:\n# iv = \"{}\"\n", *self.iv);
        Zeroizing::new(self.created_text().to_string() + &vector)
    }

    /// The same without the initialization vector, as `create = true` writes it.
    pub(super) fn created_text(&self) -> Zeroizing<String> {
        let Self { id, key, created, .. } = self;
        Zeroizing::new(format!(
            "# A Tidegate key ring. Keep it secret (mode 0600) and keep a backup: what it seals cannot be read without it.\n\
             # To rotate, add another [keys.ID] and name it in `active`; keep the old one, which opens what it sealed.\n\
             active = \"{id}\"\n\n[keys.{id}]\nkey = \"{}\"\ncreated = \"{created}\"\n",
            **key
        ))
    }

    /// The three lines that the original's configuration takes, as its own key generator prints them.
    #[must_use]
    pub fn original_lines(&self) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "\"database_encryption_enabled\": true,\n\"database_encryption_key\": \"{}\",\n\"database_encryption_iv\": \"{}\"\n",
            *self.key, *self.iv
        ))
    }
}

impl std::fmt::Debug for Generated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generated").field("id", &self.id.as_str()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    #[test]
    fn what_is_generated_reads_back() {
        let fresh = generate().unwrap();
        for text in [fresh.file_text(), fresh.created_text()] {
            let parsed = text::parse(&text).ok().unwrap();
            assert_eq!(parsed.active, fresh.id.as_str());
            let [key] = parsed.keys.as_slice() else { panic!("one key") };
            assert_eq!(STANDARD.encode(key.material.expose()), *fresh.key);
            assert_eq!((key.material.expose().len(), key.iv, key.created.as_deref()), (32, None, Some(fresh.created.as_str())));
        }
        let uncommented = fresh.file_text().replace("# iv", "iv");
        assert_eq!(STANDARD.encode(text::parse(&uncommented).ok().unwrap().keys[0].iv.unwrap()), *fresh.iv);
    }

    #[test]
    fn the_original_gets_its_three_lines() {
        let fresh = generate().unwrap();
        let json: serde_json::Value = serde_json::from_str(&format!("{{{}}}", *fresh.original_lines())).unwrap();
        assert_eq!(json["database_encryption_enabled"], true);
        assert_eq!(STANDARD.decode(json["database_encryption_key"].as_str().unwrap()).unwrap().len(), 32);
        assert_eq!(STANDARD.decode(json["database_encryption_iv"].as_str().unwrap()).unwrap().len(), 16);
        assert_eq!(fresh.original_lines().lines().count(), 3);
    }

    #[test]
    fn no_two_keys_are_the_same_and_none_is_shown() {
        let [first, second] = [generate().unwrap(), generate().unwrap()];
        assert!(first.key != second.key && first.iv != second.iv && *first.key != *first.iv);
        assert!(!format!("{first:?}").contains(first.key.as_str()));
    }
}
