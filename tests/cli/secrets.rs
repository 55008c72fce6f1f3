//! Whatever is mistyped: no password is in any output.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::support::keyferry::Keyferry;

/// A password as it is typed in a URL.
const PASSWORD: &str = "s3cr-%40et";

/// How many command lines are made from the seed.
const LINES: usize = 10_000;

/// Where nobody listens, so that no run waits.
const PORT: u16 = 1;

/// Everything that can be typed, and what a finger makes of it.
struct Typist {
    words: Vec<String>,
    dice: fastrand::Rng,
}

impl Typist {
    fn new() -> Self {
        let help = Keyferry::new().args(["copy", "--help"]).expect(0).stdout;
        let all = [help, Keyferry::new().args(["cleanup", "--help"]).expect(0).stdout].concat();
        let mut words: Vec<String> = all
            .split(|c: char| c.is_whitespace() || c == ',' || c == '[' || c == '=')
            .filter(|word| word.starts_with("--") && word.len() > 3)
            .map(|word| word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned())
            .collect();
        words.sort();
        words.dedup();
        assert!(words.len() > 40, "{words:?}");
        Self { words, dice: fastrand::Rng::with_seed(14) }
    }

    fn command(&mut self) -> String {
        let commands =
            ["copy", "verify", "plan", "cleanup", "backup", "bench", "completions", "man", "help"];
        let command = commands[self.dice.usize(..commands.len())].to_owned();
        self.mistyped(command)
    }

    /// A letter too few, too many, or another; often none.
    fn mistyped(&mut self, word: String) -> String {
        let mut letters: Vec<char> = word.chars().collect();
        let at = self.dice.usize(..letters.len());
        match self.dice.u8(..6) {
            0 => drop(letters.remove(at)),
            1 => letters.insert(at, letters[at]),
            2 => letters[at] = self.dice.lowercase(),
            _ => {}
        }
        letters.into_iter().collect()
    }

    /// A URL with the password, as it should be or nearly.
    fn url(&mut self) -> String {
        let urls = [
            format!("redis://:{PASSWORD}@127.0.0.1:{PORT}"),
            format!("redis://user:{PASSWORD}@127.0.0.1:{PORT}/0"),
            format!("redis://{PASSWORD}@127.0.0.1:{PORT}"),
            format!("rediss://:{PASSWORD}@127.0.0.1:{PORT}"),
            format!("redis:/:{PASSWORD}@127.0.0.1:{PORT}"),
            format!("redis//:{PASSWORD}@127.0.0.1:{PORT}"),
            format!(":{PASSWORD}@127.0.0.1:{PORT}"),
            format!("http://user:{PASSWORD}@127.0.0.1:{PORT}"),
            format!("redis://user:{PASSWORD}"),
            format!("redis://:{PASSWORD}%40127.0.0.1"),
            format!("redis://user:more/{PASSWORD}@127.0.0.1:{PORT}"),
            format!("redis://user:{PASSWORD}@127.0.0.1:{PORT}/x?db=y"),
            format!("unix://user:{PASSWORD}@run/socket"),
            format!("file:redis://:{PASSWORD}@127.0.0.1"),
            format!("redis://user:{PASSWORD}@127.0.0.1:port"),
            format!("redis://user:{PASSWORD}@[::x]"),
        ];
        urls[self.dice.usize(..urls.len())].clone()
    }

    /// The password in a URL, or as a word of its own, where another one belongs.
    fn secret(&mut self) -> String {
        if self.dice.bool() { self.url() } else { PASSWORD.to_owned() }
    }

    fn option(&mut self) -> Vec<String> {
        let option = self.words[self.dice.usize(..self.words.len())].clone();
        let option = self.mistyped(option);
        match self.dice.u8(..5) {
            0 => vec![option],
            1 => vec![option, self.secret()],
            2 => vec![format!("{option}={}", self.secret())],
            3 => vec![option.trim_start_matches('-').to_owned(), self.secret()],
            _ => vec![format!("-{}", option.chars().nth(2).unwrap_or('x')), self.url()],
        }
    }

    fn line(&mut self) -> Vec<String> {
        let mut line = vec![self.command()];
        for _ in 0..self.dice.usize(..4) {
            match self.dice.u8(..3) {
                0 => line.extend(self.option()),
                1 => line.push(self.url()),
                // What stands last may be the name of a backup's file, which is told.
                _ if line[0].starts_with('b') => line.push(self.url()),
                _ => line.push(self.secret()),
            }
        }
        if self.dice.u8(..4) == 0 {
            line.remove(0);
        }
        line
    }
}

/// A part of it, as it was typed or decoded.
fn is_in(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    ["s3cr", "%40et", "@et"].iter().any(|part| text.contains(part))
}

