//! A cipher for tests: misbehaves when what it is to seal says so. It seals nothing: never use it for what matters.

use saboteur::AtConfigure;
use serde::Deserialize;
use tidegate_plugin::{Cipher, Key, Opening, Packed, Parameters, Reason, Rejection, Settings};

/// What everything that it sealed begins with.
const MARK: &[u8] = b"sealed:";

/// `settings` of the step.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Orders {
    /// What it does when it is configured. Default: it behaves.
    pub configure: AtConfigure,
    /// What it says its name in the stored form is. Default: saboteur.
    pub cipher: String,
    /// How long it says a nonce is, in bytes. Default: 12.
    pub nonce_bytes: u32,
    /// How long it says a key is, in bytes. Default: 32.
    pub key_bytes: u32,
    /// Whether it cannot open what it sealed. Default: false.
    pub forgetful: bool,
}

impl Default for Orders {
    fn default() -> Self {
        Self { configure: AtConfigure::Behave, cipher: "saboteur".to_owned(), nonce_bytes: 12, key_bytes: 32, forgetful: false }
    }
}

impl Settings for Orders {
    const SCHEMA: &'static str = r#"{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "configure": {
      "description": "What it does when it is configured.",
      "enum": ["behave", "error", "trap", "panic", "spin", "hoard"], "default": "behave"
    },
    "cipher": { "description": "What it says its name in the stored form is.", "type": "string", "default": "saboteur" },
    "nonce_bytes": { "description": "How long it says a nonce is, in bytes.", "type": "integer", "minimum": 0, "default": 12 },
    "key_bytes": { "description": "How long it says a key is, in bytes.", "type": "integer", "minimum": 0, "default": 32 },
    "forgetful": { "description": "Whether it cannot open what it sealed.", "type": "boolean", "default": false }
  }
}"#;
}

/// The step.
#[derive(Clone, Debug)]
pub struct Saboteur {
    orders: Orders,
}

impl Cipher for Saboteur {
    const NAME: &'static str = "saboteur-cipher";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &'static str = "For tests: a cipher that misbehaves on command.";

    type Settings = Orders;

    fn configure(orders: Orders) -> Result<Self, Reason> {
        orders.configure.commit()?;
        Ok(Self { orders })
    }

    fn parameters(&self) -> Parameters {
        let Orders { cipher, nonce_bytes, key_bytes, .. } = self.orders.clone();
        Parameters { cipher, nonce_bytes, key_bytes }
    }

    fn seal(&self, key: &Key<'_>, _: &Packed, _: &Packed, plain: &Packed) -> Result<Packed, Reason> {
        let mut sealed = Packed::default();
        for item in plain.iter() {
            match seal_command(item) {
                Some("error") => return Err(Reason::new("sabotage", "refuses to seal, as it was told")),
                Some("long-reason") => return Err(saboteur::long_reason()),
                Some("expose") => drop(key.expose()?),
                Some("clear") => sealed.push(item),
                Some("nothing") => sealed.push(b""),
                Some("garbage") => sealed.push(b"\xff\xfe garbage"),
                Some(command) => saboteur::commit(command, item),
                None => {}
            }
            if !matches!(seal_command(item), Some("clear" | "nothing" | "garbage")) {
                sealed.push_with(|bytes| seal(item, bytes));
            }
        }
        Ok(plain.iter().filter_map(seal_command).fold(sealed, |sealed, command| saboteur::break_packed(command, sealed)))
    }

    fn open(&self, _: &Key<'_>, _: &Packed, _: &Packed, sealed: &Packed) -> Result<Opening, Reason> {
        let mut opening = Opening::default();
        for (index, item) in (0..).zip(sealed.iter()) {
            let plain = open(item).filter(|_| !self.orders.forgetful);
            match plain.as_deref().and_then(open_command) {
                Some("error") => return Err(Reason::new("sabotage", "refuses to open, as it was told")),
                Some("wrong") => opening.plain.push(b"something else"),
                Some("reject-past-end") => opening.rejected.push(not_sealed(u32::MAX)),
                Some(command) => saboteur::commit(command, item),
                None => {}
            }
            match plain {
                Some(plain) if open_command(&plain) != Some("wrong") => opening.plain.push(&plain),
                Some(_) => {}
                None => {
                    opening.plain.push(b"");
                    opening.rejected.push(not_sealed(index));
                }
            }
        }
        let opened: Vec<_> = sealed.iter().filter_map(open).collect();
        let commands = opened.iter().filter_map(|plain| open_command(plain));
        opening.plain = commands.fold(opening.plain, |plain, command| saboteur::break_packed(command, plain));
        Ok(opening)
    }
}

/// `sabotage:COMMAND`: what to do while sealing it.
fn seal_command(plain: &[u8]) -> Option<&str> {
    std::str::from_utf8(plain.strip_prefix(b"sabotage:")?).ok()
}

/// `sabotage-open:COMMAND`: what to do while opening it.
fn open_command(plain: &[u8]) -> Option<&str> {
    std::str::from_utf8(plain.strip_prefix(b"sabotage-open:")?).ok()
}

fn seal(plain: &[u8], sealed: &mut Vec<u8>) {
    sealed.extend_from_slice(MARK);
    sealed.extend(plain.iter().rev());
}

fn open(sealed: &[u8]) -> Option<Vec<u8>> {
    Some(sealed.strip_prefix(MARK)?.iter().rev().copied().collect())
}

fn not_sealed(index: u32) -> Rejection {
    Rejection { index, reason: Reason::new("not_authentic", "this cipher did not seal it") }
}

tidegate_plugin::cipher!(Saboteur);

#[cfg(test)]
mod tests {
    use tidegate_plugin::testing::{Item, open, seal, settings_problems};
    use tidegate_plugin::{Cipher, Key};

    use super::{Orders, Saboteur};

    fn item(bytes: &[u8]) -> Item<'_> {
        Item { nonce: &[0; 12], context: b"", bytes }
    }

    #[test]
    fn what_it_seals_it_opens_and_garbage_it_rejects() {
        let step = Saboteur::from_settings("{}").unwrap();
        let key = Key::software(&[0; 32]);
        let sealed = seal(&step, &key, &[item(b"plain"), item(b""), item(b"sabotage:garbage")]).unwrap();
        let items: Vec<_> = sealed.iter().map(|bytes| item(bytes)).collect();
        let opened = open(&step, &key, &items).unwrap();
        assert_eq!(opened[..2], [Ok(b"plain".to_vec()), Ok(Vec::new())]);
        assert_eq!(opened[2].as_ref().unwrap_err().code, "not_authentic");
    }

    #[test]
    fn a_forgetful_one_opens_nothing() {
        let step = Saboteur::from_settings(r#"{"forgetful": true}"#).unwrap();
        let opened = open(&step, &Key::software(&[0; 32]), &[item(b"sealed:nialp")]).unwrap();
        assert_eq!(opened[0].as_ref().unwrap_err().code, "not_authentic");
    }

    #[test]
    fn it_fails_when_it_is_told() {
        let step = Saboteur::from_settings("{}").unwrap();
        let key = Key::software(&[0; 32]);
        assert_eq!(seal(&step, &key, &[item(b"sabotage:error")]).unwrap_err().code, "sabotage");
        assert_eq!(seal(&step, &key, &[item(b"sabotage:expose")]).unwrap_err().code, "denied");
    }

    #[test]
    fn the_schema_and_the_settings_say_the_same() {
        assert_eq!(settings_problems::<Orders>(), Vec::<String>::new());
    }
}
