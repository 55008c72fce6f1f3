//! What a look ahead found: each finding says its cause and what to do about it.

use serde::Serialize;

/// What a finding means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A copy is refused, or certain to fail.
    Blocker,
    /// It works, but perhaps not as it is meant.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// The word that people and reports use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Blocker => "blocker",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it means for the run.
    pub severity: Severity,
    /// What it is, in a word that stays the same: for scripts.
    pub code: &'static str,
    /// `source` or `target`, if it speaks of one of them.
    pub side: Option<&'static str>,
    /// What is so.
    pub cause: String,
    /// What to do about it; every blocker and every warning has one.
    pub remedy: Option<String>,
}

impl Finding {
    /// What stands in the way.
    pub fn blocker(
        code: &'static str,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Blocker, code, cause).with_remedy(remedy)
    }

    /// What may not be as it is meant.
    pub fn warning(
        code: &'static str,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, code, cause).with_remedy(remedy)
    }

    /// What is good to know.
    pub fn note(code: &'static str, cause: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, cause)
    }

    fn new(severity: Severity, code: &'static str, cause: impl Into<String>) -> Self {
        Self { severity, code, side: None, cause: cause.into(), remedy: None }
    }

    /// Says what can be done about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Says which side it speaks of.
    #[must_use]
    pub fn on(mut self, side: &'static str) -> Self {
        self.side = Some(side);
        self
    }
}
