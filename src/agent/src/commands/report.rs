//! Lines of text for a terminal; the one place that writes to standard output.

use std::io::Write;

/// `label: text`, aligned.
pub fn line(label: &str, text: &str) {
    text_line(&format!("{label:17} {text}"));
}

/// One finished step of `doctor`.
pub fn step(ok: bool, name: &str, detail: &str) {
    text_line(&format!(
        "{} {name:22} {detail}",
        if ok { "ok  " } else { "FAIL" }
    ));
}

/// What to do about a failed step.
pub fn hint(text: &str) {
    text_line(&format!("     -> {text}"));
}

/// Any line. A closed pipe is no error worth telling.
pub fn text_line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
