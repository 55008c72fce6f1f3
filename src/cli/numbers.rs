//! Whole numbers as values of options. What is none is not repeated: it may be a secret in the wrong place.

/// A number of 1 or more.
pub(super) fn from_one(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| "write a whole number, 1 or more".to_owned())
}

/// A number from 1 to `MOST`.
pub(super) fn from_one_to<N: TryFrom<u64>, const MOST: u64>(text: &str) -> Result<N, String> {
    within(text, 1, MOST)
}

/// A number from 0 to `MOST`.
pub(super) fn up_to<N: TryFrom<u64>, const MOST: u64>(text: &str) -> Result<N, String> {
    within(text, 0, MOST)
}

fn within<N: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Result<N, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    let number = number.and_then(|number| N::try_from(number).ok());
    number.ok_or_else(|| format!("write a whole number from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_such_number_is_not_repeated() {
        assert_eq!((from_one("1"), from_one_to::<u16, 64>("64")), (Ok(1), Ok(64)));
        assert_eq!(up_to::<u32, 9>("0"), Ok(0));
        for wrong in ["0", "65", "-1", "S3cret", ""] {
            let error = from_one_to::<u16, 64>(wrong).unwrap_err();
            assert_eq!(error, "write a whole number from 1 to 64");
        }
        assert!(from_one("0").is_err());
    }
}
