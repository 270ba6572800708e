//! The dictionary: words and their pseudonyms.
//!
//! A pseudonym is made of the word's place in the order of appearance and its length, never of its
//! letters, so nothing can be learnt from it by trying words. It is as long in UTF-16 as the
//! word, unlike every other pseudonym and every word of the original, and contains none of those.
//! Words are the same whatever their case; other spellings of a word get other spellings of its
//! pseudonym.

use std::collections::{HashMap, HashSet};

use super::{key::Key, policy};

/// Words and their pseudonyms.
pub(super) struct Words {
    key: Key,
    numbers: HashMap<String, usize>,
    entries: Vec<Entry>,
    taken: HashSet<String>,
    sealed: bool,
}

struct Entry {
    /// As first spelt.
    word: String,
    pseudonym: String,
    /// The spellings met, in order.
    spellings: Vec<String>,
}

impl Words {
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            numbers: HashMap::new(),
            entries: Vec::new(),
            taken: HashSet::new(),
            sealed: false,
        }
    }

    /// The pseudonym of `word`; before [`Words::seal`], `word` itself.
    pub(super) fn of(&mut self, word: &str) -> String {
        if word.chars().all(policy::keeps_meaning) {
            return word.to_owned();
        }
        let number = self.number(word);
        let Some(entry) = self.entries.get_mut(number) else {
            return String::new();
        };
        if !self.sealed {
            if !entry.spellings.iter().any(|it| it == word) {
                entry.spellings.push(word.to_owned());
            }
            return word.to_owned();
        }
        let known = entry.spellings.iter().position(|it| it == word);
        let variant = known.unwrap_or_else(|| {
            entry.spellings.push(word.to_owned());
            entry.spellings.len().saturating_sub(1)
        });
        respell(&entry.pseudonym, variant)
    }

    /// All words are known: gives each its pseudonym.
    pub(super) fn seal(&mut self) {
        self.sealed = true;
        for number in 0..self.entries.len() {
            let made = self.make(number);
            if let Some(entry) = self.entries.get_mut(number) {
                entry.pseudonym = made;
            }
        }
    }

    /// Words as first spelt, with their pseudonyms.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .map(|entry| (entry.word.as_str(), entry.pseudonym.as_str()))
    }

    fn number(&mut self, word: &str) -> usize {
        let folded = fold(word);
        if let Some(number) = self.numbers.get(&folded) {
            return *number;
        }
        let number = self.entries.len();
        self.numbers.insert(folded, number);
        self.entries.push(Entry {
            word: word.to_owned(),
            pseudonym: String::new(),
            spellings: vec![word.to_owned()],
        });
        if self.sealed {
            // The first pass meets every word of the second; were it not so, it would be safe.
            let made = self.make(number);
            if let Some(entry) = self.entries.get_mut(number) {
                entry.pseudonym = made;
            }
        }
        number
    }

    fn make(&mut self, number: usize) -> String {
        let word = self
            .entries
            .get(number)
            .map(|entry| entry.word.clone())
            .unwrap_or_default();
        for attempt in 0_u32.. {
            let candidate = self.candidate(&word, number, attempt);
            let folded = fold(&candidate);
            let fits = self.fits(&word, &folded, attempt) && self.taken.insert(folded);
            if fits || attempt > EXHAUSTED {
                return candidate;
            }
        }
        String::new()
    }

    fn fits(&self, word: &str, folded: &str, attempt: u32) -> bool {
        if policy::is_reserved(folded) || self.taken.contains(folded) {
            return false;
        }
        // One or two letters are soon used up, and say nothing about anybody.
        let short = word.chars().count() < SHORTEST_TELLING;
        if short {
            return attempt > ENOUGH || !self.numbers.contains_key(folded);
        }
        !self.numbers.contains_key(folded) && (attempt > LAST_RESORT || !self.contains_word(folded))
    }

    /// Whether some word of the original stands within `text`.
    fn contains_word(&self, text: &str) -> bool {
        let starts = text.char_indices().map(|(at, _)| at);
        starts.into_iter().any(|from| {
            let rest = text.get(from..).unwrap_or_default();
            let ends = rest
                .char_indices()
                .map(|(at, letter)| at + letter.len_utf8());
            ends.skip(SHORTEST_TELLING).any(|to| {
                self.numbers
                    .contains_key(rest.get(..to).unwrap_or_default())
            })
        })
    }

    /// The `attempt`-th pseudonym that word `number` could have.
    fn candidate(&self, word: &str, number: usize, attempt: u32) -> String {
        let units = word.chars().map(char::len_utf16).sum::<usize>();
        let mut noise = vec![0; units.saturating_mul(2)];
        let parts: [&[u8]; 2] = [
            &u64::try_from(number).unwrap_or(u64::MAX).to_le_bytes(),
            &attempt.to_le_bytes(),
        ];
        self.key.fill("word", &parts, &mut noise);
        let mut noise = noise
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes(pair.try_into().unwrap_or_default()));
        let mut out = String::with_capacity(word.len());
        let mut at = 0_usize;
        for letter in word.chars() {
            for _ in 0..letter.len_utf16() {
                let drawn = noise.next().unwrap_or_default();
                if policy::keeps_meaning(letter) {
                    out.push(letter);
                } else {
                    out.push(draw(drawn, at, attempt, units));
                }
                at += 1;
            }
        }
        out
    }
}

