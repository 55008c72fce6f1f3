//! What people get wrong and what networks do. Each run is also searched for panics and passwords.

mod addresses;
mod broken_peers;
mod cut_off;
mod databases;
mod full_target;
mod info;
mod limits;
mod memory;
mod passing_trouble;
mod permissions;
mod slow_peers;
mod unwritable_target;
