//! `key=value` lines, as contents of modules are written.

/// The value of `key`, whatever its case. Lines may be commented out, and
/// values commented on, with `#`.
pub(super) fn value<'a>(contents: &'a str, key: &str) -> Option<&'a str> {
    contents.lines().find_map(|line| {
        let (name, value) = line.trim().split_once('=')?;
        let value = value.split_once('#').map_or(value, |(value, _)| value);
        name.trim().eq_ignore_ascii_case(key).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn keys_are_found_whatever_stands_around_them() {
        let text = "# message=old\n other = x\r\nMessage = hello = you # friend\n";
        assert_eq!(value(text, "message"), Some("hello = you"));
        assert_eq!(value(text, "license_key"), None);
        assert_eq!(value("message", "message"), None);
    }
}
