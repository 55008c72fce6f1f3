//! Values that cannot go at once, as far as the sample shows some, and the rights that their elements need.
//!
//! What writes is queued in a transaction that the target has to refuse, under a temporary name of the run.

use super::super::budget::{Budget, Pairs};
use super::super::queued;
use super::super::rights::{self, Answer, DeniedRights, KEY, Need, Trial, trial};
use super::super::{Run, knowledge};
use super::findings::Findings;
use super::permitted;
use super::sample::{Sample, Sampled, UNKNOWN};
use crate::command::{Cause, ServerError, ServerInfo};
use crate::config::filter::TYPES;
use crate::config::{IfExists, Route};
use crate::error::{Result, Side};
use crate::net::connect;
use crate::payload::large_type;
use crate::report::Finding;
use crate::target::crossing::Crossing;
use crate::units;

/// The least that `proto-max-bulk-len` can be, in bytes.
const LEAST_LIMIT: u64 = 1 << 20;

/// What both servers send and take at once.
pub(super) struct Bounds<'a> {
    /// What the target says that it takes, in bytes.
    pub(super) longest_bulk: Option<u64>,
    /// What the source may send, in bytes.
    pub(super) longest_reply: Option<u64>,
    /// How payloads get across.
    pub(super) crossing: Crossing,
    pub(super) source: &'a ServerInfo,
}

/// Why a value does not go at once, or may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It is longer than the target takes.
    Target,
    /// It may be: nobody tells what the target takes.
    Perhaps,
    /// It is longer than a reply of the source may be.
    Reply,
    /// It would have to be encoded anew, and is not held in memory.
    Encoding,
    /// Its length may not be asked for.
    Unknown,
}

impl Why {
    const ALL: [Self; 5] =
        [Self::Target, Self::Perhaps, Self::Reply, Self::Encoding, Self::Unknown];
}

impl Bounds<'_> {
    /// Payloads that are larger are not held, in bytes.
    fn largest_held(&self, run: &Run, routes: &[Route]) -> u64 {
        let pairs = Pairs::asked_for(run.plan.limits, routes.len());
        let near = std::time::Duration::ZERO;
        Budget::new(run.plan.limits.memory, pairs.all(), near, near).large as u64
    }

    fn why(&self, key: &Sampled, largest_held: u64) -> Option<Why> {
        let limit = self.crossing.target.longest_bulk;
        let Some(bytes) = key.sent_at_once() else {
            // As long as all of them together, at most.
            let may_be = self.source.memory.dataset.is_none_or(|all| all > limit);
            return may_be.then_some(Why::Unknown);
        };
        let byte = large_type(&key.kind, knowledge::rdb_version(self.source));
        let strange = byte.is_some_and(|byte| !self.crossing.passes(byte));
        match () {
            () if bytes > limit => Some(Why::Target),
            () if self.longest_reply.is_some_and(|most| bytes > most) => Some(Why::Reply),
            () if self.longest_bulk.is_none() && bytes > LEAST_LIMIT => Some(Why::Perhaps),
            () if strange && bytes > largest_held => Some(Why::Encoding),
            () => None,
        }
    }

    /// In words; `one`: of one value.
    fn says(&self, why: Why, largest_held: u64, one: bool) -> String {
        let limit = units::bytes(self.crossing.target.longest_bulk);
        let (are, go, have) = if one { ("is", "goes", "has") } else { ("are", "go", "have") };
        match why {
            Why::Target => format!(
                "{are} longer than the target takes at once ({limit}) and {go} element by element"
            ),
            Why::Perhaps => format!(
                "{are} longer than {}; what the target takes at once may not be asked (CONFIG GET), and longer \
                 values go element by element",
                units::bytes(LEAST_LIMIT)
            ),
            Why::Reply => {
                format!("{are} longer than a reply of the source may be and {go} in parts")
            }
            Why::Encoding => format!(
                "{have} more than {}, {are} kept by the source as the target does not know it, and {go} \
                 element by element",
                units::bytes(largest_held)
            ),
            Why::Unknown => format!(
                "{are} of an unknown length; what is longer than {limit} goes element by element"
            ),
        }
    }
}

