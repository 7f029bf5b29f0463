//! How a status reads, and what a watcher is told.

use std::collections::BTreeMap;

use super::*;
use crate::ledger::{Balance, LaneBalance};
use crate::pipeline::PluginReport;
use crate::pipeline::reload::{Event, Outcome, Standing, Trigger};
use crate::plugin::Kind;
use crate::telemetry::Health;

fn lane(delivered: u64, dead_lettered: u64) -> LaneBalance {
    let outcomes = [("delivered", delivered), ("parked", 0), ("dead_lettered", dead_lettered), ("dropped", 0), ("abandoned", 0)];
    LaneBalance { split: 0, absent: 0, outcomes: outcomes.map(|(name, count)| (name.to_owned(), count)).into() }
}

fn event(outcome: Outcome, trigger: Trigger, (from, to): (u64, u64), reason: Option<&str>) -> Event {
    Event {
        pipeline: "orders".to_owned(),
        at: "2026-01-02T03:04:05.678Z".to_owned(),
        trigger,
        outcome,
        from,
        to,
        reason: reason.map(str::to_owned),
        changes: Vec::new(),
        gates: Vec::new(),
        swap: None,
        millis: 1.0,
    }
}

fn plugin(step: &str, kind: Kind, imports: &[&str]) -> PluginReport {
    PluginReport {
        step: step.to_owned(),
        plugin: format!("{step}.wasm"),
        name: format!("{step}-message"),
        version: "0.1.0".to_owned(),
        kind,
        line: "0.1".to_owned(),
        digest: format!("sha256:{}", "3fa9c1d2e4b5".repeat(5)),
        imports: imports.iter().map(|import| (*import).to_owned()).collect(),
    }
}

fn status() -> Status {
    let reason = "the gate tests refused: the test \"a message without id is dead-lettered\" failed: it was delivered";
    Status {
        version: "0.1.0".to_owned(),
        pipeline: "orders".to_owned(),
        generation: 4,
        standing: Standing { rollback_to: Some(3), on_probation: true },
        ledger: Balance {
            received: 1200,
            acked: 1080,
            returned: 0,
            in_flight: 120,
            redelivered: 3,
            lanes: [("broadcast".to_owned(), lane(1180, 7)), ("history".to_owned(), lane(1080, 7))].into(),
            generations: BTreeMap::new(),
            balanced: true,
        },
        plugins: vec![plugin("seal", Kind::Cipher, &[]), plugin("validate", Kind::Validator, &["clock", "log"])],
        stages: [
            ("sinks.history".to_owned(), Health::Down("connection refused".to_owned())),
            ("source.rabbitmq".to_owned(), Health::Up),
        ]
        .into(),
        reloads: vec![
            event(Outcome::Refused, Trigger::File, (3, 3), Some(reason)),
            event(Outcome::Swapped, Trigger::Reload, (3, 4), None),
        ],
    }
}

fn fresh() -> Status {
    let up = ["sinks.history", "source.rabbitmq"].map(|stage| (stage.to_owned(), Health::Up));
    Status { standing: Standing::default(), plugins: Vec::new(), stages: BTreeMap::from(up), reloads: Vec::new(), ..status() }
}

fn seen(at: Instant, received: u64) -> Look {
    let mut status = fresh();
    status.ledger.received = received;
    Look { at, pipelines: vec![status] }
}

#[test]
fn a_status_is_a_page() {
    insta::assert_snapshot!(show::whole(&status(), Some(119.6)), @r#"
    orders: generation 4, tidegate 0.1.0
      on probation: it is rolled back by itself where it refuses too much
      `tidegate rollback` would go back to generation 3

      step      plugin                  kind       sha256        imports
      seal      seal-message 0.1.0      cipher     3fa9c1d2e4b5  nothing
      validate  validate-message 0.1.0  validator  3fa9c1d2e4b5  clock, log

      stage            health
      sinks.history    DOWN: connection refused
      source.rabbitmq  up

      lane       delivered  parked  dead-lettered  dropped  abandoned  split  absent
      broadcast       1180       0              7        0          0      0       0
      history         1080       0              7        0          0      0       0
      received 1200 (120/s), 3 of them redelivered
      acked 1080, returned 0, in flight 120; the ledger balances

      reload                    by      outcome  generation  reason
      2026-01-02T03:04:05.678Z  reload  swapped  3 → 4
      2026-01-02T03:04:05.678Z  file    refused  3           the gate tests refused: the test "a message
                                                             without id is dead-lettered" failed: it was
                                                             delivered
    "#);
}

#[test]
fn a_fresh_pipeline_has_a_short_page() {
    insta::assert_snapshot!(show::whole(&fresh(), None), @r#"
    orders: generation 4, tidegate 0.1.0
      there is nothing to roll back to

      stage            health
      sinks.history    up
      source.rabbitmq  up

      lane       delivered  parked  dead-lettered  dropped  abandoned  split  absent
      broadcast       1180       0              7        0          0      0       0
      history         1080       0              7        0          0      0       0
      received 1200, 3 of them redelivered
      acked 1080, returned 0, in flight 120; the ledger balances

      no reload yet
    "#);
}

#[test]
fn a_status_is_a_line_too() {
    insta::assert_snapshot!(show::line(&status(), Some(119.6)), @r#"
    orders: generation 4; received 1200 (120/s), acked 1080, in flight 120, the ledger balances; sinks.history DOWN: connection refused; last reload swapped at 2026-01-02T03:04:05.678Z
    "#);
    assert!(show::line(&fresh(), None).ends_with("all stages up"));
}

#[test]
fn the_rate_is_what_came_between_two_looks() {
    let at = Instant::now();
    let (first, second) = (seen(at, 1000), seen(at + Duration::from_secs(2), 1240));
    let of = |look: &Look, before| rate(&look.pipelines[0], look, before);
    assert_eq!(of(&first, None), None);
    assert_eq!(of(&second, Some(&first)), Some(120.0));
    // Started again in between: it counts from zero.
    assert_eq!(of(&first, Some(&second)), None);
    assert_eq!(of(&first, Some(&first)), None);
}

#[test]
fn a_watcher_without_a_terminal_is_told_only_what_is_new() {
    let at = Instant::now();
    let looks = [1000, 1000, 1000, 1240, 1240].map(|received| seen(at, received));
    let mut told = Vec::new();
    let mut before: Option<&Look> = None;
    let mut counts = Vec::new();
    for look in &looks {
        counts.push(news(lines(look, before), &mut told).lines().count());
        before = Some(look);
    }
    assert_eq!(counts, [1, 0, 0, 1, 0]);
    assert_eq!(news(vec!["no host answers".to_owned()], &mut told), "no host answers\n");
    assert_eq!(news(vec!["no host answers".to_owned()], &mut told), "");
}

#[test]
fn one_pipeline_can_be_asked_for_by_its_name() {
    assert_eq!(meant(vec![status()], Some("orders")).unwrap().len(), 1);
    let failure = meant(vec![status()], Some("order")).err().map(|failure| failure.to_string());
    assert_eq!(failure.as_deref(), Some("no pipeline is called `order`; there are: `orders`"));
}

#[test]
fn a_redrawn_page_leaves_nothing_of_the_one_before() {
    assert_eq!(redraw("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
}
