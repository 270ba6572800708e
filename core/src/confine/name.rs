//! Names as recorded: taken apart once, resolved under every reading that a server may have, and
//! put below a root.

use std::borrow::Cow;

use thiserror::Error;

use crate::smb2::Name;

/// Why a recorded name is not sent.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum NameError {
    /// A server may make anything of it.
    #[error("it is not UTF-16")]
    NotUtf16,
    /// Under some reading it leads out of the folder that it is put below.
    #[error("it leads out of its share")]
    Outside,
    /// It is longer than a request can say.
    #[error("it has {units} UTF-16 units, more than {MAX_UNITS}")]
    TooLong {
        /// UTF-16 code units.
        units: usize,
    },
    /// It names folders in folders beyond what any server keeps.
    #[error("it is {depth} folders deep, more than {MAX_DEPTH}")]
    TooDeep {
        /// Components.
        depth: usize,
    },
}

/// A name as a recorded request said it: relative to its share, DFS prefix and leading separators
/// taken off. It stays inside whatever folder it is put below.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordedName<'a> {
    path: &'a str,
}

impl<'a> RecordedName<'a> {
    /// Takes `name` apart. `is_dfs`: the request has SMB2_FLAGS_DFS_OPERATIONS, so that the name
    /// begins with server and share. [MS-SMB2] 2.2.13.
    ///
    /// # Errors
    ///
    /// [`NameError`] when the name cannot be resolved, or not to something inside.
    pub fn of(name: &'a Name, is_dfs: bool) -> Result<Self, NameError> {
        Self::of_text(name.as_text().ok_or(NameError::NotUtf16)?, is_dfs)
    }

    /// The same for a name that is text.
    ///
    /// # Errors
    ///
    /// As [`Self::of`].
    pub fn of_text(text: &'a str, is_dfs: bool) -> Result<Self, NameError> {
        let path = below_share(text, is_dfs);
        let units = path.chars().map(char::len_utf16).sum();
        if units > MAX_UNITS {
            return Err(NameError::TooLong { units });
        }
        for separators in READINGS {
            resolve(path.split(|letter| separators.contains(&letter)))?;
        }
        Ok(Self { path })
    }

    /// Its components, the last one with its stream.
    pub fn components(self) -> impl Iterator<Item = &'a str> {
        self.path.split('\\').filter(|part| !part.is_empty())
    }

    /// Whether it is one folder or file, under every reading.
    #[must_use]
    pub fn is_one_component(self) -> bool {
        goes_down(self.path)
    }

    /// Its stream: what follows the first colon of its last component.
    #[must_use]
    pub fn stream(self) -> Option<&'a str> {
        let last = self.path.rsplit('\\').next()?;
        last.split_once(':').map(|(_, stream)| stream)
    }

    /// The name below `root`, a folder relative to the share: the root itself for the empty name, a
    /// stream of it for a stream alone.
    #[must_use]
    pub fn below(self, root: &str) -> Cow<'a, str> {
        join(root, self.path)
    }
}

/// What the name of a CREATE says below its share, without leading separators. `is_dfs`: the request
/// has SMB2_FLAGS_DFS_OPERATIONS, so that server and share come first, which some clients put behind
/// a separator; those two alone name the share's top. [MS-SMB2] 2.2.13, 3.2.4.3. Names in other
/// requests are relative to the share, whatever their flags say. [MS-SMB2] 2.2.1.1
#[must_use]
pub fn below_share(text: &str, is_dfs: bool) -> &str {
    let text = text.trim_start_matches('\\');
    if !is_dfs {
        return text;
    }
    let path = text.splitn(3, '\\').nth(2).unwrap_or_default();
    path.trim_start_matches('\\')
}

/// `path` below `root`, wherever it leads.
pub(super) fn join<'a>(root: &str, path: &'a str) -> Cow<'a, str> {
    match path.trim_start_matches('\\') {
        path if root.is_empty() => Cow::Borrowed(path),
        "" => Cow::Owned(root.to_owned()),
        stream if stream.starts_with(':') => Cow::Owned(format!("{root}{stream}")),
        path => Cow::Owned(format!("{root}\\{path}")),
    }
}

