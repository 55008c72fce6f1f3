//! A connection of the independent `redis` crate with calls that panic readably.

use redis::{Cmd, Connection, FromRedisValue, Pipeline, RedisError};

/// One connection to one database of one server.
pub(crate) struct Client {
    connection: Connection,
    name: String,
}

impl Client {
    /// Wraps a connection; `name` stands in messages.
    pub(crate) fn new(connection: Connection, name: String) -> Self {
        Self { connection, name }
    }

    /// Sends one command; any error is the test's failure.
    #[track_caller]
    pub(crate) fn call<T: FromRedisValue>(&mut self, command: &Cmd) -> T {
        match command.query(&mut self.connection) {
            Ok(value) => value,
            Err(error) => panic!("{} refused {}: {error}", self.name, first_words(command)),
        }
    }

    /// Sends one command whose refusal is of interest.
    pub(crate) fn try_call<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        command.query(&mut self.connection)
    }

    /// Sends one command for its effect.
    #[track_caller]
    pub(crate) fn run(&mut self, command: &Cmd) {
        self.call::<redis::Value>(command);
    }

    /// Sends many commands in one go for their effect.
    #[track_caller]
    pub(crate) fn run_all(&mut self, commands: &Pipeline) {
        self.call_all::<redis::Value>(commands);
    }

    /// Sends many commands in one go and returns every reply.
    #[track_caller]
    pub(crate) fn call_all<T: FromRedisValue>(&mut self, commands: &Pipeline) -> Vec<T> {
        match commands.query(&mut self.connection) {
            Ok(values) => values,
            Err(error) => panic!("{} refused a pipeline: {error}", self.name),
        }
    }

    /// The number of keys in the selected database.
    #[track_caller]
    pub(crate) fn dbsize(&mut self) -> usize {
        self.call(&redis::cmd("DBSIZE"))
    }

    /// The string value of a key, if there is one.
    #[track_caller]
    pub(crate) fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.call(redis::cmd("GET").arg(key))
    }

    /// Sets a string.
    #[track_caller]
    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) {
        self.run(redis::cmd("SET").arg(key).arg(value));
    }

    /// Does the key exist?
    #[track_caller]
    pub(crate) fn exists(&mut self, key: &[u8]) -> bool {
        self.call(redis::cmd("EXISTS").arg(key))
    }

    /// One line of `INFO`, for example `run_id`.
    #[track_caller]
    pub(crate) fn info(&mut self, section: &str, field: &str) -> Option<String> {
        let text: String = self.call(redis::cmd("INFO").arg(section));
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| *name == field)
            .map(|(_, value)| value.trim().to_owned())
    }
}

/// Sets `key:0 … key:(count-1)` to values of `size` bytes that do not compress and differ by key.
#[track_caller]
pub(crate) fn fill_strings(client: &mut Client, prefix: &str, count: usize, size: usize) {
    const BATCH: usize = 1000;
    for start in (0..count).step_by(BATCH) {
        let mut batch = redis::pipe();
        for number in start..count.min(start + BATCH) {
            let value = super::dataset::noise(number as u64 + 1, size);
            batch.cmd("SET").arg(format!("{prefix}:{number}")).arg(value);
        }
        client.run_all(&batch);
    }
}

/// The command's words for a message, never a value of megabytes.
fn first_words(command: &Cmd) -> String {
    let words: Vec<String> = command
        .args_iter()
        .take(4)
        .map(|word| match word {
            redis::Arg::Simple(bytes) => super::shown(bytes),
            _ => "…".to_owned(),
        })
        .collect();
    words.join(" ")
}
