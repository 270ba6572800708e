//! What the program ends with: 0 same, 1 diverged or damaged, 2 usage, 3 environment, 4 defect,
//! 5 inconclusive, 6 a threshold missed, 130 interrupted. Where several apply: 130, 4, 2, 3, 1, 5, 6, 0.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// A verb did its work; what it found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing differs that was to be compared.
    Same,
    /// Something differs.
    Diverged,
    /// Too little was compared to say so.
    Inconclusive,
    /// A threshold does not hold.
    Missed,
}

impl Verdict {
    /// The code the process ends with.
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Same => ExitCode::SUCCESS,
            Self::Diverged => ExitCode::from(DAMAGED),
            Self::Inconclusive => ExitCode::from(INCONCLUSIVE),
            Self::Missed => ExitCode::from(MISSED),
        }
    }

    /// `Diverged` when anything did.
    pub(crate) fn of(diverged: bool) -> Self {
        if diverged { Self::Diverged } else { Self::Same }
    }
}

/// A verb could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    /// 1 damaged, 2 usage, 3 environment, 4 defect, 130 interrupted.
    pub(crate) code: u8,
    /// What went wrong.
    pub(crate) error: anyhow::Error,
    /// What to do about it.
    pub(crate) remedy: Option<String>,
    /// The remedy is another place, which helps whatever is wrong with this one.
    elsewhere: bool,
}

/// A journal is not what was written: a finding like a divergence, and not what a user has done.
pub(crate) const DAMAGED: u8 = 1;
/// The user asked for something that makes no sense.
pub(crate) const USAGE: u8 = 2;
/// A file, a server, a disk: something outside is not as needed.
pub(crate) const ENVIRONMENT: u8 = 3;
/// The program is wrong.
pub(crate) const DEFECT: u8 = 4;
/// Too little was compared.
pub(crate) const INCONCLUSIVE: u8 = 5;
/// A threshold does not hold.
pub(crate) const MISSED: u8 = 6;
/// It was told to stop: 128 and the number of SIGINT, as shells say it.
pub(crate) const INTERRUPTED: u8 = 130;

impl Failure {
    /// A failure with a code.
    pub(crate) fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            error: error.into(),
            remedy: None,
            elsewhere: false,
        }
    }

    /// Bad usage, in words.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(USAGE, anyhow::anyhow!("{message}"))
    }

    /// Something outside is not as needed, in words.
    pub(crate) fn environment(message: impl fmt::Display) -> Self {
        Self::new(ENVIRONMENT, anyhow::anyhow!("{message}"))
    }

    /// A signal has ended it; how far it came, in words.
    pub(crate) fn interrupted(far: impl fmt::Display) -> Self {
        Self::new(INTERRUPTED, anyhow::anyhow!("interrupted: {far}"))
    }

    /// The program is wrong, in words.
    pub(crate) fn defect(message: impl fmt::Display) -> Self {
        Self::new(DEFECT, anyhow::anyhow!("{message}"))
    }

    /// The same, with what to do about it.
    pub(crate) fn remedy(mut self, remedy: impl fmt::Display) -> Self {
        self.remedy = Some(remedy.to_string());
        self
    }

    /// The same, with another place to put it.
    pub(crate) fn elsewhere(self, remedy: impl fmt::Display) -> Self {
        Self {
            elsewhere: true,
            ..self.remedy(remedy)
        }
    }

    /// What to do about it. Where the system said what it lacks, that goes before what might help.
    pub(crate) fn advice(&self) -> Option<String> {
        let system = self.error.chain().find_map(|cause| {
            let error = cause.downcast_ref::<io::Error>()?;
            Some(match (error.kind(), error.raw_os_error()) {
                (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _) => "make room there",
                (io::ErrorKind::FileTooLarge, _) => {
                    "files may not grow so long here: raise the limit, as with ulimit -f unlimited"
                }
                (io::ErrorKind::ReadOnlyFilesystem, _) => "name a place that can be written to",
                (_, Some(EMFILE | ENFILE)) => {
                    "too few files may be open: raise the limit, as with ulimit -n 4096"
                }
                _ => return None,
            })
        });
        match (system, &self.remedy) {
            (Some(system), Some(place)) if self.elsewhere => Some(format!("{system}; or {place}")),
            (Some(system), _) => Some(system.to_owned()),
            (None, remedy) => remedy.clone(),
        }
    }

    /// The same, with what was being done when it happened.
    pub(crate) fn context(mut self, context: impl fmt::Display) -> Self {
        self.error = self.error.context(context.to_string());
        self
    }
}

/// Too many open files, of the process and of the system.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// An error and its causes in a line; a cause that the error before it already told is not told
/// again.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut line = String::new();
    let mut last = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if last.ends_with(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
        last = text;
    }
    line
}

/// What is wrong with a file of TOML and in which line, without the picture of it that takes several.
pub(crate) fn toml_error(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => format!(
            "line {}: {}",
            before.matches('\n').count() + 1,
            error.message()
        ),
        None => error.message().to_owned(),
    }
}

/// What verbs return.
pub(crate) type Outcome = Result<Verdict, Failure>;

/// Every exit code, and what it means.
pub(crate) const CODES: &[(u8, &str)] = &[
    (
        0,
        "As recorded, but for differences of the environment alone, which are told.",
    ),
    (DAMAGED, "Something diverged, or a journal is damaged."),
    (USAGE, "Usage: asked for something that makes no sense."),
    (
        ENVIRONMENT,
        "Environment: a file, a server or a disk is not as needed.",
    ),
    (DEFECT, "Defect of SMBench."),
    (
        INCONCLUSIVE,
        "Inconclusive: nothing diverged, but less was compared than was asked for.",
    ),
    (MISSED, "A threshold does not hold."),
    (
        INTERRUPTED,
        "Interrupted by SIGINT or SIGTERM; what was recorded is kept.",
    ),
];

/// Turns errors into failures with a code and a context.
pub(crate) trait OrFail<T> {
    /// Something outside is not as needed.
    fn or_environment(self, context: impl fmt::Display) -> Result<T, Failure>;
    /// The program is wrong.
    fn or_defect(self, context: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for Result<T, E> {
    fn or_environment(self, context: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(ENVIRONMENT, error.into().context(context.to_string())))
    }

    fn or_defect(self, context: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(DEFECT, error.into().context(context.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_told_before_is_not_told_again() {
        let error = anyhow::anyhow!("no space")
            .context("writing a.smbj: no space")
            .context("cannot end the run");
        assert_eq!(
            chain(&error),
            "cannot end the run: writing a.smbj: no space"
        );
    }
}
