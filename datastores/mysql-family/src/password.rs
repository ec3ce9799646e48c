//! Generated passwords.

use datastore::Secret;
pub(crate) use managed::password::generate;

/// A password with one of each class of characters, for servers whose policy
/// of passwords is not known yet; this alphabet needs no quoting either.
pub(crate) fn generate_mixed(length: usize) -> Secret {
    const CLASSES: &str = "_aA1";
    let random = generate(length.saturating_sub(CLASSES.len()));
    Secret::new(format!("{}{CLASSES}", random.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_passwords_have_every_class() {
        let mixed = generate_mixed(36);
        assert_eq!(mixed.expose().len(), 36);
        assert!(mixed.expose().ends_with("_aA1"));
        assert_ne!(mixed, generate_mixed(36));
    }
}
