//! `keyferry plan`: what a copy with these options would do, and what stands in its way.

use std::process::ExitCode;

use super::copy::{self, CopyOptions};
use super::shared;
use crate::engine;

/// Runs `plan`, with the options of the copy that it looks ahead to.
pub(super) fn main(options: CopyOptions) -> ExitCode {
    let speech = options.speech.clone().of_a_look();
    let files = options.files();
    shared::main(&speech, files, || copy::plan_of_servers(options), engine::plan::plan)
}
