//! One key: watched, read page by page, built under its temporary name, proven, and put in place.

use super::there::There;
use super::{Fate, Worker};
use crate::command::{Cause, ServerError};
use crate::config::IfExists;
use crate::error::{Error, Kind, Result};
use crate::resp::Value;
use crate::source::circles::{Circles, endless};
use crate::source::elements::Collection;
use crate::source::pages::{HELD, Node, PageSize, Pages};
use crate::source::reading::expiry_of;
use crate::target::building::{Building, is_unknown};
use crate::target::placing::Placed;

/// Pages of a string that are asked for before the first has come: 1 MiB, so that distance does not
/// make each wait for the one before.
const AHEAD: usize = 4;
/// Makes a string of the pieces in a list, for a server that makes no string by APPEND that is
/// longer than `proto-max-bulk-len`. What a script hands over is not held against that limit.
const JOIN: &[u8] = b"local parts = {} \
    for at = 0, redis.call('LLEN', KEYS[1]) - 1 do parts[at + 1] = redis.call('LINDEX', KEYS[1], at) end \
    return redis.call('SET', KEYS[1], table.concat(parts), 'PX', ARGV[1])";
/// How long the string that it makes may wait for its name, in milliseconds.
const JOINED_LIFE_MS: &[u8] = b"3600000";

/// The connections of one attempt.
pub(super) struct Copying<'a> {
    pub(super) from: &'a mut Pages,
    pub(super) to: &'a mut Building,
    pub(super) key: &'a [u8],
    /// How far the target's clock is ahead of the source's, in milliseconds.
    pub(super) ahead_ms: i64,
    pace: Option<&'a crate::flow::Pace>,
    paced: u64,
}

/// What fields of a hash need to keep their expiries.
struct FieldExpiries<'a> {
    known_at_source: &'a mut Option<bool>,
    known_at_target: &'a mut Option<bool>,
    lossy: bool,
}

impl Worker {
    /// Copies a key once; `None`: somebody wrote it meanwhile.
    pub(super) async fn attempt(&mut self, key: &[u8]) -> Result<Option<Fate>> {
        let older = match self.find_there(key).await? {
            There::Nothing => false,
            There::Older => true,
            There::Settled(fate) => return Ok(Some(fate)),
        };
        let Self { tools, source, target, .. } = self;
        let (Some(from), Some(to)) = (source, target) else {
            return Err(Error::new(Kind::Transport, "not connected"));
        };
        let replace = older || tools.policy == IfExists::Replace;
        let from_server = &mut from.connection;
        from_server.demand(&[b"WATCH", key]).await?;
        let kind = from_server.demand(&[b"TYPE", key]).await?;
        let kind = kind.text().unwrap_or_default().to_owned();
        let expiry = expiry_of(from_server, tools.clock, key).await?;
        let Some(expiry) = expiry.filter(|_| kind != "none") else {
            // As UNWATCH, which would be one right more.
            from_server.demand(&[b"MULTI"]).await?;
            from_server.demand(&[b"EXEC"]).await?;
            return Ok(Some(Fate::Gone));
        };
        let expiry = Some(expiry).filter(|&expiry| expiry > 0);
        to.begin(tools.names.next());
        let pace = tools.pace.as_deref();
        let mut copying = Copying { from, to, key, ahead_ms: tools.clock.ahead_ms, pace, paced: 0 };
        let expiries = FieldExpiries {
            known_at_source: &mut self.field_expiries,
            known_at_target: &mut self.keeps_field_expiries,
            lossy: tools.lossy,
        };
        let join_above = if self.by_script { 0 } else { tools.longest_bulk };
        let built = copying.value(&kind, join_above, expiries).await;
        if let Err(error) = &built {
            // A key that changes under our hands may do so into something that cannot be.
            let in_step = error.kind() == Kind::Server && copying.from.skip_rest().await.is_ok();
            return match in_step && !copying.is_of_one_moment().await? {
                true => Ok(None),
                false => Err(error.clone()),
            };
        }
        if !copying.is_of_one_moment().await? {
            return Ok(None);
        }
        let bytes = copying.to.bytes();
        match copying.to.put_in_place(key, expiry, replace).await {
            Ok(Placed::Done) => {}
            // It came up in between: it is looked at as if it had been there before.
            Ok(Placed::Exists) => return Ok(None),
            Ok(Placed::Expired) => return Ok(Some(Fate::Gone)),
            // Was it done? With REPLACE that does not matter.
            Err(error) if error.kind() == Kind::Transport && !replace => {
                self.doubtful = true;
                return self.find_out(error, bytes).await.map(Some);
            }
            Err(error) => return Err(error),
        }
        Ok(Some(if older { Fate::Replaced(bytes) } else { Fate::Copied(bytes) }))
    }

