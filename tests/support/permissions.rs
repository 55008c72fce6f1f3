//! The users that docs/permissions.md lists.

/// The page.
pub(crate) const PAGE: &str = include_str!("../../docs/permissions.md");

/// The rules that it gives for the user `name`.
#[track_caller]
pub(crate) fn rules_of(name: &str) -> Vec<&'static str> {
    let start = format!("ACL SETUSER {name} on >password ");
    let line = PAGE.lines().find_map(|line| line.strip_prefix(&start));
    let line = line.unwrap_or_else(|| panic!("docs/permissions.md gives no rights for {name}"));
    line.split_whitespace().collect()
}
