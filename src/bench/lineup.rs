//! The list of contestants: the fixed ones, the copy's variants, programs from outside, and which of
//! them were asked for.

use std::time::Duration;

use super::contestant::{Contestant, Way};
use super::copying::{Copying, Road};
use super::guide::Programs;
use super::throttle::Throttle;
use crate::error::{Error, Result};

/// The names that ratios are taken of.
pub(super) const GUIDE: &str = "guide";
pub(super) const REPLICA: &str = "replicaof";
pub(super) const CEILING: &str = "dump-ceiling";
pub(super) const COPY: &str = "copy";
pub(super) const COPY_DUMP: &str = "copy-dump";
pub(super) const COPY_NO_COMPRESSION: &str = "copy-nocompress";
/// By TLS on both sides.
pub(super) const COPY_TLS: &str = "copy-tls";
/// Through proxies without and with delay.
pub(super) const COPY_NEAR: &str = "copy-near";
pub(super) const COPY_FAR: &str = "copy-far";

/// Told a part of the rate that `copy` reaches.
pub(super) const COPY_RATE: &str = "copy-max-rate";
pub(super) const COPY_KEYS_RATE: &str = "copy-max-keys-rate";

/// A client of the source: alone, beside a copy, and beside one that spares the source.
pub(super) const CLIENT_ALONE: &str = "client-alone";
pub(super) const CLIENT_COPY: &str = "client-copy";
pub(super) const CLIENT_GUARDED: &str = "client-guarded";
/// The limit that the guard is given: the bar is twice that, for what it takes to notice and to act.
const GUARDED: [&str; 2] = ["--max-source-latency", "5ms"];
/// The client's database is not copied.
const NOT_THE_CLIENTS: [&str; 2] = ["--db", "0"];

/// A copy with options of its own.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The name in tables.
    pub name: String,
    /// What is said to `keyferry copy`.
    pub options: Vec<String>,
    /// Why it cannot take part: this binary may lack an option.
    pub obstacle: Option<String>,
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Further variants of the copy.
    pub variants: Vec<Variant>,
    /// Programs from outside: name and shell command.
    pub against: Vec<(String, String)>,
    /// Measure a copy through proxies with this round trip, and through the same with none.
    pub round_trip: Option<Duration>,
    /// Measure whether a copy keeps to the rates it is told.
    pub throttled: bool,
    /// Measure what a client of the source waits without and with a copy.
    pub foreground: bool,
    /// Only these, if any are named.
    pub only: Vec<String>,
    /// Not these.
    pub skip: Vec<String>,
    /// The servers are the user's own, and so are the files in their directories.
    pub of_user: bool,
}

