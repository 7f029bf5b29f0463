//! Steps that behave: what they are given, what they make of it, and when an instance is replaced.

use std::borrow::Cow;

use super::*;
use crate::message::{MessageId, Properties};
use crate::plugin::{Failure, Fate, Kind, Validator};

#[test]
fn a_component_says_what_it_is_before_it_is_used() {
    let component = plugin("validate-message");
    assert_eq!(component.kind(), Kind::Validator);
    assert_eq!(component.line(), "0.1");
    assert_eq!(component.manifest().name, "validate-message");
    assert!(component.digest().starts_with("sha256:") && component.digest().len() == 71);
    assert!(component.imports().iter().all(|import| import == "tidegate:plugin/log"), "{:?}", component.imports());
    let imports = plugin("aes-256-gcm").imports().to_vec();
    assert_eq!(imports, ["tidegate:plugin/crypto"]);
}

#[test]
fn the_same_bytes_are_not_compiled_twice_while_they_are_in_use() {
    let first = plugin("validate-message");
    let again = engine().load_file(&plugin_file("validate-message")).unwrap();
    assert!(std::ptr::eq(first.manifest(), again.manifest()));
}

#[test]
fn a_transformer_decides_each_fate() {
    let Step::Transformer(transformer) = step("saboteur-transformer") else { panic!() };
    let commands = ["behave", "drop", "replace", "split", "retry", "reject", "empty"];
    let fates = transformer.transform(&commands.map(told));
    assert_eq!(fates[0], Fate::Keep);
    assert_eq!(fates[1], Fate::Drop);
    assert_eq!(fates[2], Fate::Replace(r#"{"sabotaged":"replaced"}"#.into()));
    let parts = ["one", "two", "three"].map(|part| bytes::Bytes::from(format!(r#"{{"sabotaged":"{part}"}}"#)));
    assert_eq!(fates[3], Fate::Split(parts.into()));
    assert_eq!(fates[4], Fate::RetryAfter(Duration::from_millis(20)));
    assert!(matches!(&fates[5], Fate::Reject(reason) if reason.code == "sabotage"));
    assert_eq!(fates[6], Fate::Replace(bytes::Bytes::new()));
}

#[test]
fn a_batch_that_is_larger_than_the_memory_goes_in_parts() {
    let Step::Validator(validator) = step("saboteur-validator") else { panic!() };
    let large: Vec<_> = (0..20).map(|_| message(vec![b' '; 6 << 20])).collect();
    assert!(validator.validate(&large).iter().all(Result::is_ok), "20 times 6 MiB, and the memory is 64 MiB");
    let too_large = [message("{}"), message(vec![b' '; 80 << 20]), message("{}")];
    let answers = validator.validate(&too_large);
    assert_eq!([&answers[0], &answers[2]], [&Ok(()), &Ok(())]);
    assert!(matches!(&answers[1], Err(Failure::Fault(fault)) if fault.kind.name() == "memory"), "{:?}", answers[1]);
}

#[test]
fn an_instance_that_has_grown_large_or_old_is_replaced_and_nobody_notices() {
    let limits = Limits { max_calls: 2, ..setup(json!({})).limits };
    let Step::Validator(validator) = prepare("saboteur-validator", Setup { limits, ..setup(json!({})) }) else { panic!() };
    for _ in 0..5 {
        assert!(validator.validate(&batch("bloat", &[3])).iter().all(Result::is_ok));
    }
}

#[test]
fn settings_that_do_not_fit_are_pointed_at_before_anything_runs() {
    let component = plugin("saboteur-validator");
    let problems = component.check_settings(&json!({ "reject_all": "yes", "configrue": "trap" })).unwrap_err();
    let mut pointers: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/configrue", "/reject_all"]);
    let error = component.prepare(setup(json!({ "configure": 5 }))).unwrap_err();
    assert_eq!(error.code(), "plugin_settings");
}

#[test]
fn a_step_that_fails_at_its_settings_is_refused_with_the_reason() {
    for name in ["saboteur-validator", "saboteur-transformer", "saboteur-cipher"] {
        let refused = |configure: &str| {
            let settings = json!({ "configure": configure });
            let setup = if configure == "spin" { impatient(settings) } else { setup(settings) };
            let error = plugin(name).prepare(setup).unwrap_err();
            (error.code(), error.to_string())
        };
        let (code, text) = refused("error");
        assert_eq!(code, "plugin_configure");
        assert!(text.contains("refuses to be configured"), "{text}");
        for (configure, words) in
            [("trap", "trapped"), ("panic", "trapped"), ("spin", "limits.timeout"), ("hoard", "limits.memory")]
        {
            let (code, text) = refused(configure);
            assert_eq!(code, "plugin_configure_fault");
            assert!(text.contains(words), "{text}");
        }
    }
}

#[test]
fn limits_that_the_host_cannot_keep_are_refused_by_name() {
    let with = |limits: Limits| plugin("saboteur-validator").prepare(Setup { limits, ..setup(json!({})) }).unwrap_err();
    let error = with(Limits { memory_bytes: 1 << 40, ..Limits::default() });
    assert_eq!(error.to_string(), "`limits.memory` of [steps.step] is 1099511627776, and 4294967296 is the most");
    assert!(with(Limits { table_elements: 200_000, ..Limits::default() }).to_string().contains("`limits.table_elements`"));
    let error = with(Limits { memory_bytes: 65_536, ..Limits::default() });
    assert_eq!(error.code(), "plugin_start");
    assert!(error.to_string().contains("`limits.memory` is 65536 bytes"), "{error}");
    let error = with(Limits { table_elements: 1, ..Limits::default() });
    assert!(error.to_string().contains("`limits.table_elements` is 1"), "{error}");
}

#[test]
fn a_pool_that_is_used_up_blames_no_message() {
    let engine = Engine::new(&EngineSettings { cache: None, instances: 1 }).unwrap();
    let component = engine.load_file(&plugin_file("saboteur-validator")).unwrap();
    let error = component.prepare(Setup { instances: 500, ..setup(json!({})) }).unwrap_err();
    assert!(error.to_string().contains("every slot of the instance pool is in use"), "{error}");
    let Step::Validator(validator) = component.prepare(setup(json!({}))).unwrap() else { panic!() };
    // Every other slot goes to other steps; the one of this step too, once its instance is lost.
    let mut others: Vec<_> = std::iter::from_fn(|| component.prepare(setup(json!({}))).ok()).collect();
    assert_eq!(faults(&validator, &[told("trap")]), ["trap"]);
    others.push(component.prepare(setup(json!({}))).unwrap());
    assert_eq!(faults(&validator, &batch("trap", &[2])), ["unavailable"; 9]);
    drop(others);
    assert_eq!(faults(&validator, &batch("behave", &[])), ["-"; 9]);
}

fn faults(validator: &Validator, batch: &[Message]) -> Vec<&'static str> {
    fault_names(validator.validate(batch).into_iter().map(|answer| match answer {
        Err(Failure::Fault(fault)) => Some(fault),
        _ => None,
    }))
}

#[derive(Debug)]
struct Routed;

impl Properties for Routed {
    fn get(&self, key: &str) -> Option<Cow<'_, str>> {
        (key == "message-id").then_some(Cow::Borrowed("from the broker"))
    }
}

#[test]
fn metadata_that_a_step_reads_crosses_over() {
    let Step::Validator(validator) = step("saboteur-validator") else { panic!() };
    let id = MessageId::new("m-1");
    let batch = [Message::new(id.clone(), "{}".into(), Arc::new(Routed)), Message::new(id, "{}".into(), Arc::new(NoProperties))];
    assert!(validator.validate(&batch).iter().all(Result::is_ok));
}
