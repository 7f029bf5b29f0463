//! What a step may use is what pipeline.toml grants: a swap that wants more is refused until it is granted, and what is withdrawn is gone.

use serde_json::Value;

use crate::broker::eventually;
use crate::host::plugins;
use crate::trial::{Publisher, Trial};

fn refusing(event: &Value) -> (&str, String) {
    let gate = event["gates"].as_array().unwrap().iter().find(|gate| gate["verdict"] == "refused");
    let gate = gate.unwrap_or_else(|| panic!("{event:#}"));
    (gate["gate"].as_str().unwrap(), gate["details"].to_string())
}

fn imports(trial: &mut Trial) -> String {
    let status = trial.rig.host().status().unwrap();
    let validate = status["plugins"].as_array().unwrap().iter().find(|plugin| plugin["step"] == "validate").unwrap();
    validate["imports"].to_string()
}

#[tokio::test]
async fn a_wider_set_of_imports_waits_for_its_grant_and_a_withdrawn_grant_is_refused_to_what_needs_it() {
    let mut trial = Trial::new().await;
    trial.rig.start();
    let publisher = Publisher::start(&trial.rig.queue);
    eventually("messages to flow", async || trial.rig.key.length().await > 200).await;
    let own = trial.component("validate-message");
    let wider = std::fs::read(plugins().join("saboteur-clock.wasm")).unwrap();

    let refused = trial.after(|_| crate::trial::save(&own, &wider));
    assert_eq!((refused["outcome"].as_str(), trial.generation()), (Some("refused"), 1), "{refused:#}");
    let (gate, details) = refusing(&refused);
    assert_eq!(gate, "capabilities", "{refused:#}");
    assert!(details.contains("clock") && details.contains("grant"), "{details}");
    assert!(!imports(&mut trial).contains("clock"));

    trial.swapped(|trial| {
        trial.edit(|pipeline| {
            pipeline.steps = pipeline.steps.replacen("[steps.reshape]", "grant = [\"clock\"]\n[steps.reshape]", 1)
        });
    });
    assert!(imports(&mut trial).contains("clock"));

    let withdrawn =
        trial.after(|trial| trial.edit(|pipeline| pipeline.steps = pipeline.steps.replace("grant = [\"clock\"]\n", "")));
    assert_eq!(refusing(&withdrawn).0, "capabilities", "{withdrawn:#}");
    assert_eq!(trial.generation(), 2);
    let sent = publisher.stop();
    trial.rig.settled(sent as u64);
    trial.arrived(sent).await;
    trial.rig.stop().await;
}
