//! How events read, and which exit codes they have.

use super::*;
use crate::cli::layout::WIDTH;
use crate::pipeline::reload::{Gate, Pause, StageChange};

fn bare(outcome: Outcome, trigger: Trigger) -> Event {
    Event {
        pipeline: "orders".to_owned(),
        at: "2026-01-02T03:04:05.678Z".to_owned(),
        trigger,
        outcome,
        from: 3,
        to: 3,
        reason: None,
        changes: Vec::new(),
        gates: Vec::new(),
        swap: None,
        millis: 312.4,
    }
}

fn change(key: &str, class: Class, from: Option<&str>, to: Option<&str>) -> Change {
    Change { key: key.to_owned(), class, from: from.map(str::to_owned), to: to.map(str::to_owned) }
}

fn gate(gate: Gate, verdict: Verdict, millis: f64, details: &[&str]) -> GateResult {
    GateResult { gate, verdict, millis, details: details.iter().map(|detail| (*detail).to_owned()).collect() }
}

fn swapped() -> Event {
    let stage = |stage: &str, action, millis, left| StageChange { stage: stage.to_owned(), action, millis, left };
    Event {
        to: 4,
        changes: vec![
            change("pipeline.batch.linger", Class::Live, Some("0s"), Some("5ms")),
            change("sinks.audit", Class::Reconnect, None, Some("a table of 3 keys")),
            change("sinks.history.postgres.pool", Class::Reconnect, Some("4"), Some("8")),
            change("sinks.history.postgres.uri", Class::Reconnect, Some("[secret]"), Some("[secret], another one")),
            change("source.rabbitmq.prefetch", Class::Reconnect, Some("2048"), Some("512")),
            change("steps.seal", Class::StepSwap, Some("seal.wasm"), None),
            change("steps.validate.plugin", Class::StepSwap, Some("validate.wasm"), Some("validate-2.wasm (3fa9c1d2)")),
        ],
        gates: vec![
            gate(Gate::Parse, Verdict::Passed, 0.4, &[]),
            gate(Gate::Compile, Verdict::Passed, 2345.0, &[]),
            gate(Gate::Tests, Verdict::Skipped, 0.0, &[]),
            gate(
                Gate::Preflight,
                Verdict::Forced,
                8.5,
                &["2 of 100 messages are refused that were not: `missing_id` by validate"],
            ),
        ],
        swap: Some(Swap {
            pause: Some(Pause { workers: 4, p50_micros: 12, p99_micros: 80, max_micros: 2400 }),
            in_flight: 120,
            finished_on_old: 64,
            redelivered: 0,
            balanced: true,
            stages: vec![
                stage("sinks.audit", StageAction::Opened, 3.0, 0),
                stage("sinks.history", StageAction::Reopened, 41.2, 0),
                stage("source.rabbitmq", StageAction::Reopened, 20_000.0, 7),
            ],
        }),
        ..bare(Outcome::Swapped, Trigger::Reload)
    }
}

fn refused() -> Event {
    let reason = "the gate tests refused: the test \"a message without id is dead-lettered\" failed: it was delivered to `history` \
                  instead, where the case expects the step `validate` to reject it (and 24 more)";
    let details: Vec<String> = (1..=25).map(|number| format!("the test \"case {number}\" failed: it was dropped")).collect();
    let details: Vec<&str> = details.iter().map(String::as_str).collect();
    Event {
        reason: Some(reason.to_owned()),
        gates: vec![gate(Gate::Parse, Verdict::Passed, 0.4, &[]), gate(Gate::Tests, Verdict::Refused, 12.0, &details)],
        ..bare(Outcome::Refused, Trigger::Plan)
    }
}

