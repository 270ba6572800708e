//! The form under which names are found whatever their case. [MS-FSA] 2.1.1.1

/// A name in upper case, as a file system's upcase table has it.
///
/// Such a table maps one UTF-16 code unit to one: letters beyond the BMP stay, and so do those that become two. It
/// is of letters that have each other as their other case, so that no letter becomes one that has another lower
/// case (`ı` and `ſ` stay, and are not `I` and `S`); the final sigma alone shares its upper case.
#[must_use]
pub fn upcase(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_uppercase();
    }
    name.chars().map(upcase_letter).collect()
}

fn upcase_letter(letter: char) -> char {
    let upper = match single(letter.to_uppercase()) {
        Some(upper) if upper != letter => upper,
        _ => return letter,
    };
    let back = single(upper.to_lowercase()) == Some(letter) || letter == FINAL_SIGMA;
    let in_table = letter <= LAST && upper <= LAST;
    let is_newer = NEWER.iter().any(|range| range.contains(&letter));
    if back && in_table && !is_newer {
        upper
    } else {
        letter
    }
}

fn single(mut letters: impl Iterator<Item = char>) -> Option<char> {
    let first = letters.next();
    first.filter(|_| letters.next().is_none())
}

const FINAL_SIGMA: char = '\u{3c2}';
/// The last that has a code unit of its own.
const LAST: char = '\u{ffff}';
/// Letters that got an upper case after tables were made: Georgian, Cherokee.
const NEWER: [std::ops::RangeInclusive<char>; 3] = [
    '\u{10d0}'..='\u{10ff}',
    '\u{13f8}'..='\u{13fd}',
    '\u{ab70}'..='\u{abbf}',
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_the_table_and_not_by_unicodes_mapping() {
        for (one, other, same) in [
            ("Readme.TXT", "rEADME.txt", true),
            ("ÄÖ-ÿ", "äö-Ÿ", true),
            ("σς", "ΣΣ", true),
            ("привет", "ПРИВЕТ", true),
            ("ix", "\u{131}x", false),
            ("s", "\u{17f}", false),
            ("\u{b5}", "\u{3bc}", false),
            ("\u{10428}", "\u{10400}", false),
            ("straße", "STRASSE", false),
            ("ა", "\u{1c90}", false),
        ] {
            assert_eq!(upcase(one) == upcase(other), same, "{one} {other}");
        }
    }
}
