//! A stream: its entries, groups, consumers and pending entries, and its counters.
//!
//! A pending entry can be made only of an entry that exists; those that were deleted from the stream
//! and are still pending get a placeholder, which is deleted once it is pending. What no command can
//! set is lost: when a consumer was last seen, and what Redis 8.6 remembers of producers.

use std::collections::{BTreeSet, HashMap};

use super::key::Copying;
use crate::command::ServerError;
use crate::error::{Error, Kind, Result};
use crate::resp::Value;
use crate::source::pages::{HELD, Node};
use crate::source::time_ms;
use crate::target::building::is_unknown;

/// Pending entries read at once.
const PENDING: &[u8] = b"1000";
/// How often the source's clock is read around a page of them until no millisecond passes meanwhile.
const CLOCK_TRIES: u32 = 5;
/// Entries that are looked for at once: each may be large, and the source holds the answers.
const LOOKED_FOR: usize = 16;
/// Entries that are deleted and still pending, at most: 262,144 take some 6 MB here.
const MOST_DELETED: usize = 1 << 18;

/// The id of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id(u64, u64);

impl Id {
    fn parse(text: &[u8]) -> Option<Self> {
        let (ms, number) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self(ms.parse().ok()?, number.parse().ok()?))
    }

    /// The one behind it; older servers know no open intervals. `None` behind the last of all.
    fn next(self) -> Option<Self> {
        match self.1.checked_add(1) {
            Some(number) => Some(Self(self.0, number)),
            None => Some(Self(self.0.checked_add(1)?, 0)),
        }
    }

    fn text(self) -> String {
        format!("{}-{}", self.0, self.1)
    }
}

/// What XINFO STREAM tells beside entries.
#[derive(Debug, Default)]
struct Counters {
    length: String,
    last_id: String,
    /// Redis 7.0 and later.
    added: Option<String>,
    greatest_deleted: Option<String>,
}

/// A group by what XINFO GROUPS tells.
#[derive(Debug)]
struct Group {
    name: Vec<u8>,
    last_delivered: Vec<u8>,
    entries_read: Option<i64>,
    /// How many entries are pending in it.
    pending: i64,
}

/// One pending entry.
struct Pending {
    id: Id,
    consumer: Vec<u8>,
    /// Milliseconds since it was delivered last.
    idle: i64,
    /// How often it was delivered.
    count: i64,
}

