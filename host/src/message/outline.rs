//! Where the fields of a body stand: whoever has read a body keeps it for those who read it next.

use std::ops::Range;
use std::sync::Arc;

use super::{Fields, Pointer};

/// The places of some fields in one body.
#[derive(Clone, Debug)]
pub struct Outline {
    fields: Arc<Fields>,
    /// In the order of the fields' pointers; none for a field that is missing.
    places: Box<[Option<Range<usize>>]>,
}

impl Outline {
    /// Reads a body, which the outline is of from then on.
    ///
    /// # Errors
    /// As [`Fields::find`].
    pub fn read(fields: &Arc<Fields>, body: &[u8]) -> Result<Self, serde_json::Error> {
        let start = body.as_ptr() as usize;
        let place = |text: &str| {
            let at = (text.as_ptr() as usize).saturating_sub(start);
            at..at + text.len()
        };
        let found = fields.find(body)?;
        Ok(Self { fields: Arc::clone(fields), places: found.into_iter().map(|raw| raw.map(|raw| place(raw.get()))).collect() })
    }

    /// The fields that it knows.
    #[must_use]
    pub fn fields(&self) -> &Arc<Fields> {
        &self.fields
    }

    /// Where the value of one of them stands in the body.
    #[must_use]
    pub fn place(&self, index: usize) -> Option<Range<usize>> {
        self.places.get(index).cloned().flatten()
    }

    /// The JSON text of one of them. `body` is the one that it is of.
    #[must_use]
    pub fn text<'a>(&self, body: &'a [u8], index: usize) -> Option<&'a str> {
        std::str::from_utf8(body.get(self.place(index)?)?).ok()
    }

    /// The outline of the same body, once the value that stood at `place` has given way to a string of `length` bytes, quotes included.
    #[must_use]
    pub fn with_string_at(mut self, place: &Range<usize>, length: usize) -> Self {
        let move_up = |at: usize| at - place.len() + length;
        for slot in &mut self.places {
            let Some(other) = slot.take() else { continue };
            *slot = if other.end <= place.start {
                Some(other)
            } else if other.start >= place.end {
                Some(move_up(other.start)..move_up(other.end))
            } else if other.start <= place.start && other.end >= place.end {
                Some(other.start..move_up(other.end))
            } else {
                // It was a part of what is a string now.
                None
            };
        }
        self
    }
}

impl Fields {
    /// Where these pointers stand among its own; none where one of them is not among them.
    #[must_use]
    pub fn indexes<'p>(&self, pointers: impl IntoIterator<Item = &'p Pointer>) -> Option<Vec<usize>> {
        pointers.into_iter().map(|pointer| self.pointers().iter().position(|own| own == pointer)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTERS: [&str; 8] = ["/a", "/m", "/m/c", "/m/c/d", "/m/z", "/list/1", "/z", "/none"];

    fn fields() -> Arc<Fields> {
        let pointers: Vec<Pointer> = POINTERS.iter().map(|text| text.parse().expect("a pointer")).collect();
        Arc::new(Fields::new(&pointers))
    }

    fn texts<'a>(outline: &Outline, body: &'a str) -> Vec<Option<&'a str>> {
        (0..POINTERS.len()).map(|index| outline.text(body.as_bytes(), index)).collect()
    }

    #[test]
    fn after_a_value_gave_way_it_says_what_reading_the_new_body_says() {
        let fields = fields();
        for body in [
            r#"{"a":1,"m":{"c":"x","z":[2]},"list":[0,{"k":1}],"z":"end"}"#,
            r#"{"z":"é😀", "list":[0, 1] ,"m": {"z":null,"c":{"d":1,"e":2}} ,"a":{}}"#,
            r#"{"m":{"c":"first","z":1},"a":2,"m":{"c":"a much longer text than the new one","z":2},"a":3}"#,
            r#"{"m":{"c":1},"m":{"c":2,"c":3}}"#,
        ] {
            let outline = Outline::read(&fields, body.as_bytes()).expect("JSON");
            for (index, pointer) in POINTERS.iter().enumerate() {
                let Some(place) = outline.place(index) else { continue };
                for string in ["\"\"", "\"sealed\"", "\"sealed, and far longer than anything that stood there before\""] {
                    let after = [&body[..place.start], string, &body[place.end..]].concat();
                    let moved = outline.clone().with_string_at(&place, string.len());
                    let read = Outline::read(&fields, after.as_bytes()).expect("JSON");
                    assert_eq!(texts(&moved, &after), texts(&read, &after), "{pointer} in {body} became {string}");
                }
            }
        }
    }

    #[test]
    fn pointers_are_found_among_its_own_or_not_at_all() {
        let pointer = |text: &str| text.parse::<Pointer>().expect("a pointer");
        assert_eq!(fields().indexes(&[pointer("/z"), pointer("/a"), pointer("/z")]), Some(vec![6, 0, 6]));
        assert_eq!(fields().indexes(&[pointer("/z"), pointer("/other")]), None);
    }
}