#[test]
fn a_swap_is_told_with_every_fact() {
    insta::assert_snapshot!(event(&swapped()), @r#"
    orders: swapped, generation 3 → 4
      asked for by `tidegate reload`, took 312 ms, ended 2026-01-02T03:04:05.678Z

      live: at once; nothing is built or opened anew
        pipeline.batch.linger  0s → 5ms

      step swap: the next batch runs on the new steps; nothing is reconnected
        steps.seal             gone: seal.wasm
        steps.validate.plugin  validate.wasm → validate-2.wasm (3fa9c1d2)

      reconnect: sinks.audit is opened; the other lanes go on
        sinks.audit  new: a table of 3 keys

      reconnect: sinks.history is drained and opened anew; the other lanes go on
        sinks.history.postgres.pool  4 → 8
        sinks.history.postgres.uri   [secret] → [secret], another one

      reconnect: source.rabbitmq is drained and opened anew; the sinks go on
        source.rabbitmq.prefetch  2048 → 512

      gates
        parse         passed    400 µs
        compile       passed     2.3 s
        tests         skipped
        preflight     FORCED    8.5 ms
          2 of 100 messages are refused that were not: `missing_id` by validate

      swap
        pause                  p50 12 µs, p99 80 µs, max 2.4 ms, over 4 worker(s)
        in flight at the swap  120
        finished on old        64
        redelivered            0
        ledger                 balances
        sinks.audit            opened, took nothing for 3.0 ms
        sinks.history          opened anew, took nothing for 41 ms
        source.rabbitmq        opened anew, took nothing for 20.0 s; 7 left to the broker
    "#);
}

#[test]
fn a_refusal_says_why_and_how_much_more_there_is() {
    let text = event(&refused());
    let head: Vec<&str> = text.lines().take(10).collect();
    insta::assert_snapshot!(head.join("\n"), @r#"
    orders: it would be refused; generation 3 runs
      asked for by `tidegate plan`, took 312 ms, ended 2026-01-02T03:04:05.678Z
      reason: the gate tests refused: the test "a message without id is dead-lettered" failed: it was
              delivered to `history` instead, where the case expects the step `validate` to reject it
              (and 24 more)

      gates
        parse         passed    400 µs
        tests         REFUSED    12 ms
          the test "case 1" failed: it was dropped
    "#);
    assert!(text.contains("case 20\"") && !text.contains("case 21\""), "{text}");
    assert!(text.ends_with("      and 5 more; `--json` has them all\n"), "{text}");
}

#[test]
fn short_outcomes_are_short() {
    let idle = Swap { balanced: false, ..Swap::default() };
    let back = Event { to: 2, swap: Some(idle), ..bare(Outcome::RolledBack, Trigger::Rollback) };
    let texts = [bare(Outcome::Unchanged, Trigger::Signal), bare(Outcome::Planned, Trigger::Plan), back].map(|one| event(&one));
    insta::assert_snapshot!(texts.join("\n"), @r#"
    orders: nothing differs from what runs, generation 3
      asked for by SIGHUP, took 312 ms, ended 2026-01-02T03:04:05.678Z

    orders: it would be swapped; generation 3 runs
      asked for by `tidegate plan`, took 312 ms, ended 2026-01-02T03:04:05.678Z

    orders: rolled back, generation 3 → 2
      asked for by `tidegate rollback`, took 312 ms, ended 2026-01-02T03:04:05.678Z

      swap
        pause                  none: the pipeline was idle
        in flight at the swap  0
        finished on old        0
        redelivered            0
        ledger                 DOES NOT BALANCE
    "#);
}

#[test]
fn stages_that_come_and_go_are_told_apart() {
    let told = |key, from, to| effect(&change(key, Class::Reconnect, from, to));
    assert_eq!(told("sinks.audit", None, Some("x")), "sinks.audit is opened; the other lanes go on");
    assert_eq!(told("sinks.audit", Some("x"), None), "sinks.audit is drained and closed; the other lanes go on");
    assert_eq!(told("sinks.audit.redis", None, Some("x")), "sinks.audit is drained and opened anew; the other lanes go on");
    assert_eq!(told("source.http.listen", Some("a"), Some("b")), "source.http is drained and opened anew; the sinks go on");
    assert!(effect(&change("admin.listen", Class::Restart, None, None)).contains("start it again"));
}

#[test]
fn reports_fit_on_a_hundred_columns() {
    for text in [event(&swapped()), event(&refused())] {
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert_eq!(line.trim_end(), line);
        }
    }
}

#[test]
fn the_exit_code_says_what_came_of_it() {
    let code = |outcomes: &[Outcome], error: Option<&str>| {
        let events = outcomes.iter().map(|outcome| bare(*outcome, Trigger::Plan)).collect();
        judge(&Answered { events, error: error.map(str::to_owned) }).map_or_else(|failure| failure.code(), |()| 0)
    };
    for (outcomes, expected) in [
        (&[Outcome::Unchanged][..], 0),
        (&[Outcome::Swapped, Outcome::RolledBack], 0),
        (&[Outcome::Unchanged, Outcome::Planned], 2),
        (&[Outcome::Planned, Outcome::Refused], 78),
        (&[Outcome::Swapped, Outcome::Refused], 78),
    ] {
        assert_eq!(code(outcomes, None), expected, "{outcomes:?}");
        assert_eq!(code(outcomes, Some("stopped")), 1, "{outcomes:?}");
    }
}
