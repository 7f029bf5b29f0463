//! stub
use super::Event;
#[derive(Clone, Default)]
pub struct History(std::sync::Arc<std::sync::Mutex<Vec<Event>>>);
impl History {
    pub fn push(&self, e: Event) {
        if let Ok(mut v) = self.0.lock() {
            v.push(e)
        }
    }
}
