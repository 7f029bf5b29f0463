//! Where the fields of bodies stand: whoever has read a body keeps it for those who read it next.

use std::ops::Range;
use std::sync::Arc;

use super::{Fields, Pointer};

/// Where the value of a field stands in a body; none for a field that is missing.
pub type Place = Option<Range<usize>>;

/// The places of the same fields in several bodies, by their numbers.
#[derive(Debug)]
pub struct Outlines {
    fields: Arc<Fields>,
    /// Body after body, in the order of the fields' pointers.
    places: Vec<Place>,
}

/// The places of some fields in one body.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Shared by all that were read together.
    outlines: Arc<Outlines>,
    number: usize,
}

impl Outlines {
    /// Of no body yet, with room for so many.
    #[must_use]
    pub fn with_capacity(fields: &Arc<Fields>, bodies: usize) -> Self {
        Self { fields: Arc::clone(fields), places: Vec::with_capacity(bodies * fields.pointers().len()) }
    }

    /// Reads a body, and gives its number.
    ///
    /// # Errors
    /// As [`Fields::find`].
    pub fn read(&mut self, body: &[u8]) -> Result<usize, serde_json::Error> {
        let number = self.places.len() / self.fields.pointers().len().max(1);
        self.fields.locate(body, &mut self.places)?;
        Ok(number)
    }

    /// Where the value of a field stands in a body.
    #[must_use]
    pub fn place(&self, number: usize, field: usize) -> Place {
        self.of(number).get(field).cloned().flatten()
    }

    /// The value that stood at `place` of a body has given way to a string of `length` bytes, quotes included.
    pub fn put_string(&mut self, number: usize, place: &Range<usize>, length: usize) {
        let move_up = |at: usize| at - place.len() + length;
        let range = self.range(number);
        for slot in self.places.get_mut(range).unwrap_or_default() {
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
    }

    fn of(&self, number: usize) -> &[Place] {
        self.places.get(self.range(number)).unwrap_or_default()
    }

    fn range(&self, number: usize) -> Range<usize> {
        let fields = self.fields.pointers().len();
        number * fields..(number + 1) * fields
    }
}

impl Outline {
    /// The outline of the body with that number.
    #[must_use]
    pub fn new(outlines: &Arc<Outlines>, number: usize) -> Self {
        Self { outlines: Arc::clone(outlines), number }
    }

    /// The fields that it knows.
    #[must_use]
    pub fn fields(&self) -> &Arc<Fields> {
        &self.outlines.fields
    }

    /// The JSON text of one of them. `body` is the one that it is of.
    #[must_use]
    pub fn text<'a>(&self, body: &'a [u8], field: usize) -> Option<&'a str> {
        std::str::from_utf8(body.get(self.outlines.place(self.number, field)?)?).ok()
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

    fn outline(fields: &Arc<Fields>, bodies: &[&str]) -> Outlines {
        let mut outlines = Outlines::with_capacity(fields, bodies.len());
        for (number, body) in bodies.iter().enumerate() {
            assert_eq!(outlines.read(body.as_bytes()).expect("JSON"), number);
        }
        outlines
    }

    fn texts(outlines: Outlines, number: usize, body: &str) -> Vec<Option<&str>> {
        let outline = Outline::new(&Arc::new(outlines), number);
        (0..POINTERS.len()).map(|field| outline.text(body.as_bytes(), field)).collect()
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
            for (field, pointer) in POINTERS.iter().enumerate() {
                let Some(place) = outline(&fields, &[body]).place(0, field) else { continue };
                for string in ["\"\"", "\"sealed\"", "\"sealed, and far longer than anything that stood there before\""] {
                    let after = [&body[..place.start], string, &body[place.end..]].concat();
                    let mut moved = outline(&fields, &["{}", body, "{}"]);
                    moved.put_string(1, &place, string.len());
                    let read = outline(&fields, &[&after]);
                    assert_eq!(texts(moved, 1, &after), texts(read, 0, &after), "{pointer} in {body} became {string}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_json_has_no_outline_and_takes_no_number() {
        let fields = fields();
        let mut outlines = outline(&fields, &["{}"]);
        assert!(outlines.read(br#"{"a":1"#).is_err());
        let body = r#"{"a":2}"#;
        assert_eq!(outlines.read(body.as_bytes()).expect("JSON"), 1);
        assert_eq!(texts(outlines, 1, body).first(), Some(&Some("2")));
    }

    #[test]
    fn pointers_are_found_among_its_own_or_not_at_all() {
        let pointer = |text: &str| text.parse::<Pointer>().expect("a pointer");
        assert_eq!(fields().indexes(&[pointer("/z"), pointer("/a"), pointer("/z")]), Some(vec![6, 0, 6]));
        assert_eq!(fields().indexes(&[pointer("/z"), pointer("/other")]), None);
    }
}
