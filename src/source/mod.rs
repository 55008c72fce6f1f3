//! Pull: the tasks that read one database of the source.
//!
//! [`scan`] names the keys, several [`fetch`] tasks read them. A source is a guest-house: nothing
//! here writes, but [`unlink`], for a clean-up and for `--delete-source`.

mod answer;
mod answers;
pub(crate) mod circles;
mod clock;
pub mod cuts;
mod duplicates;
pub mod elements;
pub mod expiry;
pub mod fetch;
pub mod file;
mod laid;
mod large;
pub mod letters;
pub mod marks;
mod mix;
pub mod names;
pub mod opened;
pub mod page_of_names;
pub mod pages;
pub mod reading;
pub mod replica;
mod requests;
mod row;
pub mod scan;
mod settle;
pub mod still;
pub mod twice;
pub mod unlink;
mod waits;
pub mod window;

pub(crate) use answer::Payload;
pub use answer::time_ms;
pub(crate) use answers::{Answers, Step};
pub use clock::{CLOCKS_APART_MS, ExpiryClock, Told};
