//! Where the server is, and how it is to be reached: the address of the settings, checked.

use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates};

use super::Settings;
use super::failure::settings;
use crate::source::StageError;

/// A client for the address. Certificates are read anew each time, so that a renewed file is taken up at the next connection.
pub(super) async fn client(settings: &Settings) -> Result<Client, StageError> {
    let info = parse(settings)?;
    let Some(file) = &settings.ca_file else {
        return Client::open(info).map_err(|_| malformed());
    };
    let path = file.display();
    let pem = tokio::fs::read(file).await.map_err(|error| self::settings(format!("`ca_file` {path} cannot be read: {error}")))?;
    if !pem.windows(PEM_MARK.len()).any(|window| window == PEM_MARK) {
        return Err(self::settings(format!("`ca_file` {path} holds no PEM certificate")));
    }
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
    Client::build_with_tls(info, certificates)
        .map_err(|_| self::settings(format!("`ca_file` {path} holds no usable certificate")))
}

/// The server's host and port, for people.
pub(super) fn label(settings: &Settings) -> String {
    parse(settings).map_or_else(|_| "redis".to_owned(), |info| format!("redis at {}", info.addr()))
}

const PEM_MARK: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn parse(settings: &Settings) -> Result<ConnectionInfo, StageError> {
    let info = settings.uri.expose_str().into_connection_info().map_err(|_| malformed())?;
    let tls = match info.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            return Err(self::settings(
                "the address ends in `#insecure`, which would trust any server: name its authority in `ca_file` instead",
            ));
        }
        addr => matches!(addr, ConnectionAddr::TcpTls { .. }),
    };
    if settings.ca_file.is_some() && !tls {
        return Err(self::settings("`ca_file` is for a `rediss://` address, and this one is not encrypted"));
    }
    // CLIENT SETINFO is left out: a user whose rights end at the sink's own commands need not have it.
    let redis = info.redis_settings().clone().set_skip_set_lib_name();
    Ok(info.set_redis_settings(redis).set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

fn malformed() -> StageError {
    settings(
        "the address is none of Redis: it is written redis://user:password@host:port/database, and rediss:// with TLS, special characters percent-encoded",
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::sink::redis::Mode;

    fn at(uri: &str, ca_file: Option<&std::path::Path>) -> Settings {
        let ca_file = ca_file.map(Into::into);
        Settings { uri: uri.into(), ca_file, mode: Mode::PubSub, key: "k".into(), timeout: std::time::Duration::from_secs(1) }
    }

    #[tokio::test]
    async fn credentials_and_database_come_from_the_address_percent_decoded() {
        let client = client(&at("redis://us%40er:p%2Fw%23@h.example:7000/3", None)).await.expect("a client");
        let info = client.get_connection_info();
        let redis = info.redis_settings();
        assert_eq!((redis.username(), redis.password(), redis.db()), (Some("us@er"), Some("p/w#"), 3));
        assert!(info.tcp_settings().nodelay());
    }

    #[test]
    fn the_label_holds_no_credentials() {
        assert_eq!(label(&at("redis://user:secret@h.example:7000/3", None)), "redis at h.example:7000");
    }

    #[tokio::test]
    async fn an_address_that_trusts_anybody_is_refused() {
        let error = client(&at("rediss://h.example/#insecure", None)).await.expect_err("refused");
        assert!(error.needs_operator && error.message.contains("#insecure"), "{error}");
    }

    #[tokio::test]
    async fn a_malformed_address_is_not_repeated() {
        for uri in ["", "http://secret@h", "redis://secret@h/db", "rediss://secret@h/#other", "secret"] {
            let error = client(&at(uri, None)).await.expect_err("refused");
            assert!(error.needs_operator && !error.message.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_ca_file_must_exist_hold_a_certificate_and_be_of_use() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let missing = std::path::Path::new("no/such.pem");
        assert!(client(&at("rediss://h", Some(missing))).await.expect_err("missing").message.contains("no/such.pem"));
        assert!(client(&at("rediss://h", Some(file.path()))).await.expect_err("empty").message.contains("no PEM"));
        assert!(client(&at("redis://h", Some(file.path()))).await.expect_err("of no use").message.contains("rediss"));
        file.write_all(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").expect("written");
        assert!(client(&at("rediss://h", Some(file.path()))).await.expect_err("broken").needs_operator);
    }
}
