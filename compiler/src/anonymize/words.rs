//! The dictionary: words and their pseudonyms.
//!
//! A pseudonym is made of the word's place in the order of appearance and its length, never of its
//! letters, so nothing can be learnt from it by trying words. It is as long in UTF-16 as the
//! word, unlike every other pseudonym and every word of the original, and contains none of those.
//! Words are the same whatever their case; other spellings of a word get other spellings of its
//! pseudonym.

use std::collections::BTreeSet;

use super::{key::Key, policy};
use crate::map::{Map, Set};

/// Words and their pseudonyms.
pub(super) struct Words {
    key: Key,
    /// By folded word.
    numbers: Map<String, usize>,
    /// By word as spelt: its number, and which of its spellings it is.
    spellings: Map<String, (usize, usize)>,
    entries: Vec<Entry>,
    taken: Set<String>,
    /// Lengths of folded words that no pseudonym may hold, in characters.
    telling: BTreeSet<usize>,
    /// Candidates that did not fit.
    wasted: u32,
    sealed: bool,
}

struct Entry {
    /// As first spelt.
    word: String,
    pseudonym: String,
    /// How many spellings were met.
    spellings: usize,
}

impl Words {
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            numbers: Map::default(),
            spellings: Map::default(),
            entries: Vec::new(),
            taken: Set::default(),
            telling: BTreeSet::new(),
            wasted: 0,
            sealed: false,
        }
    }

    /// A dictionary that has these pairs, and makes what it lacks.
    pub(super) fn restored<'a>(key: Key, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut words = Self::new(key);
        for (word, pseudonym) in pairs {
            let (number, _) = words.spelling(word);
            words.taken.insert(fold(pseudonym));
            if let Some(entry) = words.entries.get_mut(number) {
                pseudonym.clone_into(&mut entry.pseudonym);
            }
        }
        words.sealed = true;
        words
    }

    /// The pseudonym of `word`; before [`Words::seal`], `word` itself.
    pub(super) fn of(&mut self, word: &str) -> String {
        if word.chars().all(policy::keeps_meaning) {
            return word.to_owned();
        }
        let (number, variant) = self.spelling(word);
        match self.entries.get(number) {
            Some(entry) if self.sealed => respell(&entry.pseudonym, variant),
            _ => word.to_owned(),
        }
    }

    /// Number of a word, and which of its spellings it is, in the order in which they were met.
    fn spelling(&mut self, word: &str) -> (usize, usize) {
        if let Some(known) = self.spellings.get(word) {
            return *known;
        }
        let number = self.number(word);
        let mut variant = 0;
        if let Some(entry) = self.entries.get_mut(number) {
            variant = entry.spellings;
            entry.spellings += 1;
        }
        self.spellings.insert(word.to_owned(), (number, variant));
        (number, variant)
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
        let length = folded.chars().count();
        if (SHORTEST_TELLING..=LONGEST_TELLING).contains(&length) {
            self.telling.insert(length);
        }
        self.numbers.insert(folded, number);
        self.entries.push(Entry {
            word: word.to_owned(),
            pseudonym: String::new(),
            spellings: 0,
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
        // So many letters hold some short word of the original, unless they are of many kinds.
        let is_long = word.encode_utf16().count() > LONG;
        for attempt in if is_long { OF_MANY_KINDS } else { 0 }.. {
            let candidate = self.candidate(&word, number, attempt);
            let folded = fold(&candidate);
            let fits = self.fits(&word, &folded, attempt) && self.taken.insert(folded);
            let last = if self.wasted < WASTED {
                EXHAUSTED
            } else {
                LAST_RESORT
            };
            if fits || attempt > last {
                return candidate;
            }
            self.wasted = self.wasted.saturating_add(1);
        }
        String::new()
    }

    fn fits(&self, word: &str, folded: &str, attempt: u32) -> bool {
        if policy::is_reserved(folded) || self.taken.contains(folded) {
            return false;
        }
        // One or two letters are soon used up, and say nothing about anybody.
        let short = word.chars().count() <= SHORT;
        if short {
            return attempt > ENOUGH || !self.numbers.contains_key(folded);
        }
        !self.numbers.contains_key(folded) && (attempt > LAST_RESORT || !self.contains_word(folded))
    }

    /// Whether some word of the original stands within `text`, as far as one can by chance.
    fn contains_word(&self, text: &str) -> bool {
        let mut places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        places.push(text.len());
        let part = |bounds: &[usize]| text.get(*bounds.first()?..*bounds.last()?);
        self.telling.iter().any(|length| {
            let mut parts = places.windows(length + 1).filter_map(part);
            parts.any(|part| self.numbers.contains_key(part))
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
        attempt if attempt < OF_MANY_KINDS => pick("abcdefghijklmnopqrstuvwxyz0123456789"),
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

/// Letters of words that tell nothing.
const SHORT: usize = 2;
/// Letters of words that no pseudonym may hold. Longer ones it does not hold by chance.
const SHORTEST_TELLING: usize = 4;
const LONGEST_TELLING: usize = 32;
/// UTF-16 code units of words that are longer than any name of a file.
const LONG: usize = 255;
/// The first draw of Chinese letters.
const OF_MANY_KINDS: u32 = 96;
/// Draws after which a short word may be called like another one of the original.
const ENOUGH: u32 = 64;
const LAST_RESORT: u32 = 200;
/// More one-letter words than there are letters: two of them share a pseudonym.
const EXHAUSTED: u32 = 20_000;
/// Draws of all words together after which each gives up at its last resort.
const WASTED: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

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
    fn a_restored_dictionary_goes_on_as_the_one_it_was_made_of() {
        let list = ["report", "REPORT", "Müller", "a"];
        let mut words = sealed(&list);
        let pairs: Vec<(String, String)> = words
            .pairs()
            .map(|(from, to)| (from.to_owned(), to.to_owned()))
            .collect();
        let key = KeyMaker::new(&Seed::from_number(2)).finish();
        let pairs = pairs.iter().map(|(from, to)| (from.as_str(), to.as_str()));
        let mut restored = Words::restored(key, pairs);
        for word in ["report", "Müller", "a"] {
            assert_eq!(restored.of(word), words.of(word));
        }
        assert_eq!(fold(&restored.of("RePort")), fold(&words.of("report")));
        let new = restored.of("quarterly");
        assert_eq!(new.len(), "quarterly".len());
        assert!(new != "quarterly" && restored.of("QUARTERLY") != "QUARTERLY");
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

    /// What took the cube of its length, the square of its spellings, and thousands of draws each.
    #[test]
    fn long_words_many_spellings_and_few_letters_take_no_time_at_all() {
        let long = "abcdefghij".repeat(3_276);
        let mut list = vec![long.clone(), format!("{long}{long}"), "abcd".to_owned()];
        list.extend((0..20_000_u32).map(|bits| {
            let letters = ('a'..='p').zip(0..);
            let spelt = letters.map(|(letter, at)| match bits >> at & 1 {
                0 => letter,
                _ => letter.to_ascii_uppercase(),
            });
            spelt.collect()
        }));
        list.extend(
            (0..26_000)
                .filter_map(|it| char::from_u32(0x0400 + it))
                .map(String::from),
        );
        let refs: Vec<&str> = list.iter().map(String::as_str).collect();
        let mut words = sealed(&refs);
        for word in [&list[0], &list[1]] {
            let made = words.of(word);
            assert_eq!(made.chars().count(), word.len());
            assert!(!made.contains("abcd") && made != *word);
        }
        let spelt: HashSet<String> = list[3..20_003].iter().map(|word| words.of(word)).collect();
        assert_eq!(spelt.len(), 20_000);
    }
}
