//! Asking a host that the test plays.

use axum::Router;
use axum::extract::Request as Incoming;
use axum::routing::{get, post};
use clap::Parser;
use tokio::net::TcpListener;

use super::*;
use crate::lifecycle::Stop;

/// A command line of one question.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    question: Question,
}

fn question(arguments: &[&str]) -> Question {
    Line::try_parse_from([&["tidegate"], arguments].concat()).unwrap().question
}

async fn host_with(router: Router, tasks: &mut Tasks, stop: &Stop) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = stop.clone();
    tasks.spawn(
        "host",
        async move { axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await.unwrap() },
    );
    address
}

/// What a question to this host comes to.
async fn asked(status: u16, body: &'static str) -> Result<Answered, Failure> {
    let status = StatusCode::from_u16(status).unwrap();
    let (stop, mut tasks) = (Stop::new(), Tasks::default());
    let address = host_with(Router::new().route("/reload", post(async move || (status, body))), &mut tasks, &stop).await;
    let outcome = question(&["missing.toml", "--host", &address.to_string()]).ask("/reload", false, "reloading").await;
    stop.cancel();
    tasks.join().await;
    outcome
}

#[tokio::test]
async fn an_answer_is_taken_also_where_it_is_a_refusal_or_a_part() {
    for status in [200, 409] {
        assert_eq!(asked(status, r#"{"events": []}"#).await.unwrap().events, []);
    }
    let part = asked(503, r#"{"events": [], "error": "stopped: `a`"}"#).await.unwrap();
    assert_eq!(part.error.as_deref(), Some("stopped: `a`"));
}

#[tokio::test]
async fn what_the_host_objects_to_is_told_in_its_words_with_its_address() {
    for (status, body, words) in [
        (401, r#"{"error": "show the token"}"#, "refuses: show the token"),
        (404, "not a JSON", "refuses: 404 Not Found; is it another program, or an older version?"),
        (503, r#"{"error": "busy\u001b[2J"}"#, "refuses: busy\\u{1b}[2J"),
        (200, "hello", "answered something else than this version expects"),
    ] {
        let failure = asked(status, body).await.unwrap_err();
        let text = failure.to_string();
        assert!(text.contains(words) && text.contains("127.0.0.1:"), "{text}");
        assert_eq!(failure.code(), 1, "{text}");
    }
}

#[tokio::test]
async fn the_token_of_the_file_is_shown_even_where_the_rest_of_the_file_is_wrong() {
    let echo = async |request: Incoming| {
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("nothing");
        shown.to_owned()
    };
    let (stop, mut tasks) = (Stop::new(), Tasks::default());
    let address = host_with(Router::new().route("/status", get(echo)), &mut tasks, &stop).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = (folder.path().join("pipeline.toml"), folder.path().join("token"));
    std::fs::write(&secret, "0123456789abcdef").unwrap();
    std::fs::write(&file, format!("nonsense = 1\n[admin]\nlisten = \"{address}\"\ntoken = \"${{file:{}}}\"\n", secret.display()))
        .unwrap();
    let file = file.to_str().unwrap();
    for (arguments, shown) in [
        (vec![file], "Bearer 0123456789abcdef"),
        (vec![file, "--token", "another"], "Bearer another"),
        (vec!["missing.toml", "--host"], "nothing"),
    ] {
        let at = address.to_string();
        let arguments = if arguments.last() == Some(&"--host") { [&arguments[..], &[&at]].concat() } else { arguments };
        let (status, answer) = question(&arguments).target.host().unwrap().get("/status").await.unwrap();
        assert_eq!((status, &answer[..]), (StatusCode::OK, shown.as_bytes()));
    }
    stop.cancel();
    tasks.join().await;
}

#[tokio::test]
async fn where_no_host_answers_the_address_is_named_and_what_works_without_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let failure = question(&["missing.toml", "--host", &address]).ask("/plan", false, "asking").await.unwrap_err();
    let text = failure.to_string();
    assert!(text.contains(&address) && text.contains("`tidegate check`"), "{text}");
    assert_eq!(failure.code(), 1);
    let missing = question(&["missing.toml"]).target.host().unwrap_err();
    assert_eq!(missing.code(), 78, "{missing}");
}

#[test]
fn a_token_is_never_shown() {
    let line = format!("{:?}", question(&["--token", "0123456789abcdef"]));
    assert!(line.contains("[secret]") && !line.contains("0123456789abcdef"), "{line}");
}

#[test]
fn a_listener_on_every_address_is_asked_on_the_loopback() {
    for (address, asked) in
        [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1"), ("127.0.0.2:1", "127.0.0.2:1")]
    {
        assert_eq!(reachable(address.parse().unwrap()), asked.parse().unwrap());
    }
}