/// The contestants in the order they run in.
///
/// # Errors
/// [`crate::error::Kind::Config`]: a name that nobody has, or that two have, or nobody is left.
pub fn line_up(wishes: Wishes) -> Result<Vec<Contestant>> {
    let mut all = Vec::new();
    let mut add = |name: &str, way, obstacle| {
        all.push(Contestant { name: name.to_owned(), way, client: false, obstacle });
    };
    let by = |road| Way::Copy(Copying { road, ..Copying::default() });
    add(GUIDE, Way::Guide(Programs::find()), None);
    add("migrate", Way::Migrate, None);
    add(REPLICA, Way::Replica, None);
    add(CEILING, Way::Ceiling, None);
    add("null-target", Way::NullTarget, None);
    add(COPY, by(Road::Straight), None);
    for Variant { name, options, obstacle } in wishes.variants {
        add(&name, Way::Copy(Copying { options, ..Copying::default() }), obstacle);
    }
    add(COPY_TLS, by(Road::Tls), None);
    if let Some(round_trip) = wishes.round_trip {
        add(COPY_NEAR, by(Road::Proxies(Duration::ZERO)), None);
        add(COPY_FAR, by(Road::Proxies(round_trip)), None);
    }
    if wishes.throttled {
        for (name, throttle) in [(COPY_RATE, Throttle::Bytes), (COPY_KEYS_RATE, Throttle::Keys)] {
            let throttle = Some(throttle);
            add(name, Way::Copy(Copying { throttle, ..Copying::default() }), None);
        }
    }
    for (name, template) in wishes.against {
        add(&name, Way::Against(template), None);
    }
    if wishes.foreground {
        all.extend(beside_a_client());
    }
    let names: Vec<String> = all.iter().map(|contestant| contestant.name.clone()).collect();
    for (index, name) in names.iter().enumerate() {
        if names.iter().take(index).any(|other| other == name) {
            return Err(Error::config(format!("two contestants are named '{name}'")));
        }
    }
    if wishes.only.iter().chain(&wishes.skip).any(|name| !names.contains(name)) {
        return Err(Error::config("--only or --skip names nobody who takes part")
            .advise(format!("there are {}", names.join(", "))));
    }
    all.retain(|contestant| {
        (wishes.only.is_empty() || wishes.only.contains(&contestant.name))
            && !wishes.skip.contains(&contestant.name)
    });
    if wishes.of_user && wishes.only.is_empty() {
        for contestant in all.iter_mut().filter(|contestant| contestant.name == REPLICA) {
            let why =
                "a replica replaces the RDB file in its directory: name it by --only replicaof";
            contestant.obstacle.get_or_insert_with(|| why.into());
        }
    }
    if !all.iter().any(|contestant| contestant.name == COPY) {
        for contestant in &mut all {
            contestant.needs_copy();
        }
    }
    if all.is_empty() {
        return Err(Error::config("no contestant is left"));
    }
    Ok(all)
}

/// The situations in which a client of the source is measured.
fn beside_a_client() -> impl Iterator<Item = Contestant> {
    let copy = |more: &[&str]| {
        let options = NOT_THE_CLIENTS.iter().chain(more).map(|&word| word.to_owned()).collect();
        Way::Copy(Copying { options, ..Copying::default() })
    };
    let situations =
        [(CLIENT_ALONE, Way::Nothing), (CLIENT_COPY, copy(&[])), (CLIENT_GUARDED, copy(&GUARDED))];
    situations.into_iter().map(|(name, way)| Contestant {
        name: name.to_owned(),
        way,
        client: true,
        obstacle: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wishes: Wishes) -> Result<Vec<String>> {
        Ok(line_up(wishes)?.into_iter().map(|contestant| contestant.name).collect())
    }

    #[test]
    fn contestants_are_chosen_by_name() {
        let only = vec![COPY.to_owned(), CEILING.to_owned()];
        let wishes = Wishes { only: only.clone(), ..Wishes::default() };
        assert_eq!(names(wishes).unwrap(), [CEILING, COPY]);
        let skip = vec![CEILING.to_owned()];
        assert_eq!(names(Wishes { only, skip, ..Wishes::default() }).unwrap(), [COPY]);
        let round_trip = Some(Duration::from_millis(20));
        let with_ways = names(Wishes { round_trip, ..Wishes::default() }).unwrap();
        assert!(with_ways.ends_with(&[COPY_NEAR.into(), COPY_FAR.into()]), "{with_ways:?}");
    }

    #[test]
    fn a_replica_of_the_users_own_servers_is_named_or_left_out() {
        let left_out = |of_user, only: &[&str]| {
            let only = only.iter().map(|&name| name.to_owned()).collect();
            let all = line_up(Wishes { of_user, only, ..Wishes::default() }).unwrap();
            let replica = all.into_iter().find(|contestant| contestant.name == REPLICA);
            replica.is_some_and(|replica| replica.obstacle.is_some())
        };
        assert!(left_out(true, &[]));
        assert!(!left_out(true, &[REPLICA]) && !left_out(false, &[]));
    }

    #[test]
    fn names_that_nobody_or_two_have_are_mistakes() {
        let only = vec!["copi".to_owned()];
        assert!(names(Wishes { only, ..Wishes::default() }).is_err());
        let against = vec![(COPY.to_owned(), "true".to_owned())];
        assert!(names(Wishes { against, ..Wishes::default() }).is_err());
    }
}
