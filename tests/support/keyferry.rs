//! The binary under test: started in a clean environment, watched by the clock, checked after every run.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// No run may take longer: beyond it, it hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A password that must never appear in any output. Every run is searched for it.
pub(crate) const SECRET: &str = "s3ntinel-Passw0rd";

/// A value that must never appear in any output. Every run is searched for it.
pub(crate) const SECRET_VALUE: &str = "s3ntinel-value-of-a-key";

/// The counts that add up to `scanned`.
const PARTS: [&str; 7] =
    ["copied", "compared", "skipped", "merged", "filtered", "expired", "failed"];

/// A command line being put together.
pub(crate) struct Keyferry {
    command: Command,
    report: Option<PathBuf>,
    directory: TempDir,
}

/// A run that goes on.
pub(crate) struct Running {
    child: Child,
    started: Instant,
    stdout: JoinHandle<Vec<u8>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    report: Option<PathBuf>,
    // Holds the report until it is read.
    _directory: TempDir,
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct Run {
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    report: Option<Value>,
}

impl Keyferry {
    /// The bare binary: no argument, no environment of this process.
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
        command.env_clear().current_dir(directory.path()).env("HOME", directory.path());
        // Where coverage and temporary files go is the tester's choice.
        for kept in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, report: None, directory }
    }

    /// `keyferry copy SOURCE TARGET --report FILE`.
    pub(crate) fn copy(source: impl AsRef<OsStr>, target: impl AsRef<OsStr>) -> Self {
        Self::new().arg("copy").arg(source).arg(target).with_report()
    }

    /// `keyferry verify SOURCE TARGET --report FILE`.
    pub(crate) fn verify(source: impl AsRef<OsStr>, target: impl AsRef<OsStr>) -> Self {
        Self::new().arg("verify").arg(source).arg(target).with_report()
    }

    /// `keyferry cleanup SOURCE --verified-against TARGET --report FILE`.
    pub(crate) fn cleanup(source: impl AsRef<OsStr>, target: impl AsRef<OsStr>) -> Self {
        let command = Self::new().arg("cleanup").arg(source);
        command.arg("--verified-against").arg(target).with_report()
    }

    /// `keyferry plan SOURCE TARGET --report FILE`.
    pub(crate) fn plan(source: impl AsRef<OsStr>, target: impl AsRef<OsStr>) -> Self {
        Self::new().arg("plan").arg(source).arg(target).with_report()
    }

    /// Asks for a report, which the finished run then holds.
    pub(crate) fn with_report(mut self) -> Self {
        let path = self.directory.path().join("report.json");
        self.command.arg("--report").arg(&path);
        self.report = Some(path);
        self
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Started in this folder, where its relative paths then lead.
    pub(crate) fn in_folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Nobody reads stderr any more, as after a terminal was closed.
    pub(crate) fn without_stderr(mut self) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        self.command.stderr(writer);
        self
    }

    /// As `nohup` starts it, and others do for other signals.
    pub(crate) fn ignoring(self, signal: &str) -> Self {
        self.behind(&format!("trap '' {signal}"))
    }

    /// No file that it writes may hold more blocks: as on a disk that is full, the next write fails.
    pub(crate) fn with_files_of_at_most(self, blocks: u32) -> Self {
        self.behind(&format!("trap '' XFSZ; ulimit -f {blocks}"))
    }

    /// Started by a shell that does this first.
    fn behind(self, prelude: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{prelude}; exec \"$@\""), "sh"]);
        command.arg(self.command.get_program()).args(self.command.get_args());
        command
            .env_clear()
            .envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, ..self }
    }

    /// Short limits, for peers that do not answer.
    pub(crate) fn impatient(self) -> Self {
        self.args(["--connect-timeout", "1s", "--reply-timeout", "2s", "--retry-budget", "2s"])
    }

    /// A file with this content in the run's own directory.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).expect("a file in the temporary directory");
        path.to_str().expect("a temporary directory with a plain name").to_owned()
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn start(mut self) -> Running {
        let mut child = self.command.spawn().expect("the binary under test starts");
        let stdout = read_all(child.stdout.take().expect("stdout is piped"));
        let stderr = child.stderr.take().map(read_all);
        let (started, report) = (Instant::now(), self.report);
        Running { child, started, stdout, stderr, report, _directory: self.directory }
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Run {
        self.start().finish()
    }

    /// Runs it and expects this exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Run {
        let run = self.run();
        run.assert_code(&[code]);
        run
    }
}

