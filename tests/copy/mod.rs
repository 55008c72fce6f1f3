//! What `keyferry copy` does to keys.

mod across;
mod appearing;
mod by_value;
mod clocks;
mod conflicts;
mod dead_letters;
mod delete_source;
mod dry_run;
mod everything;
mod filters;
mod guard;
mod interrupt;
mod large;
mod mapping;
mod merge;
mod moments;
mod ours;
mod pace;
mod pieces;
mod quiet;
mod resume;
mod same_server;
mod scanning;
mod short_lived;
mod source_compression;
mod source_is_a_guest_house;
