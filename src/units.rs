//! Bytes, rates, durations and keys: parsed from options and printed for people, in one place.

use std::time::Duration;

/// Bytes as people read them: `512 B`, `1.5 KiB`, `976.6 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A count with `,` between groups of three digits: `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of keys: `1 key`, `1,234 keys`.
pub fn keys(value: u64) -> String {
    let word = if value == 1 { "key" } else { "keys" };
    format!("{} {word}", count(value))
}

/// A duration as people read it: `87 ms`, `5.31 s`, `2 min 05 s`, `1 h 02 min`.
pub fn duration(value: Duration) -> String {
    let seconds = value.as_secs();
    match seconds {
        0 => format!("{} ms", value.as_millis()),
        1..60 => format!("{:.2} s", value.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Parses an option in bytes: a number, with or without a unit.
///
/// | unit | factor |
/// | --- | --- |
/// | none, `B` | 1 |
/// | `k` `m` `g` `t`, `KiB` `MiB` `GiB` `TiB` | powers of 1024 |
/// | `kB` `MB` `GB` `TB` | powers of 1000 |
///
/// Upper and lower case are the same, a blank may stand before the unit. The number may have a
/// fraction (`1.5GiB`); what is left of a byte is cut. Nothing (0) is no such option.
///
/// # Errors
/// A message for the command line when the text is no such size.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || "write for example 50MiB, 50MB, 512k or a number of bytes".to_owned();
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let (letter, thousand) = match unit.as_str() {
        "" | "b" => ("", 1_u64),
        "k" | "m" | "g" | "t" => (unit.as_str(), 1024),
        _ => match unit.strip_suffix("ib") {
            Some(letter) => (letter, 1024),
            None => (unit.strip_suffix('b').ok_or_else(wrong)?, 1000),
        },
    };
    let power = match letter {
        "" if thousand == 1 => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(wrong()),
    };
    let factor = thousand.pow(power);
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(factor),
        Err(_) => {
            let value = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
            // From 2^53 on a fraction of a number is not exact any more, and nobody means it.
            (value < (1_u64 << 53) as f64).then_some(value as u64)
        }
    };
    bytes.filter(|&bytes| bytes > 0).ok_or_else(wrong)
}

/// Parses a duration option: a number with `us`, `ms`, `s`, `m` or `h`; a bare number is seconds.
///
/// # Errors
/// A message for the command line when the text is no such duration.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let value: f64 = number.parse().map_err(|_| wrong_duration())?;
    let seconds = match unit.trim() {
        "us" => value / 1_000_000.0,
        "ms" => value / 1000.0,
        "" | "s" => value,
        "m" | "min" => value * 60.0,
        "h" => value * 3600.0,
        _ => return Err(wrong_duration()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong_duration())
}

fn wrong_duration() -> String {
    "write for example 500ms, 5s or 2m".to_owned()
}

/// How much of a key a message shows, in bytes.
const SHOWN_BYTES: usize = 64;

/// A key as people read it: printable ASCII as it is, the rest as `\n`, `\\` or `\xNN`, cut at 64 bytes.
pub fn printable(key: &[u8]) -> String {
    let shown = key.get(..SHOWN_BYTES).unwrap_or(key);
    let mut text = shown.escape_ascii().to_string();
    if shown.len() < key.len() {
        text.push_str(&format!("…({} bytes)", key.len()));
    }
    text
}

/// A moment in Unix milliseconds as date and time of day.
pub fn utc(ms: i64) -> String {
    const DAY_MS: i64 = 86_400_000;
    let (days, in_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS) / 1000);
    // Years that begin in March, so that leap days are the last of theirs; 400 of them repeat.
    let since = days + 719_468;
    let (era, day) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let date = of_year - (153 * march + 2) / 5 + 1;
    let (hours, minutes, seconds) = (in_day / 3600, in_day / 60 % 60, in_day % 60);
    format!("{year:04}-{month:02}-{date:02} {hours:02}:{minutes:02}:{seconds:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(1 << 40), "1.0 TiB");
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123_456), "123,456");
        assert_eq!(duration(Duration::from_millis(87)), "87 ms");
        assert_eq!(duration(Duration::from_millis(5310)), "5.31 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 05 s");
        assert_eq!(duration(Duration::from_secs(3725)), "1 h 02 min");
    }

    #[test]
    fn sizes_parse_with_their_units() {
        for (text, bytes) in [
            ("1", 1),
            ("4096B", 4096),
            ("512k", 512 << 10),
            ("512KiB", 512 << 10),
            ("50MiB", 50 << 20),
            ("50 mib", 50 << 20),
            ("50m", 50 << 20),
            ("50MB", 50_000_000),
            ("1.5GiB", 3 << 29),
            ("0.5kB", 500),
            ("2T", 2 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for bad in
            ["", "0", "0.1", "MiB", "-1", "1.2.3", "5 parsecs", "1ib", "1bb", "1e9", "99999999T"]
        {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_parse_with_their_units() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(parse_duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "5 parsecs", "-1s", "1e400h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_stays_on_one_line() {
        assert_eq!(printable(b"user:1"), "user:1");
        assert_eq!(printable(b"a\nb\0\xff\\"), "a\\nb\\x00\\xff\\\\");
        assert_eq!(printable(&[b'x'; 65]), format!("{}…(65 bytes)", "x".repeat(64)));
    }

    #[test]
    fn moments_are_told_by_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(utc(1_795_756_912_154), "2026-11-27 05:21:52");
        assert_eq!(utc(-1), "1969-12-31 23:59:59");
    }
}
