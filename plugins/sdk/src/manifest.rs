//! What a step says of itself.

use crate::settings::Settings;

/// What a step says of itself. The SDK fills it in from the constants of the step's trait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its name: lower case, digits and `-`.
    pub name: String,
    /// Its version, by Semantic Versioning.
    pub version: String,
    /// One sentence on what it does.
    pub description: String,
    /// The metadata keys it wants to see.
    pub reads: Vec<String>,
    /// A JSON Schema (draft 2020-12) of the settings, as JSON text.
    pub settings_schema: String,
}

impl Manifest {
    /// The manifest of a step with the settings `S`.
    #[must_use]
    pub fn of<S: Settings>(name: &str, version: &str, description: &str, reads: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            description: description.to_owned(),
            reads: reads.iter().map(|&key| key.to_owned()).collect(),
            settings_schema: S::SCHEMA.to_owned(),
        }
    }
}