/// A letter: syllables at first, then any letter or digit, then one of the many of Chinese.
fn draw(noise: u16, at: usize, attempt: u32, units: usize) -> char {
    let pick = |set: &str| {
        let index = usize::from(noise) % set.len().max(1);
        set.as_bytes().get(index).copied().map_or('x', char::from)
    };
    let syllables = if units < 4 { 0 } else { 24 };
    match attempt {
        attempt if attempt < syllables && at.is_multiple_of(2) => pick("bdfgklmnprstvz"),
        attempt if attempt < syllables => pick("aeiou"),
        attempt if attempt < 96 => pick("abcdefghijklmnopqrstuvwxyz0123456789"),
        _ => char::from_u32(0x4e00 + u32::from(noise) % 0x5000).unwrap_or('x'),
    }
}

/// The `variant`-th spelling of a word: its letters in capitals where the number has a bit.
fn respell(text: &str, variant: usize) -> String {
    let mut bits = variant;
    let mut spell = |letter: char| {
        if !letter.is_ascii_lowercase() {
            return letter;
        }
        let capital = bits & 1 == 1;
        bits >>= 1;
        if capital {
            letter.to_ascii_uppercase()
        } else {
            letter
        }
    };
    text.chars().map(&mut spell).collect()
}

/// The form in which words are compared.
pub(super) fn fold(text: &str) -> String {
    text.to_lowercase()
}

const SHORTEST_TELLING: usize = 3;
/// Draws after which a short word may be called like another one of the original.
const ENOUGH: u32 = 64;
const LAST_RESORT: u32 = 200;
/// More one-letter words than there are letters: two of them share a pseudonym.
const EXHAUSTED: u32 = 20_000;

#[cfg(test)]
mod tests {
    use super::super::key::{KeyMaker, Seed};
    use super::*;

    fn sealed(list: &[&str]) -> Words {
        let mut words = Words::new(KeyMaker::new(&Seed::from_number(1)).finish());
        for word in list {
            assert_eq!(words.of(word), *word);
        }
        words.seal();
        words
    }

    #[test]
    fn a_word_has_one_pseudonym_of_its_length() {
        let list = ["report", "REPORT", "Müller", "a", "b", "😀😀", "plan*"];
        let mut words = sealed(&list);
        for word in list {
            let made = words.of(word);
            assert_eq!(made.encode_utf16().count(), word.encode_utf16().count());
            assert_ne!(fold(&made), fold(word));
        }
        let (one, other) = (words.of("report"), words.of("REPORT"));
        assert_eq!(fold(&one), fold(&other));
        assert_ne!(one, other);
        assert!(words.of("plan*").ends_with('*'));
    }

    #[test]
    fn pseudonyms_stay_apart_even_where_letters_run_out() {
        let list: Vec<String> = (0x4e00_u32..0x4e00 + 500)
            .filter_map(char::from_u32)
            .map(String::from)
            .collect();
        let refs: Vec<&str> = list.iter().map(String::as_str).collect();
        let mut words = sealed(&refs);
        let made: HashSet<String> = list.iter().map(|word| words.of(word)).collect();
        assert_eq!(made.len(), list.len());
    }

    #[test]
    fn no_pseudonym_holds_a_word_of_the_original() {
        let list: Vec<String> = ["ba", "be", "bi", "bo", "bu"]
            .iter()
            .flat_map(|one| ["da", "de", "do", "na", "ne"].map(|two| format!("{one}{two}")))
            .chain((0..200).map(|number| format!("a-longer-name-{number}")))
            .collect();
        let refs: Vec<&str> = list.iter().map(String::as_str).collect();
        let mut words = sealed(&refs);
        for word in &list {
            let made = words.of(word);
            assert!(!list.iter().any(|it| made.contains(it)), "{made}");
        }
    }
}
