//! Files that a run writes: which file a path names, a file under another name until it is whole, and lists
//! and reports, which never take the place of an old one before they are whole. And the small ones that options
//! name, read within a bound.

mod bounded;
mod identity;
mod known;
mod output;
mod part;

pub use bounded::{LONGEST_OPTION_FILE, read_option_file};
pub use identity::{Identity, directory_of, resolved, sync_directory};
pub use known::Known;
pub use output::Output;
pub use part::Part;
