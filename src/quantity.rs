//! Kubernetes quantities as numbers.

/// A text that is no quantity, or a negative one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is no quantity, as '8Gi' and '12.5' are")]
pub struct QuantityError(String);

/// Suffixes of the Kubernetes API conventions with their factor; the empty one is plain bytes.
const SUFFIXES: [(&str, f64); 13] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("m", 0.001),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// # Errors
/// When the text is no quantity, or a negative one.
pub fn number(text: &str) -> Result<f64, QuantityError> {
    let refused = || QuantityError(text.to_owned());
    let (number, factor) = split(text);
    let number: f64 = number.parse().map_err(|_| refused())?;
    let number = number * factor;
    if !number.is_finite() || number < 0.0 {
        return Err(refused());
    }
    Ok(number)
}

fn split(text: &str) -> (&str, f64) {
    SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .unwrap_or((text, 1.0))
}

/// # Errors
/// When the text is no quantity, or a negative one.
pub fn bytes(text: &str) -> Result<u64, QuantityError> {
    let refused = || QuantityError(text.to_owned());
    let (number, factor) = split(text);
    if let (Ok(whole), true) = (number.parse::<u64>(), (1.0..1e18).contains(&factor)) {
        // Factors are whole and below 2^63.
        return whole.checked_mul(factor as u64).ok_or_else(refused);
    }
    let number: f64 = number.parse().map_err(|_| refused())?;
    let bytes = (number * factor).ceil();
    if !bytes.is_finite() || !(0.0..1.8e19).contains(&bytes) {
        return Err(refused());
    }
    Ok(bytes as u64)
}

/// Bytes as a quantity that loses nothing: with the suffix that leaves the smallest number.
pub fn of_bytes(bytes: u64) -> String {
    let whole = SUFFIXES
        .iter()
        .filter(|(_, factor)| (1.0..1e18).contains(factor))
        // Factors are whole and below 2^63.
        .map(|(suffix, factor)| (suffix, *factor as u64))
        .filter(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    whole.max_by_key(|(_, factor)| *factor).map_or_else(
        || bytes.to_string(),
        |(suffix, factor)| format!("{}{suffix}", bytes / factor),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_every_form_that_kubernetes_writes() {
        for (text, expected) in [
            ("0", 0),
            ("1024", 1024),
            ("64Mi", 64 << 20),
            ("56Gi", 56 << 30),
            ("1.5Gi", 3 << 29),
            ("2T", 2_000_000_000_000),
            ("1e9", 1_000_000_000),
            ("1500m", 2),
            ("8k", 8000),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "Gi", "-1Gi", "8GiB", "lots", "1e40"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_of_bytes_is_written_without_loss() {
        for (value, written) in [
            (0, "0"),
            (1, "1"),
            (1023, "1023"),
            (1024, "1Ki"),
            (56 << 30, "56Gi"),
            ((64 << 20) + 1, "67108865"),
            (59_000_000_000, "59G"),
            (2_360_000_000_000, "2360G"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(of_bytes(value), written);
            assert_eq!(bytes(written), Ok(value));
        }
    }
}
