//! What changes while the host runs: nothing is lost, doubled or put out of order by it, and what is refused leaves everything as it was.

mod broken;
mod crash;
mod edits;
mod files;
mod grants;
mod kinds;
mod load;
mod locked;
mod rollback;
mod stages;
