//! Generated passwords.

use datastore::Secret;
use rand::distr::{Alphanumeric, SampleString};

/// A new password of `length` characters `A-Za-z0-9` from the operating
/// system's generator by way of a cryptographically secure one. The alphabet
/// needs no quoting in SQL, option files or URLs.
pub fn generate(length: usize) -> Secret {
    Secret::new(Alphanumeric.sample_string(&mut rand::rng(), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_plain_and_different() {
        let one = generate(36);
        assert_eq!(one.expose().len(), 36);
        assert!(one.expose().bytes().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(one, generate(36));
    }
}
