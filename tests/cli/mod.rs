//! The command line: what can be said, what is answered, and with which exit code.

mod bench;
mod environment;
mod files;
mod nothing_selected;
mod option_files;
mod output;
mod pages;
mod passwords;
mod progress;
mod recipes;
mod secrets;
mod signals;
mod sockets;
mod usage;
mod verify;
mod way_on;