impl Running {
    /// Sends a signal: `INT`, `TERM`, `KILL`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &process]).status();
        assert!(sent.expect("`kill` exists").success(), "could not send SIG{name}");
    }

    /// Has it ended by itself?
    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("the state of a child").is_some()
    }

    /// Waits for the end, within the limit, and checks what holds for every run.
    #[track_caller]
    pub(crate) fn finish(self) -> Run {
        self.finish_within(LIMIT)
    }

    /// Likewise, within another limit.
    #[track_caller]
    pub(crate) fn finish_within(mut self, limit: Duration) -> Run {
        let mut in_time = true;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the state of a child") {
                break status;
            }
            if self.started.elapsed() > limit {
                in_time = false;
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let run = Run {
            status,
            stdout: text(self.stdout),
            stderr: self.stderr.map(text).unwrap_or_default(),
            report: self.report.as_deref().and_then(|path| read_report(path, status)),
        };
        assert!(in_time, "keyferry hangs: not done after {limit:?}{}", run.frame());
        run.check();
        run
    }
}

impl Run {
    /// The exit code; none after a signal.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Fails unless the exit code is one of these.
    #[track_caller]
    pub(crate) fn assert_code(&self, allowed: &[i32]) {
        let code = self.code();
        let fits = code.is_some_and(|code| allowed.contains(&code));
        assert!(fits, "exit code {code:?}, expected one of {allowed:?}{}", self.frame());
    }

    /// The report; its absence is a failure.
    #[track_caller]
    pub(crate) fn report(&self) -> &Value {
        self.report.as_ref().unwrap_or_else(|| panic!("no report was written{}", self.frame()))
    }

    /// `complete`, `incomplete`, `refused`, `interrupted`, `dry-run`.
    #[track_caller]
    pub(crate) fn outcome(&self) -> &str {
        self.report()["outcome"].as_str().unwrap_or_else(|| panic!("no outcome{}", self.frame()))
    }

    /// One of the totals, as in `count("copied")`.
    #[track_caller]
    pub(crate) fn count(&self, name: &str) -> u64 {
        let count = &self.report()["keys"][name];
        count.as_u64().unwrap_or_else(|| panic!("keys.{name} is {count}{}", self.frame()))
    }

    /// Fails unless the totals are these; those not named have to be 0, `scanned` follows by itself.
    #[track_caller]
    pub(crate) fn assert_counts(&self, expected: &[(&str, u64)]) {
        for name in PARTS.iter().chain(&["deleted_from_source"]) {
            let wanted = expected.iter().find(|(n, _)| n == name).map_or(0, |(_, count)| *count);
            let count = self.count(name);
            assert_eq!(count, wanted, "keys.{name}, of {expected:?}{}", self.frame());
        }
    }

    /// Kind and key of each difference that the report names, in order of keys.
    #[track_caller]
    pub(crate) fn differences(&self) -> Vec<(String, String)> {
        let list = self.report()["differences"].as_array().cloned().unwrap_or_default();
        let text = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
        let mut found: Vec<(String, String)> =
            list.iter().map(|of| (text(of, "kind"), text(of, "key"))).collect();
        found.sort_by(|one, other| (&one.1, &one.0).cmp(&(&other.1, &other.0)));
        found
    }

    /// The codes of the findings of this severity, as `code` or `code of target`, in order.
    #[track_caller]
    pub(crate) fn findings(&self, severity: &str) -> Vec<String> {
        let all = self.report()["findings"].as_array();
        let all = all.unwrap_or_else(|| panic!("the report has no findings{}", self.frame()));
        let meant = all.iter().filter(|finding| finding["severity"] == severity);
        let code = |finding: &Value| finding["code"].as_str().unwrap_or_default().to_owned();
        let mut codes: Vec<String> = meant
            .map(|finding| match finding["side"].as_str() {
                Some(side) => format!("{} of {side}", code(finding)),
                None => code(finding),
            })
            .collect();
        codes.sort();
        codes
    }