    /// The connection broke when the value should have got its name. It has if the temporary key is
    /// gone: its expiry is an hour away.
    async fn find_out(&mut self, error: Error, bytes: u64) -> Result<Fate> {
        let Some(key) = self.target.take().map(|target| target.key().to_vec()) else {
            return Err(error);
        };
        self.leftover = Some(key.clone());
        let again = self.tools.target.reconnect(error.clone(), tokio::time::Instant::now()).await?;
        let mut connection = again.connection;
        if again.same_process && connection.demand(&[b"EXISTS", &key]).await?.integer() == Some(0) {
            self.leftover = None;
            self.source = None;
            return Ok(Fate::Copied(bytes));
        }
        Err(error)
    }
}

impl Copying<'_> {
    /// Builds the value; strings longer than `join_above` bytes by a script.
    async fn value(
        &mut self,
        kind: &str,
        join_above: u64,
        expiries: FieldExpiries<'_>,
    ) -> Result<()> {
        match (kind, Collection::from_type(kind)) {
            ("string", _) => self.string(join_above).await?,
            ("list", _) => self.list().await?,
            ("stream", _) => self.stream().await?,
            (_, Some(Collection::Hash)) => self.hash(expiries).await?,
            (_, Some(collection)) => self.members(collection).await?,
            _ => {
                let text = format!("only its module can take a value of type {kind} apart");
                return Err(Error::new(Kind::Server, text));
            }
        }
        self.to.settle().await
    }

    /// Whether nobody wrote the key since it is watched.
    async fn is_of_one_moment(&mut self) -> Result<bool> {
        self.from.connection.demand(&[b"MULTI"]).await?;
        let executed = self.from.connection.demand(&[b"EXEC"]).await?;
        Ok(matches!(executed, Value::Array(_)))
    }

    /// Keeps to the rate that was asked for.
    pub(super) async fn keep_pace(&mut self) {
        let bytes = self.to.bytes();
        if let Some(pace) = self.pace {
            pace.pass(0, bytes - self.paced).await;
        }
        self.paced = bytes;
    }

    /// Passes a node on as an argument of the command that was begun.
    pub(super) async fn argument(&mut self, node: Node) -> Result<()> {
        match node {
            Node::Bytes(bytes) => self.to.argument(&bytes).await,
            Node::Long(length) => {
                self.to.begin_long(length)?;
                while let Some(piece) = self.from.piece().await? {
                    self.to.piece(&piece).await?;
                }
                self.to.end_long();
                Ok(())
            }
            _ => Err(self.from.unexpected("a string")),
        }
    }

    /// Sends one element: what was read of it already, and its last argument, which may be long.
    async fn element(&mut self, command: &'static [u8], head: &[&[u8]], last: Node) -> Result<()> {
        if let Node::Bytes(bytes) = &last {
            let mut arguments = head.to_vec();
            arguments.push(bytes);
            return self.to.add(command, &arguments).await;
        }
        self.to.begin_command(command, head.len() + 1).await?;
        for argument in head {
            self.to.argument(argument).await?;
        }
        self.argument(last).await?;
        self.to.end().await
    }

    async fn string(&mut self, join_above: u64) -> Result<()> {
        let length = self.length(b"STRLEN").await?;
        if length == 0 {
            return self.element(b"SET", &[], Node::Bytes(Vec::new())).await;
        }
        let join = length as u64 > join_above;
        let command: &[u8] = if join { b"RPUSH" } else { b"APPEND" };
        let page_bytes = self.from.page_bytes();
        let pages = length.div_ceil(page_bytes);
        let mut asked = 0;
        for page in 0..pages {
            while asked < pages.min(page + AHEAD) {
                let start = asked * page_bytes;
                let (start, end) = (start.to_string(), (start + page_bytes - 1).to_string());
                self.from.ask(&[b"GETRANGE", self.key, start.as_bytes(), end.as_bytes()]);
                asked += 1;
            }
            let part = self.from.node(HELD).await?;
            self.to.begin_command(command, 1).await?;
            self.argument(part).await?;
            self.to.end().await?;
            self.keep_pace().await;
        }
        if join { self.join().await } else { Ok(()) }
    }

    /// How long the source says that the value is.
    async fn length(&mut self, command: &[u8]) -> Result<usize> {
        match self.from.connection.demand(&[command, self.key]).await? {
            Value::Integer(length) if length >= 0 => Ok(usize::try_from(length).unwrap_or(0)),
            other => Err(self.from.unfit(command, "a length", &other)),
        }
    }

    /// The target makes one string of the list of its parts.
    async fn join(&mut self) -> Result<()> {
        let key = self.to.key().to_vec();
        let command = [b"EVAL".as_slice(), JOIN, b"1", &key, JOINED_LIFE_MS];
        let answer = self.to.ask(&command).await?;
        self.to.accepted(&command, answer).map(drop).map_err(|error| {
            error.advise(
                "a string longer than the target's proto-max-bulk-len is joined by a script there: \
                 grant +eval +llen +lindex, or raise proto-max-bulk-len",
            )
        })
    }

    async fn list(&mut self) -> Result<()> {
        let length = self.length(b"LLEN").await?;
        let mut size = self.from.page_size();
        let mut at = 0;
        while at < length {
            let (start, end) = (at.to_string(), (at + size.count() - 1).to_string());
            self.from.ask(&[b"LRANGE", self.key, start.as_bytes(), end.as_bytes()]);
            let (elements, before) = (self.from.array().await?, self.to.bytes());
            if elements == 0 {
                return Err(self.from.unexpected("as many elements as LLEN told"));
            }
            for _ in 0..elements {
                let element = self.from.node(HELD).await?;
                self.element(b"RPUSH", &[], element).await?;
            }
            at += elements;
            size.learn(elements, (self.to.bytes() - before) as usize);
            self.keep_pace().await;
        }
        Ok(())
    }

    /// The header of a page of SSCAN, HSCAN or ZSCAN: the next cursor, and how many nodes follow.
    async fn scan(
        &mut self,
        command: &[u8],
        cursor: &[u8],
        size: PageSize,
    ) -> Result<(Vec<u8>, usize)> {
        let count = size.count().to_string();
        self.from.ask(&[command, self.key, cursor, b"COUNT", count.as_bytes()]);
        if self.from.array().await? != 2 {
            return Err(self.from.unexpected("a cursor and a page"));
        }
        Ok((self.from.name().await?, self.from.array().await?))
    }

    /// A set or a sorted set. What SCAN names twice is added twice, which changes nothing.
    async fn members(&mut self, collection: Collection) -> Result<()> {
        let mut size = self.from.page_size();
        let mut cursor = b"0".to_vec();
        let mut circles = Circles::default();
        loop {
            let before = self.to.bytes();
            let sorted = collection == Collection::SortedSet;
            let command: &[u8] = if sorted { b"ZSCAN" } else { b"SSCAN" };
            let (next, nodes) = self.scan(command, &cursor, size).await?;
            let elements = if sorted { nodes / 2 } else { nodes };
            for _ in 0..elements {
                if sorted {
                    let member = self.from.name().await?;
                    let score = self.from.name().await?;
                    circles.name(&member);
                    self.to.add(b"ZADD", &[&score, &member]).await?;
                } else {
                    let member = self.from.node(HELD).await?;
                    if let Node::Bytes(name) = &member {
                        circles.name(name);
                    }
                    self.element(b"SADD", &[], member).await?;
                }
            }
            size.learn(elements, (self.to.bytes() - before) as usize);
            self.keep_pace().await;
            if next == b"0" {
                return Ok(());
            }
            if circles.close(&next) {
                return Err(endless(&self.from.connection, command));
            }
            cursor = next;
        }
    }

    async fn hash(&mut self, mut expiries: FieldExpiries<'_>) -> Result<()> {
        let mut size = self.from.page_size();
        let mut cursor = b"0".to_vec();
        let mut circles = Circles::default();
        loop {
            let before = self.to.bytes();
            let (next, nodes) = self.scan(b"HSCAN", &cursor, size).await?;
            let keeps = *expiries.known_at_source != Some(false);
            let mut fields = Vec::new();
            for _ in 0..nodes / 2 {
                let field = self.from.name().await?;
                circles.name(&field);
                let value = self.from.node(HELD).await?;
                self.element(b"HSET", &[&field], value).await?;
                if keeps {
                    fields.push(field);
                }
            }
            if !fields.is_empty() {
                self.field_expiries(&fields, &mut expiries).await?;
            }
            size.learn(nodes / 2, (self.to.bytes() - before) as usize);
            self.keep_pace().await;
            if next == b"0" {
                return Ok(());
            }
            if circles.close(&next) {
                return Err(endless(&self.from.connection, b"HSCAN"));
            }
            cursor = next;
        }
    }

    /// Fields may expire by themselves (Redis 7.4, Valkey 9.0).
    async fn field_expiries(
        &mut self,
        fields: &[Vec<u8>],
        expiries: &mut FieldExpiries<'_>,
    ) -> Result<()> {
        let number = fields.len().to_string();
        let mut ask: Vec<&[u8]> = vec![b"HPEXPIRETIME", self.key, b"FIELDS", number.as_bytes()];
        ask.extend(fields.iter().map(Vec::as_slice));
        let answers = match self.from.connection.call(&ask).await? {
            Value::Array(answers) => answers,
            Value::Error(line) => {
                let error = ServerError::parse(line.as_bytes());
                if error.cause != Cause::UnknownCommand {
                    return Err(self.from.connection.refused(b"HPEXPIRETIME", &error));
                }
                *expiries.known_at_source = Some(false);
                return Ok(());
            }
            // The key is gone, which the end will show.
            Value::Null => return Ok(()),
            other => return Err(self.from.unfit(b"HPEXPIRETIME", "expiries", &other)),
        };
        if answers.len() != fields.len() {
            return Err(self.from.unexpected("an expiry for each field"));
        }
        *expiries.known_at_source = Some(true);
        for (field, answer) in fields.iter().zip(answers) {
            match answer.integer() {
                // Expired since HSCAN named it: without an expiry it would be immortal.
                Some(-2) => self.to.add(b"HDEL", &[field]).await?,
                Some(expiry) if expiry > 0 => {
                    if !self.target_keeps(expiries).await? {
                        continue;
                    }
                    let at = expiry.saturating_add(self.ahead_ms).to_string();
                    self.to.begin_command(b"HPEXPIREAT", 4).await?;
                    for argument in [at.as_bytes(), b"FIELDS", b"1", field] {
                        self.to.argument(argument).await?;
                    }
                    self.to.end().await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the target knows expiries of fields; if not, that is a failure unless they may be lost.
    async fn target_keeps(&mut self, expiries: &mut FieldExpiries<'_>) -> Result<bool> {
        let known = match *expiries.known_at_target {
            Some(known) => known,
            None => {
                let key = self.to.key().to_vec();
                let question = [b"HPEXPIRETIME".as_slice(), &key, b"FIELDS", b"1", b"field"];
                !is_unknown(&self.to.ask(&question).await?)
            }
        };
        if expiries.known_at_target.replace(known).is_none() && !known && expiries.lossy {
            tracing::warn!("expiries of hash fields are lost: the target knows none");
        }
        if !known && !expiries.lossy {
            let text = "fields of this hash expire, and the target knows no such expiries";
            return Err(Error::new(Kind::Server, text));
        }
        Ok(known)
    }
}
