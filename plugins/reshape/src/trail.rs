//! Where the changes lead: what is opened while a document is read, so that it is read once.

use tidegate_plugin::json::{Kind, Problem, Scanner, Text};

use crate::pointer::Pointer;

/// A place that changes lead through, and the places inside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail {
    inside: Vec<(String, Trail)>,
}

impl Trail {
    /// The way to every one of these places; none where there are no places.
    pub(crate) fn to<'p>(places: impl Iterator<Item = &'p Pointer>) -> Option<Self> {
        Self::along(places.map(|place| place.parents.iter().chain([&place.key])))
    }

    /// The same, but only to the parents of these places.
    pub(crate) fn to_parents<'p>(places: impl Iterator<Item = &'p Pointer>) -> Option<Self> {
        Self::along(places.map(|place| &place.parents))
    }

    fn along<'p>(ways: impl Iterator<Item = impl IntoIterator<Item = &'p String>>) -> Option<Self> {
        let mut trail: Option<Self> = None;
        for way in ways {
            way.into_iter().fold(trail.get_or_insert_default(), |trail, key| trail.enter(key));
        }
        trail
    }

    /// What lies inside, under this key.
    #[inline]
    pub(crate) fn member(&self, key: &Text<'_>) -> Option<&Self> {
        self.find(key).map(|(_, trail)| trail)
    }

    /// What lies inside, under this index.
    pub(crate) fn item(&self, index: usize) -> Option<&Self> {
        if self.is_end() {
            return None;
        }
        let index = index.to_string();
        self.inside.iter().find(|(name, _)| *name == index).map(|(_, trail)| trail)
    }

    /// Takes a value and says whether something stands at the end of every way. May say no where the value has a key on the way twice, or an array.
    pub(crate) fn all_stand(&self, scanner: &mut Scanner<'_>) -> Result<bool, Problem> {
        if self.is_end() || scanner.kind()? != Kind::Object {
            scanner.pass()?;
            return Ok(self.is_end());
        }
        let (mut all, mut seen) = (true, 0_u64);
        scanner.object(|scanner, key| {
            let Some((index, trail)) = self.find(&key) else { return scanner.pass() };
            let bit = 1_u64.checked_shl(index).unwrap_or_default();
            all &= trail.all_stand(scanner)? && bit & !seen != 0;
            seen |= bit;
            Ok(())
        })?;
        Ok(all && seen.count_ones() as usize == self.inside.len())
    }

    /// Whether nothing inside is led through.
    pub(crate) fn is_end(&self) -> bool {
        self.inside.is_empty()
    }

    #[inline]
    fn find(&self, key: &Text<'_>) -> Option<(u32, &Self)> {
        (0..).zip(&self.inside).find(|(_, (name, _))| means(key, name)).map(|(index, (_, trail))| (index, trail))
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

/// Whether a key means this name. Compares eight bytes at a time, where a component's `==` takes every byte by itself.
#[inline]
pub(crate) fn means(key: &Text<'_>, name: &str) -> bool {
    let Some(key) = key.plain() else { return *key.decoded() == *name };
    let ((words, rest), (name_words, name_rest)) = (key.as_chunks::<8>(), name.as_bytes().as_chunks::<8>());
    key.len() == name.len() && words.iter().eq(name_words) && rest.iter().eq(name_rest)
}
