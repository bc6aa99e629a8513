//! How times, durations, money and sizes read.

use jiff::{SignedDuration, Timestamp};

/// `14:03:59`, in UTC.
pub(super) fn clock_time(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// `2025-11-04 14:03:59`, in UTC.
pub(super) fn date_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The two largest units of so many seconds: `3 m 12 s`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let (days, hours) = (whole / 86_400, whole / 3600 % 24);
    let (minutes, seconds) = (whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} m {seconds} s"),
        (0, _, _) => format!("{hours} h {minutes} m"),
        _ => format!("{days} d {hours} h"),
    }
}

/// How long from one time to another.
pub(super) fn between(from: Timestamp, to: Timestamp) -> String {
    let time: SignedDuration = to.duration_since(from);
    duration(time.as_secs_f64())
}

/// Cents count where there are dollars, and parts of them where there are none.
pub(super) fn money(usd: f64) -> String {
    if usd == 0.0 || usd >= 100.0 {
        format!("{usd:.2} USD")
    } else {
        format!("{usd:.4} USD")
    }
}

/// `1.5 kB`: 1 kB is 1,000 bytes.
pub(super) fn size(bytes: u64) -> String {
    let number = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", number / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", number / 1e6),
        _ => format!("{:.1} GB", number / 1e9),
    }
}

/// Six digits, and no more than it has.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    if !(1e-4..1e15).contains(&size) {
        return format!("{value:.5e}");
    }
    let whole_digits = (size.log10().floor() as i32 + 1).max(1);
    let decimals = usize::try_from(6 - whole_digits).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// `1 node`, `2 nodes`.
pub(super) fn count(number: usize, word: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {word}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0.4, "0 s"),
            (59.0, "59 s"),
            (192.0, "3 m 12 s"),
            (7260.0, "2 h 1 m"),
            (90_000.0, "1 d 1 h"),
            (-5.0, "0 s"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn numbers_have_six_digits_at_most() {
        for (value, text) in [
            (0.0, "0"),
            (3.0, "3"),
            (0.25, "0.25"),
            (1234.56789, "1234.57"),
            (12_345_678.9, "12345679"),
            (0.000_012_345_678, "1.23457e-5"),
            (-1.5, "-1.5"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn sizes_and_money_keep_what_matters() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1_500), "1.5 kB");
        assert_eq!(size(25_000_000), "25.0 MB");
        assert_eq!(money(0.0195), "0.0195 USD");
        assert_eq!(money(0.0), "0.00 USD");
        assert_eq!(money(1234.5), "1234.50 USD");
    }
}