/// Says which values do not go at once, and which rights are missing for them.
///
/// # Errors
/// A connection broke.
pub(super) async fn look(
    run: &Run,
    routes: &[Route],
    bounds: &Bounds<'_>,
    sample: &Sample,
    findings: &mut Findings,
) -> Result<()> {
    let Some(first) = routes.first().filter(|_| bounds.crossing.target.longest_bulk > 0) else {
        return Ok(());
    };
    let largest_held = bounds.largest_held(run, routes);
    let mut told = [Told::default(), Told::default()];
    for why in Why::ALL {
        let of_why = |key: &&Sampled| bounds.why(key, largest_held) == Some(why);
        let keys: Vec<&Sampled> = sample.keys.iter().filter(of_why).collect();
        if keys.is_empty() {
            continue;
        }
        let mut kinds: Vec<&str> = Vec::new();
        for key in &keys {
            let of_key: &[&str] = if key.kind == UNKNOWN { &TYPES } else { &[&key.kind] };
            kinds.extend(of_key.iter().filter(|kind| TYPES.contains(kind)));
        }
        kinds.sort_unstable();
        kinds.dedup();
        let what = format!(
            "{} of the sampled values {}",
            units::count(keys.len() as u64),
            bounds.says(why, largest_held, keys.len() == 1)
        );
        if why == Why::Target {
            at_once(findings, &what, &kinds);
        }
        if kinds.is_empty() {
            continue;
        }
        let denied = [
            try_source(run, *first, of_source(&kinds)).await?,
            match run.plan.dry_run {
                true => Tried::default(),
                false => try_target(run, *first, of_target(run, &kinds, why)).await?,
            },
        ];
        let sides = [Side::Source, Side::Target].into_iter().zip(denied).zip(&mut told);
        for ((side, mut tried), told) in sides {
            tried.drop_told(told);
            tell(findings, side, &what, &tried);
        }
    }
    Ok(())
}

/// Values that the target does not take at once: a string gets there all the same.
fn at_once(findings: &mut Findings, what: &str, kinds: &[&str]) {
    let remedy = "raise proto-max-bulk-len there, and they go at once";
    let finding = match kinds {
        ["string"] => Finding::note("long-values", what).with_remedy(remedy),
        _ => {
            let text = format!("{what}; one of whose elements is longer fails, and is named");
            Finding::warning("long-values", text, remedy)
        }
    };
    findings.add(finding.on(Side::Target.word()));
}

/// What was refused of trials.
#[derive(Default)]
struct Tried {
    denied: Vec<(Trial, ServerError)>,
    of_transactions: DeniedRights,
    /// The temporary name is outside the user's patterns.
    other_keys: bool,
}

/// What was told of one side already, for other values.
#[derive(Default)]
struct Told {
    rights: Vec<&'static str>,
    other_keys: bool,
}

impl Tried {
    /// Leaves out what was told, and remembers the rest.
    fn drop_told(&mut self, told: &mut Told) {
        self.denied.retain(|(trial, _)| !told.rights.contains(&trial.right));
        self.of_transactions.retain(|(right, _)| !told.rights.contains(right));
        self.other_keys &= !told.other_keys;
        told.rights.extend(self.denied.iter().map(|(trial, _)| trial.right));
        told.rights.extend(self.of_transactions.iter().map(|(right, _)| *right));
        told.other_keys |= self.other_keys;
    }
}

