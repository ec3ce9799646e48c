//! Numbers as Python's `int(text)` and `float(text)` read them.

use crate::pystr::strip;

/// `int(text)` in base 10, within 64 bits: white space around, a sign, leading
/// zeros and single underscores between digits are fine.
pub(crate) fn int(text: &str) -> Option<i64> {
    let text = strip(text);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digit_run(digits)?;
    format!("{sign}{digits}").parse().ok()
}

/// `float(text)`: decimal with optional exponent, `inf`, `infinity`, `nan`.
pub(crate) fn float(text: &str) -> Option<f64> {
    let text = strip(text);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let special = ["inf", "infinity", "nan"]
        .iter()
        .any(|s| unsigned.eq_ignore_ascii_case(s));
    if special {
        return text.parse().ok();
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            digit_run(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))?;
            (mantissa, Some(exponent))
        }
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    for part in [whole, fraction] {
        if !part.is_empty() {
            digit_run(part)?;
        }
    }
    debug_assert!(exponent.is_none_or(|e| !e.is_empty()));
    text.replace('_', "").parse().ok()
}

/// Digits without their underscores; each underscore must stand between two.
fn digit_run(text: &str) -> Option<String> {
    let ok = text
        .split('_')
        .all(|run| !run.is_empty() && run.bytes().all(|b| b.is_ascii_digit()));
    ok.then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ints_as_python_reads_them() {
        let good = [
            ("5", 5),
            (" 5 ", 5),
            ("+5", 5),
            ("-0", 0),
            ("007", 7),
            ("1_000", 1000),
            ("5\n", 5),
        ];
        for (text, value) in good {
            assert_eq!(int(text), Some(value), "{text:?}");
        }
        for text in [
            "1__0", "_1", "1_", "0x10", "5.0", "1e3", "", "+", "--1", "+-1", "- 1",
        ] {
            assert_eq!(int(text), None, "{text:?}");
        }
    }

    #[test]
    fn floats_as_python_reads_them() {
        let good = [
            ("1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1_0.5", 10.5),
            ("+1.", 1.0),
            ("1e1_0", 1e10),
            ("-Infinity", f64::NEG_INFINITY),
            ("inf", f64::INFINITY),
            ("1E-2", 0.01),
        ];
        for (text, value) in good {
            assert_eq!(float(text), Some(value), "{text:?}");
        }
        assert!(float("nan").unwrap().is_nan());
        for text in [
            "0x1p3", "1e", "e5", "1_e5", ".", "", "1._5", "infin", "1e5.0",
        ] {
            assert_eq!(float(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>(), near in "[-+_.eE0-9 ]{0,12}") {
            let _ = (int(&text), float(&text), int(&near), float(&near));
        }

        #[test]
        fn reads_its_own_output(i in any::<i64>(), f in any::<f64>()) {
            prop_assert_eq!(int(&i.to_string()), Some(i));
            if !f.is_nan() {
                prop_assert_eq!(float(&crate::pystr::float(f)), Some(f));
            }
        }
    }
}
