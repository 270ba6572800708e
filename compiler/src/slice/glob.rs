//! Patterns for names, as people write them: `*`, `?`, and `**` for any number of folders.

use super::FilterError;

/// A pattern for paths below a share. Case does not count, as servers do not tell it apart.
///
/// `*` stands for any characters within one component, `?` for one of them, `**` as a whole
/// component for any number of components. `/` is as good as `\`. A pattern without either means
/// names in any folder; `\name` means one at the top. Streams are named
/// `file:stream`; a pattern without a colon also means the streams of what it matches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Glob {
    components: Vec<Component>,
    streams: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Component {
    Any,
    Like(Vec<char>),
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`FilterError::BadGlob`].
    pub fn new(pattern: &str) -> Result<Self, FilterError> {
        let bad = |why| FilterError::BadGlob {
            pattern: pattern.to_owned(),
            why,
        };
        if pattern.trim().is_empty() {
            return Err(bad("it is empty; the top of a share is \\"));
        }
        // [MS-FSCC] 2.1.5: what no name contains
        if pattern.contains(['"', '<', '>', '|']) || pattern.contains(char::is_control) {
            return Err(bad("no name contains \" < > | or control characters"));
        }
        let lower = pattern.to_lowercase().replace('/', "\\");
        let parts = lower.split('\\').filter(|part| !part.is_empty());
        let components: Result<Vec<_>, _> = parts
            .map(|part| match part {
                "**" => Ok(Component::Any),
                part if part.contains("**") => Err(bad("** must be a component of its own")),
                part => Ok(Component::Like(part.chars().collect())),
            })
            .collect();
        let mut components = components?;
        if !lower.contains('\\') {
            components.insert(0, Component::Any);
        }
        Ok(Self {
            components,
            streams: !lower.contains(':'),
        })
    }

    /// Whether a path, in lower case and with backslashes, is meant.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let path = path.trim_matches('\\');
        let folder = path.rfind('\\').map_or(0, |at| at + 1);
        let name = path.get(folder..).unwrap_or_default();
        let path = match name.find(':').filter(|_| self.streams) {
            Some(colon) => path.get(..folder + colon).unwrap_or_default(),
            None => path,
        };
        let parts: Vec<Vec<char>> = path
            .split('\\')
            .filter(|part| !part.is_empty())
            .map(|part| part.chars().collect())
            .collect();
        wild(
            &self.components,
            &parts,
            |it| matches!(it, Component::Any),
            |it, part| match it {
                Component::Any => true,
                Component::Like(pattern) => like(pattern, part),
            },
        )
    }
}

/// Whether `text` is what `pattern` means, where `*` and `?` may stand for anything. Case does not
/// count.
pub(super) fn is_like(pattern: &str, text: &str) -> bool {
    let lower = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
    like(&lower(pattern), &lower(text))
}

fn like(pattern: &[char], text: &[char]) -> bool {
    wild(
        pattern,
        text,
        |it| *it == '*',
        |it, letter| *it == '?' || it == letter,
    )
}

/// Matches with wildcards that stand for any number of items, in time `pattern × text`.
fn wild<P, T>(
    pattern: &[P],
    text: &[T],
    any: impl Fn(&P) -> bool,
    same: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut at, mut read) = (0, 0);
    // Where to go on after the last wildcard, and what of the text it took.
    let mut back: Option<(usize, usize)> = None;
    while let Some(item) = text.get(read) {
        match (pattern.get(at), back) {
            (Some(it), _) if any(it) => {
                at += 1;
                back = Some((at, read));
            }
            (Some(it), _) if same(it, item) => {
                at += 1;
                read += 1;
            }
            (_, Some((after, taken))) => {
                at = after;
                read = taken + 1;
                back = Some((after, read));
            }
            (_, None) => return false,
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_matched_by_component_whatever_their_case() {
        for (pattern, path, want) in [
            ("team\\plan.xlsx", "team\\plan.xlsx", true),
            ("Team/PLAN.*", "team\\plan.xlsx", true),
            ("*", "team\\plan.xlsx", true),
            ("\\*", "team\\plan.xlsx", false),
            ("*.xlsx", "team\\plan.xlsx", true),
            ("\\*.xlsx", "plan.xlsx", true),
            ("team", "team\\plan.xlsx", false),
            ("**", "team\\plan.xlsx", true),
            ("**", "", true),
            ("\\", "", true),
            ("\\", "team", false),
            ("team\\**", "team", true),
            ("team\\**", "team\\a\\b", true),
            ("**\\*.docx", "a\\b\\c.docx", true),
            ("**\\*.docx", "c.docx", true),
            ("**\\b\\**\\d", "a\\b\\c\\b\\d", true),
            ("**\\b\\d", "a\\b\\c\\d", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("doc", "doc:stream", true),
            ("doc:*", "doc:stream", true),
            ("doc:other", "doc:stream", false),
            ("[a]", "[a]", true),
            ("ÄÖ*", "äöü", true),
        ] {
            let glob = Glob::new(pattern).unwrap();
            assert_eq!(glob.matches(path), want, "{pattern} on {path}");
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        for bad in ["", "  ", "a|b", "a**b", "x\\***", "a\u{1}"] {
            let refused = Glob::new(bad);
            assert!(matches!(refused, Err(FilterError::BadGlob { .. })), "{bad}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "*a".repeat(60);
        assert!(!is_like(&pattern, &"a".repeat(59)));
        assert!(is_like(&pattern, &"a".repeat(61)));
    }
}