fn tell(findings: &mut Findings, side: Side, what: &str, tried: &Tried) {
    let lacking = |needs: &[Need], cause: Cause| {
        let mut rights: Vec<&str> = Vec::new();
        let denied = tried.denied.iter().filter(|(trial, _)| needs.contains(&trial.need));
        let denied = denied.map(|(trial, error)| (trial.right, error));
        let all = denied.chain(tried.of_transactions.iter().map(|(right, error)| (*right, error)));
        for (right, _) in all.filter(|(_, error)| error.cause == cause) {
            if !rights.contains(&right) {
                rights.push(right);
            }
        }
        rights
    };
    let names = |rights: &[&str]| {
        let names: Vec<String> = rights.iter().map(|right| right.to_uppercase()).collect();
        names.join(", ")
    };
    let missing = lacking(&[Need::Must, Need::Fields], Cause::CommandDenied);
    if !missing.is_empty() {
        let text = format!(
            "{what}, which needs more rights: {} refused; values that need it fail, and are named",
            names(&missing)
        );
        findings
            .add(Finding::warning("long-values", text, rights::grant(&missing)).on(side.word()));
    }
    // That fields expire, an older server does not know.
    let unknown = lacking(&[Need::Must], Cause::UnknownCommand);
    if !unknown.is_empty() {
        let text = format!(
            "{what}, and it does not know {}; values that need it fail, and are named",
            names(&unknown)
        );
        let remedy = "enable what was renamed or disabled there, or leave them out by --exclude";
        findings.add(Finding::warning("long-values", text, remedy).on(side.word()));
    }
    if tried.other_keys {
        let text = format!(
            "{what}, under a temporary name (keyferry:tmp:…), which the user may not touch: they fail, and are \
             named"
        );
        let remedy = "grant the key pattern there: ACL SETUSER <user> ~keyferry:tmp:*";
        findings.add(Finding::warning("long-values", text, remedy).on(side.word()));
    }
}

/// Only reading commands, on a key that is never made; `MULTI` and `EXEC` last.
async fn try_source(run: &Run, first: Route, trials: Vec<Trial>) -> Result<Tried> {
    let mut at = connect(&run.source, first.source).await?;
    let answers = rights::try_all(&mut at, trials).await?;
    let of_transactions = permitted::of_transactions(&mut at).await?;
    let denied = answers.into_iter().filter_map(|(trial, answer)| match answer {
        Answer::Denied(error) => Some((trial, error)),
        _ => None,
    });
    Ok(Tried { denied: denied.collect(), of_transactions, other_keys: false })
}

async fn try_target(run: &Run, first: Route, trials: Vec<Trial>) -> Result<Tried> {
    let mut at = connect(&run.target, first.target).await?;
    let name = format!("{}:0", run.temporary.beginning());
    let commands: Vec<Vec<&[u8]>> = trials.iter().map(|trial| trial.on(name.as_bytes())).collect();
    let (answers, of_transactions) = queued::queue(&mut at, &commands).await?;
    let mut tried = Tried { of_transactions, ..Tried::default() };
    for (trial, answer) in trials.into_iter().zip(answers) {
        match answer {
            Answer::Denied(error) => tried.denied.push((trial, error)),
            Answer::OtherKeys(_) => tried.other_keys = true,
            Answer::May | Answer::NotNow(_) => {}
        }
    }
    Ok(tried)
}

