//! What the target holds under the name of a key before it is built there.

use tokio::sync::Semaphore;

use super::super::existing::{judge, own_clock};
use super::{BREAKS, Fate, Worker};
use crate::config::IfExists;
use crate::error::{Error, Kind, Result, Side};
use crate::flow::wire_of;
use crate::report::DifferenceKind;
use crate::resp::Value;
use crate::source::cuts::WHERE_TO_LOOK;
use crate::source::window::Seen;
use crate::verify::{Eyes, Finding};

/// What is there.
pub(super) enum There {
    /// Nothing, or what may be replaced.
    Nothing,
    /// An earlier value of our own, perhaps: it is replaced, and that is told.
    Older,
    /// Something that settles the key.
    Settled(Fate),
}

impl Worker {
    /// Looks whether the target holds a key of this name, and if it may be our own, at both values.
    pub(super) async fn find_there(&mut self, key: &[u8]) -> Result<There> {
        let Self { tools, lines: [_, target], .. } = self;
        if tools.policy == IfExists::Replace {
            return Ok(There::Nothing);
        }
        match target.demand(&[b"EXISTS", key]).await? {
            Value::Integer(0) => return Ok(There::Nothing),
            Value::Integer(_) => {}
            _ => {
                let error = Error::new(Kind::Protocol, "unexpected reply to EXISTS");
                return Err(target.open().await?.place(error));
            }
        }
        let refuses = tools.policy == IfExists::Refuse;
        let (repeated, older) = (tools.repeated.any(), tools.repeated.may_replace());
        if !self.doubtful && !refuses && !repeated {
            return Ok(There::Settled(Fate::Exists));
        }
        Ok(match self.look_at_both(key).await? {
            Finding::Same => There::Settled(Fate::Ours),
            Finding::Gone | Finding::Differs(DifferenceKind::Extra, _) => {
                There::Settled(Fate::Gone)
            }
            Finding::Differs(DifferenceKind::Missing, _) => There::Nothing,
            Finding::Differs(..) if refuses && older => There::Older,
            Finding::Differs(..) => There::Settled(Fate::Exists),
            Finding::Refused(why) if refuses => {
                let text = format!("exists on the target, and cannot be compared: {why}");
                return Err(Error::new(Kind::Server, text));
            }
            Finding::Refused(_) => There::Settled(Fate::Exists),
        })
    }

    async fn look_at_both(&mut self, key: &[u8]) -> Result<Finding> {
        let Self { tools, lines: [source, target], .. } = self;
        let known = own_clock(target).await?;
        let judge = judge(tools.clock, known);
        let wire = wire_of(key);
        // One key at a time goes this way, all databases together.
        let whole = Semaphore::new(1);
        let (mut seen, mut cuts) = (Seen::default(), 0);
        loop {
            let (from, into) = (source.open().await?, target.open().await?);
            let mut eyes = Eyes {
                source: from,
                watched: false,
                target: into,
                judge,
                whole: &whole,
                stop: &tools.stop,
                seen: &mut seen,
            };
            match eyes.look(&[&wire]).await {
                Ok(mut findings) => return Ok(findings.pop().unwrap_or(Finding::Gone)),
                // Both values are read whole, which a server may never send.
                Err(error) if error.kind() == Kind::Transport && cuts + 1 >= BREAKS => {
                    let side = error.side().map_or("a server", Side::word);
                    return Ok(Finding::Refused(format!(
                        "the {side} closes the connection when it is asked for this value ({WHERE_TO_LOOK})"
                    )));
                }
                Err(error) => {
                    cuts += u32::from(error.kind() == Kind::Transport);
                    let of_source = error.side() == Some(Side::Source);
                    let line = if of_source { &mut *source } else { &mut *target };
                    line.recover(error).await?;
                }
            }
        }
    }
}