/// Whether a search pattern looks into its own folder alone. A pattern is no path, so `..` is one
/// like any other; with a separator a server might take it for a path. [MS-SMB2] 3.3.5.18.
pub(super) fn is_pattern_inside(pattern: &Name) -> bool {
    let Some(text) = pattern.as_text() else {
        return false;
    };
    let is_plain = !text.contains(|letter| LOOKALIKES.contains(&letter));
    is_plain || RecordedName::of_text(text, false).is_ok()
}

/// Whether `part` names a folder or file of its own, under every reading.
pub(super) fn goes_down(part: &str) -> bool {
    !part.contains(|letter| LOOKALIKES.contains(&letter)) && meaning(part) == Step::Down
}

/// Whether `path` names something below what it is relative to, under every reading, and not that itself.
pub(crate) fn leads_down(path: &str) -> bool {
    READINGS.iter().all(|separators| {
        let depth = resolve(path.split(|letter| separators.contains(&letter)));
        depth.is_ok_and(|depth| depth > 0)
    })
}

/// Walks down the components; how deep that leads. Each is taken for the least that some server may take it for.
fn resolve<'a>(components: impl Iterator<Item = &'a str>) -> Result<usize, NameError> {
    let (mut depth, mut count) = (0usize, 0usize);
    for component in components {
        match meaning(component) {
            Step::Up => depth = depth.checked_sub(1).ok_or(NameError::Outside)?,
            Step::Stay => {}
            Step::Down => {
                depth += 1;
                count += 1;
            }
        }
    }
    if count > MAX_DEPTH {
        return Err(NameError::TooDeep { depth: count });
    }
    Ok(depth)
}

/// Where a component may lead, the least first.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Step {
    Up,
    Stay,
    Down,
}

/// Servers differ in where a component ends: at a NUL, at the colon before a stream, or nowhere.
/// Those that keep snapshots take the one that names a snapshot out of the path.
fn meaning(component: &str) -> Step {
    if names_snapshot(component) {
        return Step::Stay;
    }
    let ends = component.find(['\0', ':']);
    let head = ends.and_then(|end| component.get(..end));
    let nul = component.find('\0').and_then(|end| component.get(..end));
    let readings = [Some(component), head, nul];
    let steps = readings.into_iter().flatten().map(lone);
    steps.min().unwrap_or(Step::Stay)
}

/// Whether a server may take a component for a previous version token, `@GMT-` and a time. [MS-SMB]
/// 2.2.1.1.1. Which times it reads is its business.
fn names_snapshot(component: &str) -> bool {
    let head = component.get(..SNAPSHOT.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(SNAPSHOT))
}

/// Trailing dots and spaces fall away on some servers, others drop or map what they cannot keep: a
/// component of nothing but dots and such is no name of its own.
fn lone(part: &str) -> Step {
    let mut dots = 0;
    for letter in part.chars() {
        match letter {
            '.' | '\u{2024}' | '\u{fe52}' | '\u{ff0e}' | '\u{f029}' => dots += 1,
            '\u{2025}' | '\u{2026}' | '\u{fe19}' | '\u{fe30}' => dots += 2,
            letter if is_hollow(letter) => {}
            _ => return Step::Down,
        }
    }
    if dots < 2 { Step::Stay } else { Step::Up }
}

/// Letters that may vanish on the way into a file system.
fn is_hollow(letter: char) -> bool {
    letter.is_whitespace()
        || letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{f001}'..='\u{f01f}' | '\u{f028}' | '\u{fff9}'..='\u{fffd}')
}