#[test]
fn no_mistyped_line_shows_a_password() {
    let mut typist = Typist::new();
    let lines: Vec<Vec<String>> = (0..LINES).map(|_| typist.line()).collect();
    let shown: Vec<String> = std::thread::scope(|scope| {
        let parts: Vec<_> = lines
            .chunks(LINES.div_ceil(4))
            .map(|part| {
                scope.spawn(move || {
                    part.iter().filter_map(|line| shown_by(line)).collect::<Vec<_>>()
                })
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("no panic")).collect()
    });
    assert!(shown.is_empty(), "{} of {LINES} lines, the first: {}", shown.len(), shown[0]);
}

/// A secret as it may be typed in the place of something else.
const WORD: &str = "S3cretPw";

/// Which option it was, and what belongs there, is said.
#[test]
fn a_secret_in_the_place_of_something_else_is_not_repeated() {
    const SIDES: &str = "redis://127.0.0.1:1 redis://127.0.0.1:1";
    for (line, says) in [
        (format!("copy {SIDES} --source-password-file {WORD}"), "--source-password-file"),
        (format!("copy {SIDES} --target-service-key {WORD}"), "--target-service-key"),
        (format!("verify {SIDES} --source-cacert {WORD} --source-tls"), "--source-cacert"),
        (format!("copy {SIDES} --target-key {WORD} --target-tls"), "--target-key"),
        (format!("copy {SIDES} --retry-failures {WORD}"), "dead letters"),
        (format!("copy {SIDES} {WORD}"), "[SOURCE] [TARGET]"),
        (format!("plan {SIDES} {WORD}"), "[SOURCE] [TARGET]"),
        (format!("cleanup {SIDES} {WORD}"), "[SOURCE]"),
        (format!("backup {SIDES} {WORD}"), "<SOURCE> [FILE]"),
        (format!("man {WORD}"), "unexpected argument"),
        (format!("copy {SIDES} -{WORD}"), "unexpected argument"),
        (format!("copy {SIDES} --{WORD}"), "unexpected argument"),
        (format!("copy {SIDES} --memory {WORD}"), "'--memory <SIZE>': write for example 50MiB"),
        (format!("copy {SIDES} --db {WORD}"), "'--db <N[:M]>': write a database's number"),
        (format!("copy {SIDES} --verify {WORD}"), "[possible values: none, count, full]"),
        (format!("copy {SIDES} --type {WORD}"), "'--type <TYPE>': write one of string, list"),
        (format!("copy {SIDES} --connections {WORD}"), "write a whole number from 1 to 64"),
        (format!("copy {SIDES} --max-keys-rate {WORD}"), "write a whole number, 1 or more"),
        (format!("copy {SIDES} --reply-timeout {WORD}"), "write for example 500ms"),
        (format!("copy {SIDES} --max-source-latency {WORD}"), "write for example 500ms"),
        (format!("copy {SIDES} --dry-run={WORD}"), "write true or false"),
        (format!("copy {SIDES} --source-tls={WORD}"), "'--source-tls'"),
        (format!("copy {SIDES} --require-quiet={WORD}"), "'--require-quiet'"),
        (format!("help {WORD}"), "unrecognized subcommand"),
        (format!("completions {WORD}"), "possible values: bash"),
        (format!("bench --server {WORD}"), "--server"),
        (format!("bench --data {WORD}"), "write one of strings-1k"),
        (format!("bench --keys {WORD}"), "write a whole number"),
        (format!("bench --bytes {WORD}"), "write for example 500MB"),
        (format!("bench --only {WORD}"), "there are guide, migrate"),
        (format!("bench --copy {WORD}"), "write NAME="),
    ] {
        let run = Keyferry::new().args(line.split(' ')).expect(2);
        assert!(!run.frame().contains(WORD), "{line}{}", run.frame());
        assert!(run.stderr.contains(says), "{line}: {says}{}", run.frame());
    }
    // A misspelt option is shown, and so is the one that was meant.
    let run = Keyferry::new().args(["copy", "--conections", "2"]).expect(2);
    run.assert_says(&["'--conections'", "'--connections'"]);
}

/// The line and what it says, if that holds the password.
fn shown_by(line: &[String]) -> Option<String> {
    // A benchmark is no mistake to be answered, and takes its time.
    if line.iter().any(|word| word == "bench") {
        return None;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
    command.env_clear().current_dir(directory.path()).arg0("keyferry").args(line);
    let quick = ["--connect-timeout", "1s", "--retry-budget", "1s"];
    let takes_limits = ["copy", "verify", "plan", "cleanup", "backup"];
    if line.first().is_some_and(|word| takes_limits.contains(&word.as_str())) {
        command.args(quick);
    }
    let output = command.stdin(Stdio::null()).output().expect("the binary under test starts");
    let names: Vec<u8> = directory
        .path()
        .read_dir()
        .expect("it is there")
        .flat_map(|entry| std::fs::read(entry.expect("an entry").path()).unwrap_or_default())
        .collect();
    let shows = [&output.stdout, &output.stderr, &names].into_iter().any(|text| is_in(text));
    let panics = String::from_utf8_lossy(&output.stderr).contains("panicked");
    (shows || panics).then(|| {
        let [stdout, stderr] =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        format!("{line:?}\n{stdout}\n{stderr}")
    })
}
