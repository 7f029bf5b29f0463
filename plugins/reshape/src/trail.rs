//! Where the changes lead: what is opened while a document is read, so that it is read once.

use crate::pointer::Pointer;

/// A place that changes lead through, and the places inside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail {
    inside: Vec<(String, Trail)>,
}

impl Trail {
    /// The way to every parent of these places; none where there are no places.
    pub(crate) fn to<'p>(places: impl Iterator<Item = &'p Pointer>) -> Option<Self> {
        let mut trail: Option<Self> = None;
        for place in places {
            let root = trail.get_or_insert_default();
            place.parents.iter().fold(root, |trail, key| trail.enter(key));
        }
        trail
    }

    /// What lies inside, under this key or index.
    pub(crate) fn inside(&self, key: &str) -> Option<&Self> {
        self.inside.iter().find(|(name, _)| name == key).map(|(_, trail)| trail)
    }

    /// Whether nothing inside is led through.
    pub(crate) fn is_end(&self) -> bool {
        self.inside.is_empty()
    }

    fn enter(&mut self, key: &str) -> &mut Self {
        let place = self.inside.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
            self.inside.push((key.to_owned(), Self::default()));
            self.inside.len() - 1
        });
        let (_, trail) = self.inside.get_mut(place).expect("it was found or has just been added");
        trail
    }
}
