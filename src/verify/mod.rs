//! Prove it: is every key that was meant to be copied on the target?

mod count;

pub use count::{Counted, count, counts_prove};
