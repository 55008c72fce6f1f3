//! What was found so far. What a copy would refuse becomes a blocker, in its words.

use crate::error::{Error, Kind, Result};
use crate::report::Finding;

/// Where nothing better is known.
const SEE_THE_LOG: &str = "see the server's log, or ask who runs it";

/// What was found so far.
#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// A result of a check that copies make, too: a refusal is noted, also one of a server, and what it should
    /// have told is not known then.
    ///
    /// # Errors
    /// What is no refusal: a connection that broke, a server that is not reached.
    pub(super) fn take<T>(&mut self, code: &'static str, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_refusal(&error) || error.kind() == Kind::Config => {
                self.refuse(code, &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A blocker in the words of a refusal.
    pub(super) fn refuse(&mut self, code: &'static str, error: &Error) {
        let remedy = error.advice().unwrap_or(SEE_THE_LOG);
        let finding = Finding::blocker(code, error.message(), remedy);
        self.add(match error.side() {
            Some(side) => finding.on(side.word()),
            None => finding,
        });
    }

    /// All of them, blockers first, else in the order they were found.
    pub(super) fn sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| finding.severity);
        self.0
    }
}

/// Whether this is a refusal, be it one of a server, that does not pass.
pub(super) fn is_refusal(error: &Error) -> bool {
    error.kind() == Kind::Refused || (error.kind() == Kind::Server && !error.passes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Side;
    use crate::report::Severity;

    #[test]
    fn refusals_are_blockers_and_breaks_are_none() {
        let mut findings = Findings::default();
        findings.add(Finding::note("clients", "some"));
        let refusal = Error::refused("no").at(Side::Target, "redis://a:1").advise("do it");
        assert!(findings.take::<()>("x", Err(refusal)).unwrap().is_none());
        assert_eq!(findings.take("x", Ok(7)).unwrap(), Some(7));
        let denied = Error::new(Kind::Server, "SELECT was refused");
        assert!(findings.take::<()>("x", Err(denied)).unwrap().is_none());
        let broken = Error::new(Kind::Transport, "gone");
        assert!(findings.take::<()>("x", Err(broken)).is_err());
        let all = findings.sorted();
        assert_eq!((all[0].severity, all[0].side), (Severity::Blocker, Some("target")));
        assert_eq!((all[0].cause.as_str(), all[0].remedy.as_deref()), ("no", Some("do it")));
    }
}
