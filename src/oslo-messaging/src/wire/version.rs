//! Version compatibility of oslo.messaging (`_utils.version_is_compatible`).

/// Whether a request for version `requested` may be served by an endpoint that
/// implements `implemented`: same major, minor not newer, and a third component
/// that is not newer when the minors are equal. Text that is no version is not
/// compatible with anything.
pub fn check_version(requested: &str, implemented: &str) -> bool {
    let (Some(requested), Some(implemented)) = (parse(requested), parse(implemented)) else {
        return false;
    };
    requested.0 == implemented.0
        && (requested.1 < implemented.1
            || (requested.1 == implemented.1 && requested.2 <= implemented.2))
}

fn parse(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(str::parse::<u32>);
    let version = (
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next().unwrap_or(Ok(0)).ok()?,
    );
    parts.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::check_version;

    #[test]
    fn compatibility() {
        for (requested, implemented, expected) in [
            ("1.0", "1.3", true),
            ("1.3", "1.3", true),
            ("1.4", "1.3", false),
            ("2.0", "1.3", false),
            ("0.9", "1.3", false),
            ("1.3.1", "1.3", false),
            ("1.2.9", "1.3", true),
            ("1.3.1", "1.3.2", true),
            ("", "1.3", false),
            ("1", "1.3", false),
            ("1.0.0.0", "1.3", false),
            ("one.two", "1.3", false),
        ] {
            assert_eq!(
                check_version(requested, implemented),
                expected,
                "{requested}"
            );
        }
    }
}
