//! Files that a run writes: which file a path names, a file under another name until it is whole, and lists
//! and reports, which never take the place of an old one before they are whole.

mod identity;
mod output;
mod part;

pub use identity::{Identity, directory_of, resolved, sync_directory};
pub use output::Output;
pub use part::Part;
