//! Global variables of the server: what they are, how they are set, and
//! whether they are what a file says.

use mysql_async::{Row, Value};

use crate::errors::code;
use crate::session::{Session, SqlError, SqlResult};
use crate::sql;

/// Servers round sizes down to blocks, of no more bytes than this.
const LARGEST_BLOCK: u64 = 64 << 10;

/// A variable and its global value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Variable {
    /// As SQL names it.
    name: String,
    value: Value,
}

/// A statement that gives a variable what it had.
#[derive(Debug)]
pub(crate) struct Undo {
    name: String,
    value: String,
}

impl Undo {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn run(&self, session: &mut Session) -> SqlResult<()> {
        session.run(&set_global(&self.name, &self.value)).await
    }
}

impl Variable {
    /// The variable behind an option, if there is one.
    pub(crate) async fn read(session: &mut Session, option: &str) -> SqlResult<Option<Self>> {
        let name = variable_of(option);
        let query = format!("SELECT @@GLOBAL.{}", sql::identifier(&name));
        match session.first::<Row>(&query, ()).await {
            Ok(row) => Ok(row
                .and_then(|mut row| row.take(0))
                .map(|value| Self { name, value })),
            Err(SqlError::Server {
                code: code::UNKNOWN_VARIABLE | code::READ_ONLY_VARIABLE | code::SESSION_VARIABLE,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives it a value as it stands in a file, or the server's own default.
    pub(crate) async fn set(&self, session: &mut Session, value: Option<&str>) -> SqlResult<()> {
        let value = value.map_or_else(|| "DEFAULT".to_owned(), |value| self.literal(value));
        session.run(&set_global(&self.name, &value)).await
    }

    /// How to give it what it has now.
    pub(crate) fn undo(&self) -> Undo {
        let value = match &self.value {
            Value::NULL => "DEFAULT".to_owned(),
            Value::Bytes(text) => sql::literal(&String::from_utf8_lossy(text)),
            _ => self.text(),
        };
        Undo {
            name: self.name.clone(),
            value,
        }
    }

    /// Its value, for people.
    pub(crate) fn text(&self) -> String {
        match &self.value {
            Value::NULL => "NULL".to_owned(),
            Value::Bytes(text) => String::from_utf8_lossy(text).into_owned(),
            Value::Int(number) => number.to_string(),
            Value::UInt(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Double(number) => number.to_string(),
            other => other.as_sql(true),
        }
    }

    /// Whether it has a value as it stands in a file.
    pub(crate) fn has(&self, value: &str) -> bool {
        let value = unquoted(value);
        match &self.value {
            Value::NULL => value.is_empty(),
            Value::Bytes(text) => is_text(&String::from_utf8_lossy(text), value),
            _ => number_of(value).is_some_and(|wanted| is_number(&self.text(), &wanted)),
        }
    }

    /// Whether the server has taken a value as it stands in a file, when
    /// `before` was what it had.
    pub(crate) fn took(&self, value: &str, before: &Self) -> bool {
        let plain = unquoted(value);
        if self.has(value) {
            return true;
        }
        match &self.value {
            // Enumerations are shown by name and may be set by number; sets and
            // modes are shown in full.
            Value::NULL | Value::Bytes(_) => {
                plain.parse::<u32>().is_ok() || self.value != before.value
            }
            _ => number_of(plain).is_some_and(|wanted| is_rounded(&self.text(), &wanted)),
        }
    }

    /// A value of a file in SQL, for a variable of this type.
    fn literal(&self, value: &str) -> String {
        let value = unquoted(value);
        let number = match &self.value {
            Value::Bytes(_) | Value::NULL => value.parse::<u32>().ok().map(|n| n.to_string()),
            _ => number_of(value),
        };
        number.unwrap_or_else(|| sql::literal(value))
    }
}

fn set_global(name: &str, value: &str) -> String {
    format!("SET GLOBAL {} = {value}", sql::identifier(name))
}

/// The variable that an option sets.
fn variable_of(option: &str) -> String {
    let name = option.replace('-', "_").to_ascii_lowercase();
    match name.strip_prefix("loose_") {
        Some(rest) => rest.to_owned(),
        None => name,
    }
}

/// Servers take one pair of quotes off a value.
fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner;
        }
    }
    value
}

/// A number as it stands in a file, in SQL: with its unit (MySQL manual, "Using
/// Options to Set Program Variables"), or a switch.
fn number_of(value: &str) -> Option<String> {
    let value = value.trim();
    if ["on", "true", "yes"]
        .iter()
        .any(|on| value.eq_ignore_ascii_case(on))
    {
        return Some("1".to_owned());
    }
    if ["off", "false", "no"]
        .iter()
        .any(|off| value.eq_ignore_ascii_case(off))
    {
        return Some("0".to_owned());
    }
    let is_number = |text: &str| {
        text.bytes()
            .next()
            .is_some_and(|c| c.is_ascii_digit() || c == b'-')
            && text.parse::<f64>().is_ok_and(f64::is_finite)
    };
    if is_number(value) {
        return Some(value.to_owned());
    }
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let power = match unit {
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        "p" | "P" => 50,
        "e" | "E" => 60,
        _ => return None,
    };
    let number = digits.parse::<u64>().ok()?.checked_mul(1 << power)?;
    Some(number.to_string())
}

/// Whether two numbers in SQL are the same.
fn is_number(one: &str, other: &str) -> bool {
    match (one.parse::<i128>(), other.parse::<i128>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => match (one.parse::<f64>(), other.parse::<f64>()) {
            // As decimal places were lost on the way.
            (Ok(one), Ok(other)) => (one - other).abs() <= 1e-6 * one.abs().max(1.0),
            _ => false,
        },
    }
}

/// Whether a server has rounded `wanted` down to whole blocks, whose size is a
/// power of two.
fn is_rounded(actual: &str, wanted: &str) -> bool {
    let (Ok(actual), Ok(wanted)) = (actual.parse::<u64>(), wanted.parse::<u64>()) else {
        return false;
    };
    let block = (1 << actual.trailing_zeros().min(63)).min(LARGEST_BLOCK);
    actual > 0 && wanted.checked_sub(actual).is_some_and(|lost| lost < block)
}

/// Whether the server shows what a file says: in any case, as one of several,
/// or by the present name of an old character set.
fn is_text(actual: &str, wanted: &str) -> bool {
    let plain = |text: &str| {
        let text = text.to_ascii_lowercase().replace(' ', "");
        match text.strip_prefix("utf8") {
            Some(rest) if rest.is_empty() || rest.starts_with('_') => format!("utf8mb3{rest}"),
            _ => text,
        }
    };
    let (actual, wanted) = (plain(actual), plain(wanted));
    if actual == wanted {
        return true;
    }
    let members: Vec<&str> = actual.split(',').collect();
    !wanted.is_empty() && wanted.split(',').all(|member| members.contains(&member))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variable(value: Value) -> Variable {
        Variable {
            name: "x".into(),
            value,
        }
    }

    fn text(value: &str) -> Variable {
        variable(Value::from(value))
    }

    #[test]
    fn options_name_variables() {
        assert_eq!(variable_of("Max-Connections"), "max_connections");
        assert_eq!(variable_of("loose-ssl"), "ssl");
        assert_eq!(set_global("a`b", "1"), "SET GLOBAL `a``b` = 1");
    }

    #[test]
    fn numbers_have_units_and_switches_are_numbers() {
        for (value, number) in [
            ("16M", Some("16777216")),
            ("2g", Some("2147483648")),
            ("0.5", Some("0.5")),
            ("-1", Some("-1")),
            ("0644", Some("0644")),
            ("ON", Some("1")),
            ("no", Some("0")),
            ("18446744073709551615", Some("18446744073709551615")),
            ("99999999999E", None),
            ("", None),
            ("M", None),
            ("1MB", None),
            ("inf", None),
            ("1 OR 1", None),
        ] {
            assert_eq!(number_of(value).as_deref(), number, "{value}");
        }
    }

    #[test]
    fn values_are_written_for_the_variable() {
        let number = variable(Value::Int(5));
        assert_eq!(number.literal("'16K'"), "16384");
        assert_eq!(number.literal("1 OR 1"), "'1 OR 1'");
        let name = text("AUTO");
        assert_eq!(name.literal("2"), "2");
        assert_eq!(name.literal("it's"), "'it''s'");
        assert_eq!(name.undo().value, "'AUTO'");
        assert_eq!(number.undo().value, "5");
        assert_eq!(variable(Value::NULL).undo().value, "DEFAULT");
    }

    #[test]
    fn the_server_has_what_was_asked_for() {
        let number = |value| variable(Value::UInt(value));
        for (now, wanted) in [
            (number(16384), "16K"),
            (number(1), "ON"),
            (variable(Value::Double(0.5)), "0.5000"),
            (text("InnoDB"), "innodb"),
            (text("utf8mb3_bin"), "utf8_bin"),
            (text("utf8mb4"), "utf8mb4"),
            (text("a=on,b=off"), "b=off"),
            (text("REAL_AS_FLOAT,ANSI"), "'ansi'"),
            (text(""), ""),
            (variable(Value::NULL), ""),
        ] {
            assert!(now.has(wanted), "{now:?} {wanted}");
        }
        for (now, wanted) in [
            (number(100_000), "200000"),
            (number(0), "nonsense"),
            (text("utf8mb4"), "utf8"),
            (text("ANSI"), ""),
            (text("a=on"), "a=off"),
        ] {
            assert!(!now.has(wanted), "{now:?} {wanted}");
        }
    }

    #[test]
    fn rounding_is_taking_and_a_limit_is_not() {
        let number = |value| variable(Value::UInt(value));
        let before = number(7);
        // To blocks of 1 KiB, as packets are.
        assert!(number(999_424).took("1000001", &before));
        assert!(!number(100_000).took("200000", &before));
        assert!(!number(1 << 30).took("1610612736", &before));
        assert!(!number(0).took("1", &before));
        assert!(!number(7).took("8", &before));
        assert!(text("ALWAYS").took("2", &text("AUTO")));
        assert!(text("everything").took("all", &text("nothing")));
        assert!(!text("nothing").took("all", &text("nothing")));
    }

    proptest! {
        #[test]
        fn a_value_stays_one_value(value in "\\PC{0,30}") {
            for variable in [text("x"), variable(Value::Int(1))] {
                let literal = variable.literal(&value);
                let is_number = literal.parse::<f64>().is_ok();
                prop_assert!(is_number || literal.starts_with('\'') && literal.ends_with('\''));
            }
        }
    }
}
