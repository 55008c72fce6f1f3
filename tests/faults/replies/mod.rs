//! One of the servers answers one command wrongly, once or always: with an error, with nothing, with another
//! type, or not at all. Whatever it is, a run ends within its limits, and never says "done" or "verified" over
//! a difference.
//!
//! What can be answered wrongly is learned from a recording of each run. `make soak` gives every command of
//! every run every wrong answer once, on servers and at a moment that the seed draws;
//! `KEYFERRY_CASE=TEXT make soak` runs all cases whose names hold that text (`redis`: all there are, hours).

mod data;
mod flow;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use redis::cmd;
use tempfile::TempDir;

use super::{from_environment, work_on};
use crate::support::inventory::Inventory;
use crate::support::keyferry::Run;
use crate::support::reply_proxy::{Point, ReplyProxy, Which, Wrong};
use crate::support::server::{Kind, Server, Setup};
use data::{Bench, DATABASES, PAIRS};
use flow::Flow;

/// Runs at once: most of the time they wait for a server that gives the same answer again.
const AT_ONCE: usize = 6;

/// The seed of the cases that run with all tests, and how many there are beside one for each command.
const DRAWN: (u64, usize) = (1, 60);

/// Cases that once hid a difference: they run with all tests, too, as long as the runs ask so.
const FOUND: [&str; 15] = [
    "redis70-redis70 copy source INFO.direct all nil",
    "redis62-valkey81 state source SELECT.direct #0 busy",
    "redis70-redis70 move source DUMP.element all nilarray",
    "valkey91-redis82 backupdump source DUMP.element #0 nil",
    "redis62-valkey81 backup source PEXPIRETIME.direct all othertype",
    "redis62-valkey81 fail source INFO.direct all nilarray",
    "redis70-redis70 merge source INFO.direct #0 emptyarray",
    "redis70-redis70 merge source TYPE.direct all othertype",
    "valkey91-redis82 merge source HPEXPIRETIME.direct #0 nilarray",
    "redis70-redis70 functions source FUNCTION_DUMP.direct all error",
    "redis70-redis70 pieces source STRLEN.direct all othertype",
    "redis62-valkey81 pieces source LRANGE.direct all emptyarray",
    "redis70-redis70 verifymissing source TYPE.direct all nil",
    "redis70-redis70 verifyextra target EXISTS.direct all emptyarray",
    "redis70-redis70 verifyexpiry target DUMP.direct all emptyarray",
];

/// The server that answers wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Source,
    Target,
}

/// A run before a server that is not yet said to answer wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Setting {
    pair: [Kind; 2],
    flow: Flow,
    side: Side,
}

/// One run.
#[derive(Clone, Debug)]
struct Case {
    setting: Setting,
    point: Point,
    which: Which,
    wrong: Wrong,
}

/// What a run does where all answers are right.
struct Expected {
    code: i32,
    source: Inventory,
    target: Inventory,
    functions: Vec<String>,
    points: BTreeMap<Point, usize>,
}

impl fmt::Display for Setting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pair: [from, to], flow, side } = self;
        let text = format!("{from:?}-{to:?} {flow:?} {side:?}").to_lowercase();
        write!(out, "{text}")
    }
}

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = match self.which {
            Which::All => "all".to_owned(),
            Which::Nth(number) => format!("#{number}"),
        };
        let wrong = format!("{:?}", self.wrong).to_lowercase();
        write!(out, "{} {} {which} {wrong}", self.setting, self.point)
    }
}

/// The servers of one thread, by pair.
type Benches = BTreeMap<String, Bench>;

fn bench<'a>(benches: &'a mut Benches, setting: &Setting) -> &'a Bench {
    benches.entry(format!("{:?}", setting.pair)).or_insert_with(|| Bench::of(setting.pair))
}

/// The addresses of both sides, with the proxy before one of them.
fn addresses(bench: &Bench, side: Side, proxy: &ReplyProxy) -> [String; 2] {
    match side {
        Side::Source => [proxy.url(), bench.target.url()],
        Side::Target => [bench.source.url(), proxy.url()],
    }
}

fn port(bench: &Bench, side: Side) -> u16 {
    if side == Side::Source { bench.source.port } else { bench.target.port }
}

fn functions(server: &Server) -> Vec<String> {
    if server.kind == Kind::Redis62 {
        return Vec::new();
    }
    let list: redis::Value = server.client(0).call(cmd("FUNCTION").arg("LIST"));
    let mut names: Vec<String> = ["one", "two"]
        .iter()
        .filter(|n| format!("{list:?}").contains(**n))
        .map(|n| (*n).into())
        .collect();
    names.sort();
    names
}

