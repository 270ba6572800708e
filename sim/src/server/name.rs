//! Names: what a path may look like, how names compare, what a search pattern matches.
//! [MS-FSCC] 2.1.5, [MS-FSA] 2.1.4.4.

use smbench_core::fscc::upcase;
use smbench_core::smb2::NtStatus;

/// A path taken apart.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Path {
    /// Names from the share's root down to the file; empty for the root itself.
    pub(super) parts: Vec<String>,
    /// Name of a named stream, empty for the unnamed one.
    pub(super) stream: String,
    /// The path said `::$DATA` or named a stream: what it names cannot be a directory.
    pub(super) names_data: bool,
}

impl Path {
    /// Takes a path apart: with POSIX semantics names have any letter but the separators and NUL, and no streams.
    ///
    /// # Errors
    ///
    /// As [`Path::parse`].
    pub(super) fn read(text: &str, posix: bool) -> Result<Self, NtStatus> {
        if !posix {
            return Self::parse(text);
        }
        if text.starts_with('\\') {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let mut path = Self::default();
        for part in text.split('\\').filter(|part| !part.is_empty()) {
            let bad = part.contains(['/', '\0']) || part.encode_utf16().count() > 255;
            if bad {
                return Err(NtStatus::OBJECT_NAME_INVALID);
            }
            path.push(part)?;
        }
        Ok(path)
    }

    /// Takes a path apart.
    ///
    /// # Errors
    ///
    /// The status CREATE answers with: OBJECT_NAME_INVALID, OBJECT_PATH_SYNTAX_BAD,
    /// INVALID_PARAMETER.
    pub(super) fn parse(text: &str) -> Result<Self, NtStatus> {
        // [MS-SMB2] 3.3.5.9: a leading separator is INVALID_PARAMETER.
        if text.starts_with('\\') {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let text = text.strip_suffix('\\').unwrap_or(text);
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut path = Self::default();
        let (dirs, last) = text.rsplit_once('\\').unwrap_or(("", text));
        for part in dirs.split('\\').filter(|part| !part.is_empty()) {
            check(part)?;
            path.push(part)?;
        }
        let mut pieces = last.split(':');
        let file = pieces.next().unwrap_or_default();
        let stream = pieces.next();
        let kind = pieces.next();
        if pieces.next().is_some() {
            return Err(NtStatus::OBJECT_NAME_INVALID);
        }
        if !file.is_empty() {
            check(file)?;
            path.push(file)?;
        }
        if let Some(stream) = stream {
            path.names_data = true;
            // [MS-FSCC] 2.1.5.3: a stream's name is at most 255 characters, without these.
            let bad = stream.chars().any(|c| matches!(c, '\0' | '/' | '\\'));
            let kind_ok = kind.is_none_or(|kind| kind.eq_ignore_ascii_case("$DATA"));
            if !kind_ok && !bad && kind != Some("") {
                return Err(NtStatus::INVALID_PARAMETER); // as Samba
            }
            if bad || !kind_ok || (stream.is_empty() && kind.is_none()) || stream.len() > 255 {
                return Err(NtStatus::OBJECT_NAME_INVALID);
            }
            stream.clone_into(&mut path.stream);
        }
        Ok(path)
    }

    fn push(&mut self, part: &str) -> Result<(), NtStatus> {
        match part {
            // Samba's check_path_syntax: no way out of the share.
            ".." => {
                if self.parts.pop().is_none() {
                    return Err(NtStatus::OBJECT_PATH_SYNTAX_BAD);
                }
            }
            "." => return Err(NtStatus::OBJECT_NAME_INVALID),
            _ => self.parts.push(part.to_owned()),
        }
        Ok(())
    }
}

/// Whether a name may be given to a file. [MS-FSCC] 2.1.5.2.
pub(super) fn check(name: &str) -> Result<(), NtStatus> {
    let bad = |c: char| c < ' ' || matches!(c, '"' | '*' | '/' | ':' | '<' | '>' | '?' | '|');
    if name.is_empty() || name.chars().any(bad) {
        return Err(NtStatus::OBJECT_NAME_INVALID);
    }
    if name.encode_utf16().count() > 255 {
        return Err(NtStatus::OBJECT_NAME_INVALID);
    }
    Ok(())
}

/// The form of a name under which it is found: one upper-case form for all spellings.
pub(super) fn fold(name: &str) -> String {
    upcase(name)
}

/// A search pattern with `*`, `?` and the DOS wildcards `<`, `>`, `"`. [MS-FSA] 2.1.4.4.
#[derive(Clone, Debug, Default)]
pub(super) struct Pattern {
    /// Folded; empty where everything matches.
    text: Vec<char>,
    /// Without wildcards: the one name that matches.
    is_name: bool,
    /// With POSIX semantics: it is not folded, and stands for itself letter by letter.
    posix: bool,
}

impl Pattern {
    pub(super) fn new(text: &str, posix: bool) -> Self {
        if matches!(text, "" | "*" | "*.*" | "<.>") {
            return Self::default();
        }
        let folded = if posix { text.to_owned() } else { fold(text) };
        let text: Vec<char> = folded.chars().collect();
        Self {
            posix,
            is_name: !text
                .iter()
                .any(|c| matches!(c, '*' | '?' | '<' | '>' | '"')),
            text,
        }
    }

    /// Characters.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// The one name that matches, folded; none where several may.
    pub(super) fn name(&self) -> Option<String> {
        let one = self.is_name && !self.posix;
        one.then(|| self.text.iter().collect())
    }

    /// Comparisons that it takes to match a name, at most.
    pub(super) fn cost(&self, name: &str) -> usize {
        let each = if self.is_name { 1 } else { self.text.len() };
        name.len().saturating_mul(each).saturating_add(1)
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        if self.text.is_empty() {
            return true;
        }
        let name = if self.posix {
            name.to_owned()
        } else {
            fold(name)
        };
        if self.is_name {
            return name.chars().eq(self.text.iter().copied());
        }
        let name: Vec<char> = name.chars().collect();
        // One row of the table "pattern up to here matches name up to there" at a time, so that no
        // pattern costs more than its length times the name's.
        let last_dot = name.iter().rposition(|c| *c == '.');
        let mut row: Vec<bool> = (0..=name.len()).map(|at| at == 0).collect();
        for wild in &self.text {
            row = step(*wild, &row, &name, last_dot);
        }
        row.last().copied().unwrap_or(false)
    }
}

/// Which prefixes of `name` match after one more character of the pattern.
fn step(wild: char, row: &[bool], name: &[char], last_dot: Option<usize>) -> Vec<bool> {
    let mut next = vec![false; row.len()];
    let before = |at: usize| row.get(at).copied().unwrap_or(false);
    let mut carried = false;
    for at in 0..row.len() {
        let here = before(at);
        let letter = at.checked_sub(1).and_then(|last| name.get(last)).copied();
        let one_back = at.checked_sub(1).is_some_and(before);
        let good = match wild {
            '*' => {
                carried |= here;
                carried
            }
            // DOS_STAR: anything, but not past the last dot once it stands before it.
            '<' => {
                let reached = at.checked_sub(1);
                let passes = carried && !(reached.is_some() && reached == last_dot);
                carried = passes || here || (carried && at == row.len());
                carried
            }
            '?' => letter.is_some() && one_back,
            // DOS_QM: one character, or nothing before a dot or at the end.
            '>' => {
                (letter.is_some_and(|c| c != '.') && one_back)
                    || (here && name.get(at).is_none_or(|c| *c == '.'))
            }
            // DOS_DOT: a dot, or nothing at the end.
            '"' => (letter == Some('.') && one_back) || (here && at == name.len()),
            exact => letter == Some(exact) && one_back,
        };
        if let Some(cell) = next.get_mut(at) {
            *cell = good;
        }
    }
    next
}

/// The 8.3 name of a file: its own where that is one, else one made of a hash of it, as Samba's
/// *hash2*. [MS-FSCC] 2.1.5.2.1.
pub(super) fn short(name: &str) -> String {
    if is_short(name) {
        return name.to_owned();
    }
    let folded = fold(name);
    let (stem, extension) = folded.rsplit_once('.').unwrap_or((&folded, ""));
    let letter = |c: &char| c.is_ascii_alphanumeric() || "_-$~".contains(*c);
    let first = stem.chars().find(letter).unwrap_or('_');
    let mut hash = folded.bytes().fold(0xa6b9_3d4f_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let mut out = String::from(first);
    for _ in 0..5 {
        out.extend(char::from_digit(hash % 36, 36).map(|c| c.to_ascii_uppercase()));
        hash /= 36;
    }
    out.push('~');
    out.extend(char::from_digit(hash % 36, 36).map(|c| c.to_ascii_uppercase()));
    let extension: String = extension.chars().filter(letter).take(3).collect();
    if extension.is_empty() {
        out
    } else {
        out + "." + &extension
    }
}

/// Whether a name is an 8.3 name already.
pub(super) fn is_short(name: &str) -> bool {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let letters = |part: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || "_-$~!#%&'()@^`{}".contains(c);
        part.chars().all(good)
    };
    let lengths = (1..=8).contains(&stem.len()) && extension.len() <= 3;
    lengths && letters(stem) && letters(extension) && !name.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_apart() {
        let path = Path::parse("a\\b c\\f.txt:one:$DATA").unwrap();
        assert_eq!(path.parts, ["a", "b c", "f.txt"]);
        assert_eq!(path.stream, "one");
        assert!(Path::parse("").unwrap().parts.is_empty());
        assert_eq!(Path::parse("\\a"), Err(NtStatus::INVALID_PARAMETER));
        assert_eq!(Path::parse("a*"), Err(NtStatus::OBJECT_NAME_INVALID));
        assert_eq!(Path::parse("f:"), Err(NtStatus::OBJECT_NAME_INVALID));
        assert_eq!(Path::parse("f::$DATA").unwrap().stream, "");
        assert_eq!(Path::parse("f:x:$FOO"), Err(NtStatus::INVALID_PARAMETER));
        assert_eq!(Path::parse(".."), Err(NtStatus::OBJECT_PATH_SYNTAX_BAD));
    }

    #[test]
    fn posix_paths_have_any_letter_and_no_streams() {
        let path = Path::read("d*\\a:b?c", true).unwrap();
        assert_eq!(path.parts, ["d*", "a:b?c"]);
        assert_eq!((path.stream.as_str(), path.names_data), ("", false));
        for (text, want) in [
            ("a/b", NtStatus::OBJECT_NAME_INVALID),
            ("a\0", NtStatus::OBJECT_NAME_INVALID),
            ("..", NtStatus::OBJECT_PATH_SYNTAX_BAD),
            ("\\a", NtStatus::INVALID_PARAMETER),
        ] {
            assert_eq!(Path::read(text, true), Err(want), "{text:?}");
        }
        assert!(Path::read("a*", false).is_err());
    }

    #[test]
    fn short_names_are_short() {
        assert_eq!(short("Ab.txt"), "Ab.txt");
        for name in ["a long name.text", "ünïcode", "x.y.z", ".hidden"] {
            let made = short(name);
            assert!(is_short(&made), "{made}");
            assert_eq!(made, short(&name.to_uppercase()));
        }
        assert_ne!(short("a long name 1"), short("a long name 2"));
    }

    #[test]
    fn patterns_match_as_the_specification_says() {
        for (pattern, name, want) in [
            ("*", "x", true),
            ("*.txt", "A.TXT", true),
            ("*.txt", "a.tx", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("<.txt", "a.b.txt", true),
            ("<\"*", "noext", true),
            (">>>", "ab", true),
            (">>>", "abcd", false),
            ("a\"b", "a.b", true),
            ("a*b*c", "aXXbYYc", true),
            ("ünï", "ÜNÏ", true),
        ] {
            assert_eq!(
                Pattern::new(pattern, false).matches(name),
                want,
                "{pattern} {name}"
            );
        }
        let long = "a".repeat(200);
        assert!(!Pattern::new(&"*a".repeat(100), false).matches(&format!("{long}b")));
    }
}
