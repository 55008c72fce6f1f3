//! The users that docs/permissions.md lists.

use redis::cmd;

use super::keyferry::SECRET;
use super::server::{Kind, Server};

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

/// Adds a user with these rules and no others, but for what this server does not know; its address.
#[track_caller]
pub(crate) fn add_user(server: &Server, name: &str, rules: &[&str]) -> String {
    let old = server.kind == Kind::Redis62;
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg(name).arg("reset").arg("on").arg(format!(">{SECRET}"));
    for rule in rules.iter().filter(|rule| !old || **rule != "+pexpiretime") {
        user.arg(rule);
    }
    server.client(0).run(&user);
    format!("redis://{name}:{SECRET}@127.0.0.1:{}", server.port)
}