/// Runs once with right answers.
fn record(bench: &Bench, setting: &Setting) -> Expected {
    let place = TempDir::new().expect("a temporary directory");
    bench.prepare(setting.flow);
    let proxy = ReplyProxy::start(port(bench, setting.side), None);
    let [source, target] = addresses(bench, setting.side, &proxy);
    let run = setting.flow.command(&source, &target, place.path()).run();
    let code = run.code().unwrap_or(-1);
    assert!([0, 1].contains(&code), "with right answers it ends with {code}{}", run.frame());
    Expected {
        code,
        source: Inventory::of(&bench.source, &DATABASES),
        target: Inventory::of(&bench.target, &DATABASES),
        functions: functions(&bench.target),
        points: proxy.seen(),
    }
}

/// Runs once with a wrong answer; panics with what is wrong then.
fn try_out(bench: &Bench, case: &Case, expected: &Expected) {
    let Case { setting: Setting { flow, side, .. }, point, which, wrong } = case;
    let place = TempDir::new().expect("a temporary directory");
    bench.prepare(*flow);
    let before = [&bench.source, &bench.target].map(|server| Inventory::of(server, &DATABASES));
    let lie = Some((point.clone(), *which, *wrong));
    let proxy = ReplyProxy::start(port(bench, *side), lie);
    let [source, target] = addresses(bench, *side, &proxy);
    let run = flow.command(&source, &target, place.path()).run();
    run.assert_code(&[0, 1, 3, 4]);
    let after = [&bench.source, &bench.target].map(|server| Inventory::of(server, &DATABASES));
    check_losses(*flow, &before, &after, &run);
    let mut found = expected.target.differences(&after[1]);
    if run.code() == Some(0) {
        found.extend(expected.source.differences(&after[0]));
    }
    if flow.saves() {
        found = match run.code() {
            Some(0) => {
                before[0].differences(&loaded(bench, place.path().join("saved.rdb").as_path()))
            }
            _ => Vec::new(),
        };
    }
    if *flow == Flow::Functions && functions(&bench.target) != expected.functions {
        found.push("functions are missing".to_owned());
    }
    if expected.code != 0 && *flow != Flow::Fail {
        found.push("what was planted".to_owned());
    }
    check_sayings(&found, &run);
    if !proxy.told() {
        eprintln!("{case}: did not come");
    }
    if *flow == Flow::State && run.code() != Some(0) {
        go_on(bench, case, &proxy, place.path(), &run);
    }
}

/// The key is where it was, or as it was where it was moved to; and nothing else is written to.
#[track_caller]
fn check_losses(flow: Flow, before: &[Inventory; 2], after: &[Inventory; 2], run: &Run) {
    let [source, target] = before;
    let mut lost = Vec::new();
    for key in source.keys() {
        let Some(what) = source.lacks(key, &after[0]) else { continue };
        let moved = flow.deletes() && source.lacks(key, &after[1]).is_none();
        if !moved {
            lost.push(format!("db {} {} {what}", key.0, key.1.escape_ascii()));
        }
    }
    assert!(lost.is_empty(), "the source has lost {:?}{}", cut(&lost), run.frame());
    if !flow.writes() {
        let changed = target.differences(&after[1]);
        assert!(
            changed.is_empty(),
            "the target was written to: {:?}{}",
            cut(&changed),
            run.frame()
        );
    }
}

#[track_caller]
fn check_sayings(found: &[String], run: &Run) {
    if found.is_empty() {
        return;
    }
    assert!(run.code() != Some(0), "exit code 0, and {:?}{}", cut(found), run.frame());
    let said = run.stdout.to_lowercase();
    // By count it is said of the names only.
    let names = said.contains("(count)");
    let differ = found.iter().any(|what| !names || what.ends_with("is not there"));
    let is_praise = said.contains("verified (") || said.contains("every key");
    assert!(!(differ && is_praise), "\"verified\" is said over {:?}{}", cut(found), run.frame());
}

fn cut(found: &[String]) -> (usize, &[String]) {
    (found.len(), found.get(..5).unwrap_or(found))
}

