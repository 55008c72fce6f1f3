//! Keys that the target holds already under the names that are meant, where a copy fails for them, or a move
//! keeps its own.

use std::collections::HashSet;

use super::super::Run;
use super::super::census::Holdings;
use super::super::probe::refused_before_work;
use super::findings::Findings;
use super::sample::Sample;
use crate::config::mapping::shared_targets;
use crate::config::{IfExists, Route};
use crate::error::{Result, Side};
use crate::net::connect;
use crate::report::Finding;
use crate::resp::Value;
use crate::units;

/// Keys that are asked about at once.
const CHUNK: usize = 100;

/// What was found out about names of the source on the target.
#[derive(Default)]
struct Found {
    /// Keys that were looked for there.
    looked_for: u64,
    /// Those of them that are there.
    there: u64,
    /// Those whose name comes from another database, too.
    twice: u64,
    /// These are all that there are.
    all: bool,
}

/// Looks which of the sampled keys the target holds, where that matters. `holds`: what its databases hold.
///
/// # Errors
/// The connection broke.
pub(super) async fn look(
    run: &Run,
    routes: &[Route],
    holds: &Holdings,
    sample: &Sample,
    findings: &mut Findings,
) -> Result<()> {
    let plan = &run.plan;
    let moves = plan.delete_source && !plan.dry_run;
    let fails = plan.if_exists == IfExists::Fail;
    let stays = fails || matches!(plan.if_exists, IfExists::Skip | IfExists::Merge);
    if !(fails || moves) {
        return Ok(());
    }
    let occupied = routes.iter().any(|route| holds.contains_key(&route.target)) && stays;
    let found = find(run, routes, (holds, occupied), sample).await?;
    if !occupied && found.twice == 0 && found.all {
        return Ok(());
    }
    let shared = !shared_targets(routes).is_empty();
    let (count, of) = (units::count(found.there), units::count(found.looked_for));
    let policy = plan.if_exists.word();
    let means = match (fails, moves) {
        (true, true) => {
            format!(
                "under --if-exists {policy} each of them fails, and stays on the source unless both are equal"
            )
        }
        (true, false) => format!("under --if-exists {policy} each of them fails"),
        _ => format!(
            "under --if-exists {policy} the target keeps its own value of them, and --delete-source keeps each \
             of them on the source that is not equal there"
        ),
    };
    let replaces = plan.if_exists == IfExists::Replace;
    let second = match replaces {
        true => "what comes second takes the place of the first, which stays on the source then",
        false => "what comes second finds the first there",
    };
    let exists = "say --if-exists replace if they may be overwritten, delete them there, or leave them out by \
                  --exclude";
    let apart = "copy them into databases of their own (--db)";
    let (text, remedy) = match () {
        () if found.there > 0 => (
            format!("it holds keys of {count} of the {of} names that were looked for: {means}"),
            exists,
        ),
        () if found.twice > 0 => {
            let text = format!(
                "{} of the keys that were looked at go into one database with another of the same name: {second}",
                units::count(found.twice)
            );
            (text, apart)
        }
        () if found.all => return Ok(()),
        () if occupied && found.looked_for == 0 => (
            format!("it holds keys; whether they have names of the source's is not known: {means}"),
            exists,
        ),
        () if occupied => {
            let text = format!(
                "it holds keys, none of them of the {of} names that were looked for; others may have names of \
                 the source's, too: {means}"
            );
            (text, exists)
        }
        () if shared => {
            (format!("several databases go into one: of a name that comes twice, {second}"), apart)
        }
        () => return Ok(()),
    };
    let text = format!("{text}, which makes the exit code 1");
    findings.add(Finding::warning("exist-on-target", text, remedy).on(Side::Target.word()));
    Ok(())
}

async fn find(
    run: &Run,
    routes: &[Route],
    (holds, occupied): (&Holdings, bool),
    sample: &Sample,
) -> Result<Found> {
    // Keys that a file names are not those of the sample.
    let mut found = Found { all: sample.whole && run.plan.letters.is_none(), ..Found::default() };
    if run.plan.letters.is_some() {
        return Ok(found);
    }
    let mut seen = HashSet::new();
    for route in routes {
        let names: Vec<&[u8]> = sample
            .keys
            .iter()
            .filter(|key| key.database == route.source)
            .map(|key| &*key.name)
            .collect();
        found.twice +=
            names.iter().filter(|name| !seen.insert((route.target, **name))).count() as u64;
        if !occupied || !holds.contains_key(&route.target) {
            continue;
        }
        let mut target = connect(&run.target, route.target).await?;
        for chunk in names.chunks(CHUNK) {
            for name in chunk {
                target.output().command(&[b"EXISTS", name]);
            }
            for reply in target.receive(chunk.len()).await.map_err(refused_before_work)? {
                match reply {
                    Value::Integer(there) => {
                        found.looked_for += 1;
                        found.there += u64::from(there > 0);
                    }
                    _ => found.all = false,
                }
            }
        }
    }
    Ok(found)
}
