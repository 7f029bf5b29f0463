//! Both forms mean what libpq says they mean, and no error shows a value.

use super::*;

fn read(address: &str) -> Result<PgConnectOptions, PostgresAddressError> {
    parse(&Secret::from(address))
}

/// sqlx has no getter for the password; its Debug, which nothing else prints, does show it.
fn shows(options: &PgConnectOptions, expected: &str) -> bool {
    format!("{options:?}").contains(expected)
}

#[test]
fn both_forms_mean_the_same() {
    for address in [
        "postgres://rtmc_user:rtmc_password@db.example:6432/rtmc?sslmode=require",
        "postgresql://rtmc_user:rtmc_password@db.example:6432/rtmc?ssl=true",
        "postgres:///?host=db.example&port=6432&dbname=rtmc&user=rtmc_user&password=rtmc_password&sslmode=require",
        "host=db.example port=6432 dbname=rtmc user=rtmc_user password=rtmc_password sslmode=require",
        "  host = db.example\tport= 6432\n dbname ='rtmc' user=rtmc_user password='rtmc_password' sslmode=require  ",
    ] {
        let options = read(address).unwrap();
        assert_eq!(describe(&options), "rtmc_user@db.example:6432/rtmc", "{address}");
        assert!(shows(&options, "password: Some(\"rtmc_password\")"), "{address}");
        assert!(shows(&options, "ssl_mode: Require"), "{address}");
    }
}

#[test]
fn quotes_and_escapes_are_those_of_libpq() {
    let options = read(r"host=db user=u dbname='my db' password='it\'s a \\ pass=word'").unwrap();
    assert_eq!(options.get_database(), Some("my db"));
    assert!(shows(&options, r#"Some("it's a \\ pass=word")"#));
    let options = read(r"host=db user=u password=a\ b\'c").unwrap();
    assert!(shows(&options, r#"Some("a b'c")"#));
}

#[test]
fn a_password_survives_every_character() {
    let password = "p@ss:/?#%&=+ 'ü\\\"";
    let encoded: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let quoted = password.replace('\\', r"\\").replace('\'', r"\'");
    for address in [format!("postgres://u:{encoded}@db/d"), format!("host=db user=u dbname=d password='{quoted}'")] {
        let options = read(&address).unwrap();
        assert!(shows(&options, &format!("password: Some({password:?})")), "{address}");
        assert_eq!(describe(&options), "u@db:5432/d");
    }
    assert!(shows(&read("postgres://u:p@ss@db/d").unwrap(), r#"Some("p@ss")"#));
    assert!(shows(&read("postgres://u:a+b@db/d").unwrap(), r#"Some("a+b")"#));
}

#[test]
fn sockets_and_numeric_addresses_are_hosts_too() {
    for address in ["host=/run/pg user=u dbname=d", "postgres://u@%2Frun%2Fpg/d", "postgres://u@/d?host=/run/pg"] {
        assert_eq!(describe(&read(address).unwrap()), "u@/run/pg:5432/d", "{address}");
    }
    assert_eq!(read("postgres://u@[::1]:5433/d").unwrap().get_host(), "::1");
    assert_eq!(read("postgres://u@[::1]/d").unwrap().get_host(), "::1");
    assert_eq!(read("host=name hostaddr=10.0.0.1 user=u").unwrap().get_host(), "10.0.0.1");
}

#[test]
fn an_unknown_parameter_is_named_with_the_nearest_known_one() {
    let suggestion = |address: &str| read(address).unwrap_err().to_string();
    assert_eq!(
        suggestion("host=db sslmod=require"),
        "the PostgreSQL address has an unknown parameter `sslmod`; did you mean `sslmode`?"
    );
    assert_eq!(suggestion("postgres://db/?colour=red"), "the PostgreSQL address has an unknown parameter `colour`");
}

#[test]
fn what_cannot_be_honoured_is_refused_and_what_makes_no_difference_passes() {
    assert!(matches!(read("host=db connect_timeout=3"), Err(PostgresAddressError::Unsupported { name: "connect_timeout", .. })));
    assert!(matches!(read("postgres://db/d?channel_binding=require"), Err(PostgresAddressError::Unsupported { .. })));
    assert!(read("host=db keepalives=1 client_encoding=UTF8 target_session_attrs=any").is_ok());
    assert!(matches!(read("host=db target_session_attrs=read-write"), Err(PostgresAddressError::Value { .. })));
}

#[test]
fn verification_is_never_weaker_than_what_was_asked_for() {
    assert!(matches!(read("host=db sslmode=verify_full"), Err(PostgresAddressError::Value { name: "sslmode", .. })));
    assert!(matches!(read("host=db hostaddr=10.0.0.1 sslmode=verify-full"), Err(PostgresAddressError::Unsupported { .. })));
    assert!(matches!(read("host=db sslrootcert=system"), Err(PostgresAddressError::Value { name: "sslmode", .. })));
    let options = read("host=db sslmode=verify-full sslrootcert=system").unwrap();
    assert!(shows(&options, "ssl_mode: VerifyFull") && shows(&options, "ssl_root_cert: None"));
    let options = read("host=db sslmode=verify-ca sslrootcert=/etc/ca.pem").unwrap();
    assert!(shows(&options, "/etc/ca.pem"));
}

#[test]
fn no_error_shows_a_value() {
    for address in [
        "host=db password=my s3cret",
        "host=db password='s3cret",
        "host=db password=x S3CRET=y",
        "postgres://u:s3cret/more@db/d",
        "postgres://u:s3%cret@db/d",
        "postgres://u@db:s3cret/d",
        "mysql://u:s3cret@db/d",
        "s3cret",
        "host=db sslmode=s3cret",
        "host=db,s3cret user=u",
        "postgres://[s3cret/d",
        "postgres://db/d?s3cret",
    ] {
        let error = read(address).unwrap_err();
        let shown = format!("{error} {error:?}").to_lowercase();
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn what_is_no_address_says_so() {
    assert_eq!(read("").unwrap_err(), PostgresAddressError::Empty);
    assert_eq!(read(" \n").unwrap_err(), PostgresAddressError::Empty);
    assert_eq!(parse(&Secret::new(vec![0xff])).unwrap_err(), PostgresAddressError::NotText);
    assert_eq!(read("host=a\0b").unwrap_err(), PostgresAddressError::NotText);
    assert_eq!(read("postgres://u:%00@db").unwrap_err(), PostgresAddressError::NotText);
    assert_eq!(read("rtmc").unwrap_err(), PostgresAddressError::NeitherForm);
    assert!(matches!(read("host=db port=0"), Err(PostgresAddressError::Value { name: "port", .. })));
}

#[test]
fn the_last_of_a_repeated_parameter_counts_and_an_empty_one_is_the_default() {
    assert_eq!(read("host=a host=b user=u").unwrap().get_host(), "b");
    assert_eq!(read("host=a user=u port='' dbname=''").unwrap().get_port(), 5432);
}