/// The server that answers wrongly is replaced: the same command goes on.
#[track_caller]
fn go_on(bench: &Bench, case: &Case, proxy: &ReplyProxy, place: &std::path::Path, before: &Run) {
    proxy.tell_the_truth();
    let [source, target] = addresses(bench, case.setting.side, proxy);
    let mut again = case.setting.flow.command(&source, &target, place);
    if !place.join("state.json").exists() {
        // It ended before there was anything to go on from, or once it had done what it could.
        again = again.args(["--if-exists", "replace"]);
    }
    let run = again.run();
    let found = Inventory::of(&bench.source, &DATABASES)
        .differences(&Inventory::of(&bench.target, &DATABASES));
    let told = (run.code(), cut(&found));
    let (first, second) = (before.frame(), run.frame());
    assert!(run.code() == Some(0) && found.is_empty(), "resumed: {told:?}{first}{second}");
}

/// What a server makes of the file.
#[track_caller]
fn loaded(bench: &Bench, file: &std::path::Path) -> Inventory {
    let server = Setup::new(bench.source.kind).rdb(file).start();
    Inventory::of(&server, &DATABASES)
}

/// All runs of these pairs, and what each of them does.
fn recordings(pairs: &[[Kind; 2]]) -> Vec<(Setting, Expected)> {
    let mut settings = Vec::new();
    for &pair in pairs {
        for flow in Flow::ALL {
            for side in [Side::Source, Side::Target] {
                let knows = !pair.contains(&Kind::Redis62) || flow != Flow::Functions;
                if knows && (side == Side::Source || !flow.saves()) {
                    settings.push(Setting { pair, flow, side });
                }
            }
        }
    }
    let recorded = work_on(&settings, AT_ONCE, Benches::new, |benches, setting| {
        record(bench(benches, setting), setting)
    });
    settings.into_iter().zip(recorded).collect()
}

/// Every case of some recordings.
fn product(recordings: &[(Setting, Expected)]) -> Vec<(Case, &Expected)> {
    let mut cases = Vec::new();
    for (setting, expected) in recordings {
        for (point, &count) in &expected.points {
            let mut numbers = BTreeSet::from([0, count / 2]);
            numbers.retain(|number| *number < count);
            let some = numbers.into_iter().map(Which::Nth);
            for which in some.chain([Which::All]) {
                for wrong in Wrong::ALL {
                    let case = Case { setting: *setting, point: point.clone(), which, wrong };
                    cases.push((case, expected));
                }
            }
        }
    }
    cases
}

fn run_all(cases: &[(Case, &Expected)]) {
    let named: Vec<Named<'_>> =
        cases.iter().map(|(case, expected)| Named(case, expected)).collect();
    work_on(&named, AT_ONCE, Benches::new, |benches, Named(case, expected)| {
        try_out(bench(benches, &case.setting), case, expected);
    });
}

/// A case that is known by its name.
struct Named<'a>(&'a Case, &'a Expected);

impl fmt::Display for Named<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[test]
fn a_wrong_reply_never_hides_a_difference() {
    let recordings = recordings(&PAIRS[..2]);
    let mut cases = product(&recordings);
    fastrand::Rng::with_seed(DRAWN.0).shuffle(&mut cases);
    // The first ones, the first one of each command that they lack, and the known ones.
    let mut met = BTreeSet::new();
    let mut number = 0;
    cases.retain(|(case, _)| {
        number += 1;
        let is_known = FOUND.contains(&case.to_string().as_str());
        met.insert(case.point.clone()) || number <= DRAWN.1 || is_known
    });
    run_all(&cases);
}

#[test]
#[ignore = "takes half an hour: make soak"]
fn soak() {
    let recordings = recordings(&PAIRS);
    let mut cases = product(&recordings);
    let all = cases.len();
    if let Ok(text) = std::env::var("KEYFERRY_CASE") {
        cases.retain(|(case, _)| case.to_string().contains(&text));
        assert!(!cases.is_empty(), "no case is called {text}");
    } else {
        let seed =
            from_environment("KEYFERRY_FIRST_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
        fastrand::Rng::with_seed(seed).shuffle(&mut cases);
        let mut met = BTreeSet::new();
        cases.retain(|(Case { setting, point, wrong, .. }, _)| {
            met.insert((setting.flow, setting.side, point.clone(), *wrong))
        });
        let runs = from_environment("KEYFERRY_RUNS")
            .map_or(cases.len(), |runs| usize::try_from(runs).expect("a number that fits"));
        cases.truncate(runs);
        eprintln!("seed {seed}: {} cases of {all}", cases.len());
    }
    run_all(&cases);
}