    /// Fails unless stderr holds each of these, in whatever case.
    #[track_caller]
    pub(crate) fn assert_says(&self, words: &[&str]) {
        let said = self.stderr.to_lowercase();
        for word in words {
            assert!(said.contains(&word.to_lowercase()), "stderr lacks {word:?}{}", self.frame());
        }
    }

    /// Fails unless stderr holds one of these, in whatever case.
    #[track_caller]
    pub(crate) fn assert_says_one_of(&self, words: &[&str]) {
        let said = self.stderr.to_lowercase();
        let found = words.iter().any(|word| said.contains(&word.to_lowercase()));
        assert!(found, "stderr holds none of {words:?}{}", self.frame());
    }

    /// Both outputs and the report, for messages.
    pub(crate) fn frame(&self) -> String {
        let report =
            self.report.as_ref().map_or_else(|| "none".to_owned(), |report| format!("{report:#}"));
        format!(
            "\n┌── {}\n├── stdout\n{}\n├── stderr\n{}\n├── report\n{}\n└──",
            self.status,
            cut(&self.stdout),
            cut(&self.stderr),
            cut(&report)
        )
    }

    /// What holds for every run, whatever it was asked to do and however it ended.
    #[track_caller]
    fn check(&self) {
        let report = self.report.as_ref().map(Value::to_string).unwrap_or_default();
        for (place, text) in
            [("stdout", &self.stdout), ("stderr", &self.stderr), ("report", &report)]
        {
            assert!(!text.contains("panicked"), "a panic in {place}{}", self.frame());
            assert!(!text.contains(SECRET), "the password appears in {place}{}", self.frame());
            assert!(!text.contains(SECRET_VALUE), "a value appears in {place}{}", self.frame());
        }
        if self.report.is_some() {
            self.check_sums();
        }
    }

    /// `scanned` is the sum of its parts, the totals are the sums over the databases, failures are named.
    #[track_caller]
    fn check_sums(&self) {
        let report = self.report();
        assert_eq!(report["schema"], 1, "the schema of the report{}", self.frame());
        let parts: u64 = PARTS.iter().map(|part| self.count(part)).sum();
        assert_eq!(
            self.count("scanned"),
            parts,
            "scanned is not the sum of its parts{}",
            self.frame()
        );
        let dbs = report["dbs"].as_array().map_or(&[][..], Vec::as_slice);
        for name in PARTS.iter().chain(&["scanned", "deleted_from_source"]) {
            let sum: u64 = dbs.iter().filter_map(|db| db["keys"][name].as_u64()).sum();
            assert_eq!(self.count(name), sum, "keys.{name} and its sum over dbs{}", self.frame());
        }
        let bytes: u64 = dbs.iter().filter_map(|db| db["bytes"].as_u64()).sum();
        assert_eq!(report["bytes"].as_u64(), Some(bytes), "bytes and their sum{}", self.frame());
        let named = report["failures"].as_array().map_or(0, Vec::len);
        assert!(
            self.count("failed") == 0 || named > 0,
            "failed keys are not named{}",
            self.frame()
        );
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A killed child ends the pipe; what came until then is of interest.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn text(reader: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().expect("a reader does not panic")).into_owned()
}

/// The report, if one was written; half a report is a failure, unless the run was killed. An empty
/// file is none: the place may be tried out before the work.
#[track_caller]
fn read_report(path: &Path, status: ExitStatus) -> Option<Value> {
    let bytes = std::fs::read(path).ok().filter(|bytes| !bytes.is_empty())?;
    match serde_json::from_slice(&bytes) {
        Ok(report) => Some(report),
        Err(_) if status.code().is_none() => None,
        Err(error) => panic!("the report is no JSON: {error}\n{}", String::from_utf8_lossy(&bytes)),
    }
}

fn cut(text: &str) -> String {
    const LONGEST: usize = 6_000;
    let mut shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() {
        shown.push_str("\n… (cut)");
    }
    shown
}
