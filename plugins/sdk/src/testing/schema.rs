//! Whether a schema and the type beside it say the same.

use serde::de::value::Error as ValueError;
use serde::de::{Deserializer, Error as _, Visitor};
use serde_json::{Map, Value};

use crate::settings::{self, Settings};

/// What is wrong with the schema of `S`; nothing when schema and type agree. Meant for
/// `assert_eq!(settings_problems::<MySettings>(), Vec::<String>::new())` in a unit test.
///
/// It compares names, tries the defaults of the schema on the type, and looks for descriptions. Ranges are the author's to test.
#[must_use]
pub fn settings_problems<S: Settings>() -> Vec<String> {
    let schema = match serde_json::from_str(S::SCHEMA) {
        Ok(Value::Object(schema)) => schema,
        Ok(_) => return vec!["the schema is not a JSON object".to_owned()],
        Err(error) => return vec![format!("the schema is not JSON: {error}")],
    };
    let mut problems = Vec::new();
    let mut require = |fine: bool, problem: String| {
        if !fine {
            problems.push(problem)
        }
    };
    require(schema.get("type") == Some(&"object".into()), "`type` is not \"object\"".to_owned());
    require(schema.get("additionalProperties") == Some(&false.into()), "`additionalProperties` is not false".to_owned());
    require(settings::read::<S>(r#"{"no setting is called so":0}"#).is_err(), "the type takes unknown settings".to_owned());
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in properties {
        require(property.get("description").is_some(), format!("`{name}` has no description"));
        let said = property.get("default").is_some() != required.contains(&name.as_str());
        require(said, format!("`{name}` has neither a default nor is it required, or both"));
    }
    let fields = fields_of::<S>();
    for field in fields.iter().filter(|field| !properties.contains_key(**field)) {
        require(false, format!("the schema lacks `{field}`"));
    }
    let defaults: Map<String, Value> =
        properties.iter().filter_map(|(name, property)| Some((name.clone(), value_of(property)?))).collect();
    if let Err(reason) = settings::read::<S>(&Value::Object(defaults).to_string()) {
        require(
            false,
            format!(
                "the type refuses the schema's defaults and examples: {} {}",
                reason.message,
                reason.pointer.unwrap_or_default()
            ),
        );
    }
    problems
}

/// The default of a setting; of one that is required, its first example.
fn value_of(property: &Value) -> Option<Value> {
    property.get("default").or_else(|| property.get("examples")?.get(0)).cloned()
}

/// The names that a derived `Deserialize` asks for.
fn fields_of<S: Settings>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    drop(S::deserialize(Fields(&mut fields)));
    fields
}

struct Fields<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
        Err(ValueError::custom("only a struct's fields are of interest"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}
