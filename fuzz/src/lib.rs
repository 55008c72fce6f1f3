//! The properties that the fuzz targets check: the very files that the plain tests use.
#![forbid(unsafe_code)]

#[path = "../../tests/properties/checks/mod.rs"]
pub mod checks;
