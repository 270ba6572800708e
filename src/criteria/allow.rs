//! Differences that are allowed, each for a reason.

use std::path::Path;

use serde::Deserialize;

use crate::exit::{Failure, toml_error};
use crate::finding::Finding;
use crate::small_file;

/// The rules of a file.
#[derive(Debug)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    /// How many differences each has allowed.
    used: Vec<u64>,
}

/// `[[allow]]`: what all its fields say of a difference is allowed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Why.
    reason: String,
    /// A command, like `CREATE`.
    command: Option<String>,
    /// The kind of divergence, like `status` or `missing_break`.
    what: Option<String>,
    /// What was recorded, in words or as a status without `STATUS_`.
    recorded: Option<String>,
    /// What came, in the same way.
    status: Option<String>,
    /// A path; `*` stands for anything, upper and lower case are the same.
    path: Option<String>,
    /// Packets of the capture, `169` or `100-200`.
    frames: Option<String>,
    #[serde(skip)]
    range: Option<(u64, u64)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    allow: Vec<Rule>,
}

impl Rules {
    /// Reads `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let text = small_file::text(path)?;
        Self::parse(&text).map_err(|told| {
            Failure::usage(format!("{shown}: {told}"))
                .remedy("docs/CI.md shows what such a file holds")
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| toml_error(text, &error))?;
        let mut rules = file.allow;
        for (rule, number) in rules.iter_mut().zip(1..) {
            rule.check()
                .map_err(|told| format!("rule {number}: {told}"))?;
        }
        if rules.is_empty() {
            return Err("it holds no [[allow]]".to_owned());
        }
        Ok(Self {
            used: vec![0; rules.len()],
            rules,
        })
    }

    /// Why a difference is allowed, where it is.
    pub(crate) fn allows(&mut self, finding: &Finding) -> Option<&str> {
        let at = self.rules.iter().position(|rule| rule.allows(finding))?;
        if let Some(used) = self.used.get_mut(at) {
            *used += 1;
        }
        self.rules.get(at).map(|rule| rule.reason.as_str())
    }

    /// The reasons of rules that nothing was allowed by.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &str> {
        let rules = self.rules.iter().zip(&self.used);
        rules
            .filter(|(_, used)| **used == 0)
            .map(|(rule, _)| rule.reason.as_str())
    }
}

impl Rule {
    fn check(&mut self) -> Result<(), String> {
        if self.reason.trim().is_empty() {
            return Err("it gives no reason".to_owned());
        }
        let says = [
            &self.command,
            &self.what,
            &self.recorded,
            &self.status,
            &self.path,
            &self.frames,
        ];
        if says.iter().all(|it| it.is_none()) {
            return Err(
                "it would allow everything: name a command, status, path or frames".to_owned(),
            );
        }
        let Some(frames) = &self.frames else {
            return Ok(());
        };
        let (from, to) = frames.split_once('-').unwrap_or((frames, frames));
        let number = |text: &str| text.trim().parse::<u64>().ok();
        self.range = number(from).zip(number(to)).filter(|(from, to)| from <= to);
        match self.range {
            Some(_) => Ok(()),
            None => Err(format!(
                "frames = \"{frames}\" is no number, and no range like 100-200"
            )),
        }
    }

    fn allows(&self, finding: &Finding) -> bool {
        let said = |rule: &Option<String>, seen: &str| {
            rule.as_ref()
                .is_none_or(|it| without_prefix(it).eq_ignore_ascii_case(without_prefix(seen)))
        };
        let frame = |(from, to): (u64, u64)| (from..=to).contains(&finding.frame);
        said(&self.command, &finding.command)
            && said(&self.what, finding.what)
            && said(
                &self.recorded,
                finding.recorded.as_deref().unwrap_or_default(),
            )
            && said(&self.status, finding.seen.as_deref().unwrap_or_default())
            && self
                .path
                .as_ref()
                .is_none_or(|it| matches(it, &finding.path))
            && self.range.is_none_or(frame)
    }
}

fn without_prefix(status: &str) -> &str {
    status.strip_prefix("STATUS_").unwrap_or(status)
}

/// Whether `*` in `pattern` can be filled so that it is `path`.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (pattern.to_lowercase(), path.to_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, path) in [
            ("team\\*.docx", "Team\\a\\report.docx"),
            ("*", ""),
            ("*", "a"),
            ("a*b*c", "aXbYc"),
            ("a", "a"),
            ("*.tmp", "x.TMP"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("a", "ab"),
            ("a*b", "a"),
            ("ab*ba", "aba"),
            ("", "a"),
            ("a*b*c", "acb"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn a_rule_says_why_and_what() {
        let bad = [
            "",
            "[[allow]]\ncommand = 'READ'",
            "[[allow]]\nreason = 'x'",
            "[[allow]]\nreason = ' '\ncommand = 'READ'",
            "[[allow]]\nreason = 'x'\nframes = '9-1'",
            "[[allow]]\nreason = 'x'\nframes = 'a'",
            "[[allow]]\nreason = 'x'\ncomand = 'READ'",
        ];
        for text in bad {
            assert!(Rules::parse(text).is_err(), "{text}");
        }
        assert!(Rules::parse("[[allow]]\nreason = 'x'\nframes = '1-9'").is_ok());
    }
}
