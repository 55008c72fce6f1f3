//! Contestants that are processes: run to their end, with CPU and memory as `/proc` tells them.
//!
//! The kernel keeps the CPU time of an ended process, and of the children it waited for, until it is
//! waited for itself: so it is read first and waited for then. Where there is no `/proc`, only the
//! seconds are known.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::proc;
use crate::error::{Error, Kind, Result};

/// How often the end is looked for: the precision of the seconds.
const TICK: Duration = Duration::from_millis(4);
/// Memory is looked at every so many ticks.
const MEMORY_TICKS: u32 = 5;
/// What is kept of an output that never ends.
const MOST_OUTPUT: u64 = 16 << 20;

/// A process, or a pipeline of several, that has ended.
pub(super) struct Ended {
    pub(super) seconds: f64,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) peak_resident_bytes: Option<u64>,
    /// Of the last one.
    pub(super) status: ExitStatus,
    /// Of the last one.
    pub(super) stdout: Vec<u8>,
    /// Of all.
    pub(super) stderr: String,
}

impl Ended {
    /// The last line that was said, to stderr or else to stdout: mostly the reason.
    pub(super) fn last_words(&self) -> String {
        let stdout = String::from_utf8_lossy(&self.stdout);
        let lines =
            |text: &str| text.lines().rev().find(|l| !l.trim().is_empty()).map(str::to_owned);
        let line = lines(&self.stderr).or_else(|| lines(&stdout)).unwrap_or_default();
        crate::units::printable(line.as_bytes())
    }
}

/// Runs `commands`, each one's stdout into the next one's stdin. Dropping the future ends them.
pub(super) async fn run(commands: Vec<Command>) -> Result<Ended> {
    let stop = CancellationToken::new();
    let _ends_them = stop.clone().drop_guard();
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(Kind::Server, format!("it cannot be run: {error}"))
    };
    let task = tokio::task::spawn_blocking(move || run_blocking(commands, &stop));
    task.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

/// Processes that are ended when they are let go of.
#[derive(Default)]
struct Pipeline(Vec<Child>);

impl Drop for Pipeline {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

type Reader = JoinHandle<std::io::Result<Vec<u8>>>;

fn run_blocking(commands: Vec<Command>, stop: &CancellationToken) -> std::io::Result<Ended> {
    let began = Instant::now();
    let (mut pipeline, stdout, stderr) = spawn(commands)?;
    let mut usage = proc::Usage::default();
    let mut tick = 0;
    let mut running = true;
    while running {
        std::thread::sleep(TICK);
        if stop.is_cancelled() {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        running = false;
        for child in &mut pipeline.0 {
            running |= match proc::has_ended(child.id()) {
                Some(ended) => !ended,
                None => child.try_wait()?.is_none(),
            };
        }
        if tick % MEMORY_TICKS == 0 || !running {
            usage.look(pipeline.0.iter().map(Child::id));
        }
        tick += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut status = ExitStatus::default();
    for child in &mut pipeline.0 {
        status = child.wait()?;
    }
    let said: Vec<String> = stderr
        .into_iter()
        .map(|reader| joined(reader).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        .collect::<std::io::Result<_>>()?;
    Ok(Ended {
        seconds,
        cpu_seconds: usage.cpu_seconds(),
        peak_resident_bytes: usage.peak_resident_bytes(),
        status,
        stdout: stdout.map_or_else(|| Ok(Vec::new()), joined)?,
        stderr: said.concat(),
    })
}

fn spawn(commands: Vec<Command>) -> std::io::Result<(Pipeline, Option<Reader>, Vec<Reader>)> {
    let mut pipeline = Pipeline::default();
    let mut stdout = None;
    let mut stderr = Vec::new();
    for mut command in commands {
        let stdin = stdout.take().map_or_else(Stdio::null, Stdio::from);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            std::io::Error::new(error.kind(), format!("{program}: {error}"))
        })?;
        stdout = child.stdout.take();
        stderr.extend(child.stderr.take().map(read_all));
        pipeline.0.push(child);
    }
    Ok((pipeline, stdout.map(read_all), stderr))
}

/// Reads on beyond what is kept, so that the writer never waits.
fn read_all(mut pipe: impl Read + Send + 'static) -> Reader {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        (&mut pipe).take(MOST_OUTPUT).read_to_end(&mut bytes)?;
        std::io::copy(&mut pipe, &mut std::io::sink())?;
        Ok(bytes)
    })
}

fn joined(reader: Reader) -> std::io::Result<Vec<u8>> {
    reader.join().map_err(|_| std::io::Error::other("a reading thread panicked"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_pipeline_is_run_and_measured_with_its_children() {
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let script = format!("sh -c '{busy}'; cat; echo said >&2");
        let ended = run(vec![shell("echo one"), shell(&script)]).await.unwrap();
        assert_eq!(ended.stdout, b"one\n");
        assert_eq!(ended.last_words(), "said");
        assert!(ended.status.success() && ended.seconds > 0.0);
        if cfg!(target_os = "linux") {
            assert!(ended.cpu_seconds.unwrap() > 0.0, "the child's time counts");
            assert!(ended.peak_resident_bytes.unwrap() > 100_000);
        }
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_named() {
        let error = run(vec![Command::new("no-such-program")]).await.err().unwrap();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
