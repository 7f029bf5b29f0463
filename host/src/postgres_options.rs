//! A PostgreSQL address as a person writes it, in either of libpq's forms, and what sqlx makes of it.
//!
//! Both forms are read here, by libpq's rules, because sqlx knows the URL alone and ignores what it does not know: an `sslmode` with
//! a typo would then be an unprotected connection. No error shows a value, since any of them may be a password or a piece of one.

mod form;

use std::fmt::Write as _;

use sqlx::postgres::PgConnectOptions;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Why a text is no PostgreSQL address. Never holds a value of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostgresAddressError {
    /// Nothing, or nothing but spaces.
    #[error("the PostgreSQL address is empty; write `postgres://user:password@host/database` or `host=… dbname=… user=…`")]
    Empty,
    /// Bytes that are no text, or U+0000 in it.
    #[error("the PostgreSQL address is not UTF-8 text")]
    NotText,
    /// Neither form.
    #[error("the PostgreSQL address is neither `postgres://user:password@host/database` nor `host=… dbname=… user=…`")]
    NeitherForm,
    /// A keyword/value pair that breaks the grammar.
    #[error("the PostgreSQL address breaks at character {at}: {problem}")]
    Grammar {
        /// Where, counted from 1.
        at: usize,
        /// What was expected there.
        problem: &'static str,
    },
    /// A parameter that neither libpq nor Tidegate knows.
    #[error("the PostgreSQL address has an unknown parameter `{name}`{}", suggestion.as_ref().map_or_else(String::new, |near| format!("; did you mean `{near}`?")))]
    Unknown {
        /// Its name.
        name: String,
        /// The nearest known name.
        suggestion: Option<&'static str>,
    },
    /// A parameter that libpq knows and Tidegate cannot honour.
    #[error("`{name}` in the PostgreSQL address is not supported: {instead}")]
    Unsupported {
        /// Its name.
        name: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A value that the parameter does not take.
    #[error("`{name}` in the PostgreSQL address has a wrong value: expected {expected}")]
    Value {
        /// Name of the parameter.
        name: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// sqlx refuses what was read.
    #[error("the PostgreSQL address cannot be used: {0}")]
    Refused(String),
}

/// Reads an address in either form: `postgres://user:password@host:port/database?sslmode=…` or libpq's `host=… port=… dbname=…`.
/// What is left out comes from the environment (`PGHOST`, `PGPASSWORD`, `~/.pgpass`, …) as libpq has it.
///
/// The answer's `Debug` shows the password: print [`describe`] instead.
///
/// # Errors
/// Fails when the text is in neither form, or holds a parameter or a value that could not be honoured. Nothing is ignored.
pub fn parse(address: &Secret) -> Result<PgConnectOptions, PostgresAddressError> {
    let text = std::str::from_utf8(address.expose()).map_err(|_| PostgresAddressError::NotText)?.trim();
    if text.contains('\0') {
        return Err(PostgresAddressError::NotText);
    }
    let pairs = match text {
        "" => return Err(PostgresAddressError::Empty),
        _ => form::pairs(text)?,
    };
    let mut settings = Settings::default();
    for (name, value) in &pairs {
        settings.take(name, value)?;
    }
    settings.check()?.to_url().parse().map_err(|error: sqlx::Error| PostgresAddressError::Refused(error.to_string()))
}

/// Where the options lead, for logs and errors: `user@host:port/database`, without the password.
#[must_use]
pub fn describe(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or_else(|| options.get_host().to_owned(), |folder| folder.display().to_string());
    let database = options.get_database().unwrap_or(options.get_username());
    format!("{}@{host}:{}/{database}", options.get_username(), options.get_port()).escape_debug().to_string()
}

/// What libpq can say and Tidegate can honour.
const KNOWN: [&str; 13] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "options",
    "statement-cache-capacity",
];

/// What libpq can say and Tidegate cannot honour, with what to do about it.
const UNSUPPORTED: [(&str, &str); 13] = [
    ("connect_timeout", "the stage's own `timeout` setting bounds the connection"),
    ("passfile", "set the environment variable PGPASSFILE"),
    ("service", "write the parameters out"),
    ("sslpassword", "give a client key without a pass phrase in a file that only its owner may read"),
    ("sslcrl", "certificate revocation lists are not read"),
    ("sslcrldir", "certificate revocation lists are not read"),
    ("require_auth", "the server's pg_hba.conf decides how a user proves who it is"),
    ("channel_binding", "leave it out, and set sslmode=verify-full so that the server proves who it is"),
    ("gssencmode", "use sslmode"),
    ("krbsrvname", "Kerberos is not spoken"),
    ("replication", "Tidegate does not replicate"),
    ("load_balance_hosts", "name one host, or put a balancer before the servers"),
    ("sslnegotiation", "leave it out"),
];

/// What libpq can say and makes no difference here as long as it has one of these values; none means any.
const WITHOUT_EFFECT: [(&str, &[&str], &str); 9] = [
    ("client_encoding", &["utf8", "utf-8", "unicode", "auto"], "UTF8"),
    ("target_session_attrs", &["any"], "`any`: a server that is read-only is found out by its answers"),
    ("gsslib", &[], ""),
    ("fallback_application_name", &[], ""),
    ("keepalives", &[], ""),
    ("keepalives_idle", &[], ""),
    ("keepalives_interval", &[], ""),
    ("keepalives_count", &[], ""),
    ("tcp_user_timeout", &[], ""),
];

const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// The parameters that were given, the last value of each.
#[derive(Default)]
struct Settings(Vec<(&'static str, Zeroizing<String>)>);

impl Settings {
    fn take(&mut self, name: &str, value: &str) -> Result<(), PostgresAddressError> {
        if (name, value) == ("ssl", "true") {
            // What JDBC writes; libpq reads it so in a URL.
            return self.take("sslmode", "require");
        }
        if let Some(known) = KNOWN.into_iter().find(|known| *known == name) {
            check_value(known, value)?;
            self.0.retain(|(given, _)| *given != known);
            // An empty value means the default, as in libpq.
            if !value.is_empty() {
                self.0.push((known, Zeroizing::new(value.to_owned())));
            }
            return Ok(());
        }
        if let Some((name, instead)) = UNSUPPORTED.into_iter().find(|(unsupported, _)| *unsupported == name) {
            return Err(PostgresAddressError::Unsupported { name, instead });
        }
        match WITHOUT_EFFECT.into_iter().find(|(idle, ..)| *idle == name) {
            Some((_, values, _)) if values.is_empty() || values.contains(&value.to_ascii_lowercase().as_str()) => Ok(()),
            Some((name, _, expected)) => Err(PostgresAddressError::Value { name, expected }),
            None => Err(unknown(name)),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// What only shows when all parameters are known.
    fn check(mut self) -> Result<Self, PostgresAddressError> {
        let full = self.get("sslmode") == Some("verify-full");
        if full && self.get("hostaddr").is_some() {
            let instead = "with sslmode=verify-full the certificate is checked against `host`: give that alone";
            return Err(PostgresAddressError::Unsupported { name: "hostaddr", instead });
        }
        if self.get("sslrootcert") == Some("system") {
            if !full {
                return Err(PostgresAddressError::Value {
                    name: "sslmode",
                    expected: "`verify-full`, because sslrootcert=system",
                });
            }
            // Without a file the system's authorities are what is trusted.
            self.0.retain(|(name, _)| *name != "sslrootcert");
        }
        if self.get("hostaddr").is_some() {
            self.0.retain(|(name, _)| *name != "host");
        }
        Ok(self)
    }

    /// The one form that sqlx reads, by which it looks into `~/.pgpass` too once it knows host and user.
    fn to_url(&self) -> Zeroizing<String> {
        // Room for every value percent-encoded, so that no copy of the password is left behind by growing.
        let room = self.0.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum::<usize>() + "postgres:///?".len();
        let mut url = Zeroizing::new(String::with_capacity(room));
        url.push_str("postgres:///?");
        for (name, value) in &self.0 {
            url.push_str(name);
            url.push('=');
            for byte in value.bytes() {
                write!(url, "%{byte:02X}").expect("writing to a string does not fail");
            }
            url.push('&');
        }
        url
    }
}

fn check_value(name: &'static str, value: &str) -> Result<(), PostgresAddressError> {
    if value.is_empty() {
        return Ok(());
    }
    let expected = match name {
        "sslmode" if !SSL_MODES.contains(&value) => "disable, allow, prefer, require, verify-ca or verify-full",
        "port" if value.contains(',') => "one port: several servers are not supported",
        "port" if !value.parse::<u16>().is_ok_and(|port| port > 0) => {
            "a number from 1 to 65535 (in a URL, `/`, `?`, `#`, `@` and `%` of a password are written %2F, %3F, %23, %40 and %25)"
        }
        "host" | "hostaddr" if value.contains(',') => "one host: several servers are not supported",
        "hostaddr" if value.parse::<std::net::IpAddr>().is_err() => "an IP address",
        "statement-cache-capacity" if value.parse::<u16>().is_err() => "a number from 0 to 65535",
        _ => return Ok(()),
    };
    Err(PostgresAddressError::Value { name, expected })
}

fn unknown(name: &str) -> PostgresAddressError {
    let near = KNOWN.into_iter().map(|known| (strsim::damerau_levenshtein(known, name), known)).min();
    let suggestion = near.filter(|(distance, known)| *distance <= known.len() / 3).map(|(_, known)| known);
    PostgresAddressError::Unknown { name: name.chars().take(64).collect::<String>().escape_debug().to_string(), suggestion }
}

#[cfg(test)]
mod tests;