/// What servers take for separators: the protocol's own, that of Unix too, and what code pages map
/// to one of them.
const READINGS: [&[char]; 3] = [&['\\'], &['\\', '/'], &LOOKALIKES];
const LOOKALIKES: [char; 12] = [
    '\\', '/', '\u{2044}', '\u{2215}', '\u{2216}', '\u{29f5}', '\u{29f8}', '\u{29f9}', '\u{fe68}',
    '\u{ff0f}', '\u{ff3c}', '\u{f026}',
];
/// What a previous version token begins with.
const SNAPSHOT: &str = "@GMT-";
/// The longest name, in UTF-16 code units, that NameLength can say with a root before it.
/// [MS-SMB2] 2.2.13.
pub const MAX_UNITS: usize = 32_000;
/// The deepest name. What servers keep ends long before.
pub const MAX_DEPTH: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Result<String, NameError> {
        RecordedName::of_text(text, false).map(|name| name.below("root\\r").into_owned())
    }

    #[test]
    fn names_that_stay_inside_go_below_the_root_as_they_are() {
        for (name, sent) in [
            ("", "root\\r"),
            ("\\", "root\\r"),
            ("a", "root\\r\\a"),
            ("\\a\\b", "root\\r\\a\\b"),
            (":stream", "root\\r:stream"),
            ("a:b:$DATA", "root\\r\\a:b:$DATA"),
            ("a\\..\\b", "root\\r\\a\\..\\b"),
            ("a/../b", "root\\r\\a/../b"),
            ("a\u{1}\u{7f}b", "root\\r\\a\u{1}\u{7f}b"),
            ("x..", "root\\r\\x.."),
            ("..x", "root\\r\\..x"),
            (".", "root\\r\\."),
            ("a\\...\\b", "root\\r\\a\\...\\b"),
            (
                "@GMT-2024.01.01-00.00.00\\a",
                "root\\r\\@GMT-2024.01.01-00.00.00\\a",
            ),
            ("図／表", "root\\r\\図／表"),
        ] {
            assert_eq!(verdict(name).as_deref(), Ok(sent), "{name:?}");
        }
    }

    #[test]
    fn names_that_may_lead_out_under_some_reading_are_refused() {
        for name in [
            "..",
            "..\\x",
            "../x",
            "\\..\\x",
            "sub\\..\\..\\x",
            "a/..\\../x",
            "a\\../..\\x",
            ".. \\x",
            "...\\x",
            ". .\\x",
            "..\0\\x",
            "..\0junk\\x",
            "..:stream",
            "a\\..:b\\..\\x",
            ":b\\..\\x",
            ".\u{200b}.\\x",
            "\u{ff0e}\u{ff0e}\\x",
            "\u{2025}\\x",
            "\u{f029}\u{f029}\\x",
            "..\u{ff3c}x",
            "a\u{2215}..\u{2215}..\u{2215}x",
            "a\\\\..\\..\\x",
            "a\\.\\..\\..\\x",
            "@GMT-2024.01.01-00.00.00\\..\\x",
            "a\\@GMT-2024.01.01-00.00.00\\..\\..\\x",
            "@GMT-2024.01.01-00.00.00/@gmt-2024.01.01-00.00.01/../x",
            "@GMT-2024.01.01-00.00.00:s\\..\\x",
        ] {
            assert_eq!(verdict(name), Err(NameError::Outside), "{name:?}");
        }
    }

    #[test]
    fn what_cannot_be_resolved_or_is_beyond_bounds_is_refused() {
        let of = |name: &Name| RecordedName::of(name, false).map(|_| ());
        assert_eq!(of(&Name::Raw(vec![0x61])), Err(NameError::NotUtf16));
        assert_eq!(of(&Name::Raw(vec![0, 0xd8])), Err(NameError::NotUtf16));
        let deep = "a\\".repeat(MAX_DEPTH + 1);
        let depth = MAX_DEPTH + 1;
        assert_eq!(verdict(&deep), Err(NameError::TooDeep { depth }));
        let units = MAX_UNITS + 1;
        assert_eq!(
            verdict(&"x".repeat(units)),
            Err(NameError::TooLong { units })
        );
    }

    #[test]
    fn dfs_names_lose_server_and_share() {
        let of = |text| RecordedName::of_text(text, true).map(|name| name.below("r").into_owned());
        assert_eq!(of("srv\\share\\a\\b").as_deref(), Ok("r\\a\\b"));
        assert_eq!(
            of("\\srv\\share\\a").as_deref(),
            Ok("r\\a"),
            "a leading separator"
        );
        assert_eq!(of("\\srv\\share").as_deref(), Ok("r"));
        assert_eq!(of("srv").as_deref(), Ok("r"));
        assert_eq!(of("srv\\share\\\\a").as_deref(), Ok("r\\a"));
        assert_eq!(of("srv\\share\\..\\b"), Err(NameError::Outside));
        assert_eq!(
            of("..\\..\\a").as_deref(),
            Ok("r\\a"),
            "a server and a share of that name"
        );
    }

    #[test]
    fn patterns_are_no_paths() {
        for (pattern, inside) in [("*", true), ("..", true), ("..\\*", false), ("a/*", true)] {
            assert_eq!(is_pattern_inside(&Name::from(pattern)), inside, "{pattern}");
        }
    }
}