/// What the elements of such values need of the source.
fn of_source(kinds: &[&str]) -> Vec<Trial> {
    let must = |right, command| trial(right, command, Need::Must);
    let mut trials = vec![must("watch", &[b"WATCH", KEY]), must("type", &[b"TYPE", KEY])];
    for kind in kinds {
        match *kind {
            "string" => trials.extend([
                must("strlen", &[b"STRLEN", KEY]),
                must("getrange", &[b"GETRANGE", KEY, b"0", b"0"]),
            ]),
            "list" => trials.extend([
                must("llen", &[b"LLEN", KEY]),
                must("lrange", &[b"LRANGE", KEY, b"0", b"0"]),
            ]),
            "set" => trials.push(must("sscan", &[b"SSCAN", KEY, b"0"])),
            "zset" => trials.push(must("zscan", &[b"ZSCAN", KEY, b"0"])),
            "hash" => trials.extend([
                must("hscan", &[b"HSCAN", KEY, b"0"]),
                trial("hpexpiretime", &[b"HPEXPIRETIME", KEY, b"FIELDS", b"1", b"f"], Need::Fields),
            ]),
            "stream" => trials.extend([
                must("xinfo", &[b"XINFO", b"STREAM", KEY]),
                must("xinfo", &[b"XINFO", b"GROUPS", KEY]),
                must("xinfo", &[b"XINFO", b"CONSUMERS", KEY, b"g"]),
                must("xrange", &[b"XRANGE", KEY, b"-", b"+", b"COUNT", b"1"]),
                must("xpending", &[b"XPENDING", KEY, b"g", b"-", b"+", b"1"]),
            ]),
            _ => {}
        }
    }
    trials
}

/// And of the target: a string that it does not take at once is joined there by a script.
fn of_target(run: &Run, kinds: &[&str], why: Why) -> Vec<Trial> {
    let must = |right, command| trial(right, command, Need::Must);
    let fields = |right, command| trial(right, command, Need::Fields);
    let mut trials = vec![
        must("pttl", &[b"PTTL", KEY]),
        must("pexpire", &[b"PEXPIRE", KEY, b"1"]),
        must("pexpireat", &[b"PEXPIREAT", KEY, b"1"]),
        must("persist", &[b"PERSIST", KEY]),
    ];
    match run.plan.if_exists {
        IfExists::Replace => trials.push(must("rename", &[b"RENAME", KEY, KEY])),
        _ => trials.extend([
            must("exists", &[b"EXISTS", KEY]),
            must("renamenx", &[b"RENAMENX", KEY, KEY]),
        ]),
    }
    for kind in kinds {
        match *kind {
            "string" => {
                if why != Why::Target {
                    trials.push(must("append", &[b"APPEND", KEY, b""]));
                }
                if !matches!(why, Why::Reply | Why::Encoding) {
                    trials.extend([
                        must("rpush", &[b"RPUSH", KEY, b""]),
                        must("eval", &[b"EVAL", b"return 0", b"1", KEY]),
                        must("llen", &[b"LLEN", KEY]),
                        must("lindex", &[b"LINDEX", KEY, b"0"]),
                        must("set", &[b"SET", KEY, b""]),
                    ]);
                }
            }
            "list" => trials.push(must("rpush", &[b"RPUSH", KEY, b""])),
            "set" => trials.push(must("sadd", &[b"SADD", KEY, b""])),
            "zset" => trials.push(must("zadd", &[b"ZADD", KEY, b"0", b""])),
            "hash" => trials.extend([
                must("hset", &[b"HSET", KEY, b"f", b""]),
                fields("hpexpiretime", &[b"HPEXPIRETIME", KEY, b"FIELDS", b"1", b"f"]),
                fields("hpexpireat", &[b"HPEXPIREAT", KEY, b"1", b"FIELDS", b"1", b"f"]),
                fields("hdel", &[b"HDEL", KEY, b"f"]),
            ]),
            "stream" => trials.extend([
                must("xadd", &[b"XADD", KEY, b"1-1", b"f", b""]),
                must("xdel", &[b"XDEL", KEY, b"1-1"]),
                must("xgroup", &[b"XGROUP", b"CREATE", KEY, b"g", b"0"]),
                must("xgroup", &[b"XGROUP", b"DESTROY", KEY, b"g"]),
                must("xgroup", &[b"XGROUP", b"CREATECONSUMER", KEY, b"g", b"c"]),
                must("xclaim", &[b"XCLAIM", KEY, b"g", b"c", b"0", b"1-1"]),
                must("xsetid", &[b"XSETID", KEY, b"1-1"]),
            ]),
            _ => {}
        }
    }
    trials
}
