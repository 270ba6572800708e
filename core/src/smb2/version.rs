//! Previous versions of files, by when they were taken: as a name of a path, `@GMT-2026.01.31-12.30.00`, or as a FILETIME
//! beside it. [MS-SMB] 2.2.1.1.1, [MS-SMB2] 2.2.13.2.7.

use std::fmt::Write as _;

/// The path of a previous version with its token as the first name; none where a path means what is there now. `time` is
/// the FILETIME that came beside it.
#[must_use]
pub fn previous_version(path: &str, time: Option<u64>) -> Option<String> {
    if let Some(time) = time {
        return Some(join(&token(time), path));
    }
    if !path.contains(TOKEN) {
        return None;
    }
    let (rest, tokens): (Vec<&str>, Vec<&str>) = path.split('\\').partition(|it| !is_token(it));
    // There is one at most.
    match tokens.as_slice() {
        [token] => Some(join(token, &rest.join("\\"))),
        _ => None,
    }
}

/// Whether a path is one of a previous version, with its token as the first name.
#[must_use]
pub fn is_previous_version(path: &str) -> bool {
    is_token(path.split('\\').next().unwrap_or_default())
}

/// Whether a name says when a version was taken.
#[must_use]
pub fn is_token(name: &str) -> bool {
    name.strip_prefix(TOKEN).is_some_and(|rest| {
        rest.len() == FORM.len()
            && rest.bytes().zip(FORM.bytes()).all(|(it, form)| match form {
                b'0' => it.is_ascii_digit(),
                form => it == form,
            })
    })
}

/// The token of a FILETIME, to the second.
#[must_use]
pub fn token(time: u64) -> String {
    let seconds = time / SECOND;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let mut token = TOKEN.to_owned();
    // Writing to a string does not fail.
    write!(
        token,
        "{year:04}.{month:02}.{day:02}-{hour:02}.{minute:02}.{second:02}"
    )
    .ok();
    token
}

/// The FILETIME of a token; none of what is none, or no date.
#[must_use]
pub fn time_of(name: &str) -> Option<u64> {
    let rest = name.strip_prefix(TOKEN).filter(|_| is_token(name))?;
    let mut parts = rest.split(['.', '-']).map(|part| part.parse::<u64>().ok());
    let mut next = || parts.next().flatten();
    let (year, month, day) = (next()?, next()?, next()?);
    let (hour, minute, second) = (next()?, next()?, next()?);
    let possible = year >= 1_601 && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !possible || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days_until(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * SECOND)
}

fn join(token: &str, path: &str) -> String {
    match path.trim_matches('\\') {
        "" => token.to_owned(),
        path => format!("{token}\\{path}"),
    }
}

/// Days from the 1st of January 1601 to a date. Years count from March, so that the leap day is their last.
fn days_until(year: u64, month: u64, day: u64) -> u64 {
    let year = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    (year * 365 + year / 4 - year / 100 + year / 400 + of_year).saturating_sub(BEFORE_1601)
}

/// Year, month and day, so many days after the 1st of January 1601.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + BEFORE_1601;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

const TOKEN: &str = "@GMT-";
const FORM: &str = "0000.00.00-00.00.00";
/// In units of 100 ns.
const SECOND: u64 = 10_000_000;
/// Days from the 1st of March of year 0 to the 1st of January 1601.
const BEFORE_1601: u64 = 584_694;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_times_and_back() {
        for (token_, time) in [
            ("@GMT-1601.01.01-00.00.00", 0),
            ("@GMT-1970.01.01-00.00.00", 116_444_736_000_000_000),
            ("@GMT-2023.11.14-22.13.20", 133_444_736_000_000_000),
            ("@GMT-2000.02.29-23.59.59", 125_963_423_990_000_000),
            ("@GMT-2100.03.01-00.00.00", 157_520_160_000_000_000),
        ] {
            assert_eq!(time_of(token_), Some(time), "{token_}");
            assert_eq!(token(time), token_);
        }
        for day in 0..200_000 {
            let time = day * 86_400 * SECOND;
            assert_eq!(time_of(&token(time)), Some(time));
        }
        for other in [
            "@GMT-2023.11.14",
            "@GMT-2023.13.14-22.13.20",
            "GMT",
            "@GMT-",
        ] {
            assert_eq!(time_of(other), None, "{other}");
        }
        assert!(token(u64::MAX).starts_with("@GMT-"));
    }

    #[test]
    fn the_token_is_the_first_name_wherever_it_came() {
        let is = |path: &str, time| previous_version(path, time);
        let here = Some("@GMT-2023.11.14-22.13.20\\docs\\old.txt".to_owned());
        assert_eq!(is("@GMT-2023.11.14-22.13.20\\docs\\old.txt", None), here);
        assert_eq!(is("docs\\@GMT-2023.11.14-22.13.20\\old.txt", None), here);
        assert_eq!(is("docs\\old.txt\\@GMT-2023.11.14-22.13.20", None), here);
        assert_eq!(is("docs\\old.txt", Some(133_444_736_000_000_001)), here);
        let top = Some("@GMT-2023.11.14-22.13.20".to_owned());
        assert_eq!(is("", Some(133_444_736_000_000_000)), top);
        for now in [
            "docs\\old.txt",
            "",
            "@GMT-x\\a",
            "a@GMT-2023.11.14-22.13.20",
        ] {
            assert_eq!(is(now, None), None, "{now}");
        }
    }
}