impl Copying<'_> {
    pub(super) async fn stream(&mut self) -> Result<()> {
        let counters = self.counters().await?;
        let groups = self.groups().await?;
        let mut deleted = BTreeSet::new();
        // Also where the counters say that nothing was: servers begin to count when they are upgraded.
        for group in &groups {
            self.find_deleted(group, &mut deleted).await?;
        }
        self.entries(&deleted, &counters.length).await?;
        if groups.is_empty() && counters.length == "0" {
            self.empty_stream().await?;
        }
        for group in &groups {
            self.group(group).await?;
        }
        for id in &deleted {
            self.to.add(b"XDEL", &[id.text().as_bytes()]).await?;
        }
        self.set_counters(&counters).await
    }

    async fn counters(&mut self) -> Result<Counters> {
        self.from.ask(&[b"XINFO", b"STREAM", self.key]);
        let pairs = self.from.array().await? / 2;
        let mut told = HashMap::new();
        for _ in 0..pairs {
            let name = self.from.name().await?;
            if matches!(&name[..], b"first-entry" | b"last-entry") {
                // Of any size.
                self.from.skip().await?;
                continue;
            }
            match self.from.node(HELD).await? {
                Node::Bytes(bytes) => {
                    told.insert(name, String::from_utf8_lossy(&bytes).into_owned());
                }
                Node::Integer(number) => {
                    told.insert(name, number.to_string());
                }
                Node::Array(nodes) => {
                    for _ in 0..nodes {
                        self.from.skip().await?;
                    }
                }
                Node::Long(_) => while self.from.piece().await?.is_some() {},
                Node::Null => {}
            }
        }
        let mut take = |name: &str| told.remove(name.as_bytes());
        let (Some(length), Some(last_id)) = (take("length"), take("last-generated-id")) else {
            return Err(self.from.unexpected("length and last-generated-id"));
        };
        Ok(Counters {
            length,
            last_id,
            added: take("entries-added"),
            greatest_deleted: take("max-deleted-entry-id"),
        })
    }

    async fn groups(&mut self) -> Result<Vec<Group>> {
        let told = self.from.connection.demand(&[b"XINFO", b"GROUPS", self.key]).await?;
        let groups = self.rows(b"XINFO", &told)?.iter().map(|group| {
            let bytes = |name| field(group, name).and_then(Value::bytes).map(<[u8]>::to_vec);
            Some(Group {
                name: bytes("name")?,
                last_delivered: bytes("last-delivered-id")?,
                entries_read: field(group, "entries-read").and_then(Value::integer),
                pending: field(group, "pending").and_then(Value::integer)?,
            })
        });
        groups.collect::<Option<_>>().ok_or_else(|| self.from.unexpected("groups"))
    }

    /// The elements of an answer that has to be an array.
    fn rows<'v>(&self, command: &[u8], told: &'v Value) -> Result<&'v [Value]> {
        told.elements().ok_or_else(|| self.from.unfit(command, "an array", told))
    }

    /// A page of a group's pending entries, from an id on.
    async fn pending(&mut self, group: &Group, from: Id) -> Result<Vec<Pending>> {
        let start = from.text();
        let told = self.from.connection.demand(&page(self.key, group, &start, PENDING)).await?;
        self.read_pending(&told, from)
    }

    /// What is pending from an entry on: ids go up, or there would be no end of pages.
    fn read_pending(&self, told: &Value, from: Id) -> Result<Vec<Pending>> {
        let mut pending: Vec<Pending> = Vec::new();
        for row in self.rows(b"XPENDING", told)? {
            let row = self.rows(b"XPENDING", row)?;
            let [id, consumer, idle, count] = row else {
                return Err(self.from.unexpected("rows of four"));
            };
            let least = pending.last().map_or(Some(from), |last| last.id.next());
            let id =
                id.bytes().and_then(Id::parse).filter(|&id| least.is_some_and(|least| id >= least));
            pending.push(Pending {
                id: id.ok_or_else(|| self.from.unexpected("ids in order"))?,
                consumer: consumer.bytes().unwrap_or_default().to_vec(),
                idle: idle.integer().ok_or_else(|| self.from.unexpected("numbers"))?,
                count: count.integer().ok_or_else(|| self.from.unexpected("numbers"))?,
            });
        }
        Ok(pending)
    }

    /// Likewise, with the source's time when it was asked. Servers tell for how long an entry has been
    /// pending, not since when. Its first row alone is asked for between two looks at the clock, until
    /// these are of one millisecond: then it is known exactly when that row was delivered, and so
    /// when the page was made, which takes longer.
    async fn pending_at(&mut self, group: &Group, from: Id) -> Result<(Vec<Pending>, i64)> {
        let start = from.text();
        let one = page(self.key, group, &start, b"1");
        let all = page(self.key, group, &start, PENDING);
        let commands: [&[&[u8]]; 4] = [&[b"TIME"], &one, &[b"TIME"], &all];
        let mut tries = 1;
        loop {
            let connection = &mut self.from.connection;
            let replies = connection.call_all(&commands).await?;
            for (command, reply) in commands.iter().zip(&replies) {
                if let Value::Error(line) = reply {
                    let error = ServerError::parse(line.as_bytes());
                    let name = command.first().copied().unwrap_or_default();
                    return Err(connection.refused(name, &error));
                }
            }
            let [before, first, after, all] = &replies[..] else {
                return Err(self.from.unexpected("four answers"));
            };
            let (Some(before), Some(after)) = (time_ms(before), time_ms(after)) else {
                return Err(self.from.unexpected("a time"));
            };
            let (first, all) = (self.read_pending(first, from)?, self.read_pending(all, from)?);
            if before != after && tries < CLOCK_TRIES {
                tries += 1;
                continue;
            }
            let passed = match (first.first(), all.first()) {
                (Some(first), Some(again)) => again.idle - first.idle,
                _ => 0,
            };
            return Ok((all, i64::midpoint(before, after) + passed));
        }
    }

    /// The entries of a group that are pending and no longer in the stream.
    async fn find_deleted(&mut self, group: &Group, deleted: &mut BTreeSet<Id>) -> Result<()> {
        let mut from = Some(Id(0, 0));
        while let Some(start) = from {
            let page = self.pending(group, start).await?;
            for ids in page.chunks(LOOKED_FOR) {
                for pending in ids {
                    let id = pending.id.text();
                    self.from.ask(&[b"XRANGE", self.key, id.as_bytes(), id.as_bytes()]);
                }
                for pending in ids {
                    let entries = self.from.array().await?;
                    for _ in 0..entries {
                        self.from.skip().await?;
                    }
                    if entries == 0 {
                        deleted.insert(pending.id);
                    }
                }
            }
            if deleted.len() > MOST_DELETED {
                let text = format!(
                    "more than {MOST_DELETED} entries are pending in its groups and deleted from it"
                );
                return Err(Error::new(Kind::Server, text).advise("acknowledge them (XACK)"));
            }
            from = page.last().and_then(|last| last.id.next());
        }
        Ok(())
    }

    async fn entries(&mut self, deleted: &BTreeSet<Id>, length: &str) -> Result<()> {
        let mut passed = 0_u64;
        let mut placeholders = deleted.iter().copied().peekable();
        let mut size = self.from.page_size();
        let mut from = Some(Id(0, 0));
        while let Some(start) = from {
            let (start, count) = (start.text(), size.count().to_string());
            let ask = [b"XRANGE".as_slice(), self.key, start.as_bytes(), b"+", b"COUNT"];
            self.from.ask(&[&ask[..], &[count.as_bytes()]].concat());
            let (entries, before) = (self.from.array().await?, self.to.bytes());
            from = None;
            for _ in 0..entries {
                if self.from.array().await? != 2 {
                    return Err(self.from.unexpected("entries"));
                }
                let text = self.from.name().await?;
                let id = Id::parse(&text).ok_or_else(|| self.from.unexpected("ids"))?;
                while let Some(placeholder) = placeholders.next_if(|&placeholder| placeholder < id)
                {
                    self.placeholder(placeholder).await?;
                }
                let fields = self.from.array().await?;
                self.to.begin_command(b"XADD", 1 + fields).await?;
                self.to.argument(&text).await?;
                for _ in 0..fields {
                    let node = self.from.node(HELD).await?;
                    self.argument(node).await?;
                }
                self.to.end().await?;
                from = id.next();
                passed += 1;
            }
            size.learn(entries, (self.to.bytes() - before) as usize);
            self.keep_pace().await;
        }
        for placeholder in placeholders {
            self.placeholder(placeholder).await?;
        }
        if length.parse() != Ok(passed) {
            let what = format!(
                "a stream of another length than it says: {passed} entries instead of {length}"
            );
            return Err(self.from.inconsistent(&what));
        }
        Ok(())
    }

    async fn placeholder(&mut self, id: Id) -> Result<()> {
        self.to.begin_command(b"XADD", 3).await?;
        for argument in [id.text().as_bytes(), b"deleted", b""] {
            self.to.argument(argument).await?;
        }
        self.to.end().await
    }

    /// No command makes an empty stream, but one that had a group is one.
    async fn empty_stream(&mut self) -> Result<()> {
        let key = self.to.key().to_vec();
        let create = [b"XGROUP".as_slice(), b"CREATE", &key, b"none", b"0-0", b"MKSTREAM"];
        let answer = self.to.make(&create).await?;
        self.to.accepted(&create, answer)?;
        self.to.demand(&[b"XGROUP", b"DESTROY", &key, b"none"]).await.map(drop)
    }

    async fn group(&mut self, group: &Group) -> Result<()> {
        let key = self.to.key().to_vec();
        let read = group.entries_read.map(|read| read.to_string());
        let mut create = vec![b"XGROUP".as_slice(), b"CREATE", &key, &group.name];
        create.extend([&group.last_delivered[..], b"MKSTREAM"]);
        let mut answer = Value::Null;
        if let Some(read) = &read {
            let with_counter = [&create[..], &[b"ENTRIESREAD", read.as_bytes()]].concat();
            answer = self.to.make(&with_counter).await?;
        }
        // Before Redis 7.0 groups do not count.
        if read.is_none() || is_unknown(&answer) {
            answer = self.to.make(&create).await?;
        }
        self.to.accepted(&create, answer)?;
        let ask = [b"XINFO".as_slice(), b"CONSUMERS", self.key, &group.name];
        let consumers = self.from.connection.demand(&ask).await?;
        for consumer in self.rows(b"XINFO", &consumers)? {
            let name = field(consumer, "name").and_then(Value::bytes);
            let name = name.ok_or_else(|| self.from.unexpected("consumers"))?;
            let create = [b"XGROUP".as_slice(), b"CREATECONSUMER", &key, &group.name, name];
            self.to.demand(&create).await?;
        }
        let mut from = Some(Id(0, 0));
        let mut claimed = 0;
        while let Some(start) = from {
            let (page, now) = self.pending_at(group, start).await?;
            for pending in &page {
                self.claim(group, pending, now - pending.idle).await?;
                claimed += 1;
            }
            from = page.last().and_then(|last| last.id.next());
        }
        if claimed != group.pending {
            return Err(self.from.unexpected("as many pending entries as XINFO told"));
        }
        Ok(())
    }

    /// Makes an entry pending that was delivered then, by the source's clock.
    async fn claim(&mut self, group: &Group, pending: &Pending, delivered: i64) -> Result<()> {
        let id = pending.id.text();
        let delivered = delivered.saturating_add(self.ahead_ms).max(1).to_string();
        let count = pending.count.to_string();
        self.to.begin_command(b"XCLAIM", 10).await?;
        let arguments: [&[u8]; 10] = [
            &group.name,
            &pending.consumer,
            b"0",
            id.as_bytes(),
            b"TIME",
            delivered.as_bytes(),
            b"RETRYCOUNT",
            count.as_bytes(),
            b"FORCE",
            b"JUSTID",
        ];
        for argument in arguments {
            self.to.argument(argument).await?;
        }
        self.to.end().await
    }

    /// The last id, and the counters where the target has them. A source without them is taken as a
    /// server takes its payload: nothing was ever deleted.
    async fn set_counters(&mut self, counters: &Counters) -> Result<()> {
        let key = self.to.key().to_vec();
        let plain = [b"XSETID".as_slice(), &key, counters.last_id.as_bytes()];
        let added = counters.added.as_ref().unwrap_or(&counters.length);
        let deleted = counters.greatest_deleted.as_deref().unwrap_or("0-0");
        let more =
            [b"ENTRIESADDED".as_slice(), added.as_bytes(), b"MAXDELETEDID", deleted.as_bytes()];
        let answer = self.to.ask(&[&plain[..], &more].concat()).await?;
        if is_unknown(&answer) {
            return self.to.demand(&plain).await.map(drop);
        }
        self.to.accepted(&plain, answer).map(drop)
    }
}

/// Asks for so many of a group's pending entries, from an id on.
fn page<'a>(key: &'a [u8], group: &'a Group, start: &'a str, count: &'a [u8]) -> [&'a [u8]; 6] {
    [b"XPENDING", key, &group.name, start.as_bytes(), b"+", count]
}

/// A field of a flat reply of names and values.
fn field<'a>(reply: &'a Value, name: &str) -> Option<&'a Value> {
    let pairs = reply.elements()?.chunks_exact(2);
    pairs
        .filter_map(|pair| Some((pair.first()?, pair.get(1)?)))
        .find(|(key, _)| key.bytes() == Some(name.as_bytes()))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_behind_the_last_of_a_millisecond_is_of_the_next() {
        assert_eq!(Id::parse(b"5-7").and_then(Id::next), Some(Id(5, 8)));
        assert_eq!(Id(5, u64::MAX).next(), Some(Id(6, 0)));
        assert_eq!(Id(u64::MAX, u64::MAX).next(), None);
        assert_eq!(Id::parse(b"5"), None);
        assert_eq!(Id::parse(b"5--7"), None);
        assert_eq!(Id(1, 2).text(), "1-2");
    }
}
