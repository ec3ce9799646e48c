//! Option values from text, as oslo.config reads them.

use crate::wire::Compression;
use crate::{FailoverStrategy, LoginMethod, OptionError};

/// One value on its way to a type, with oslo.config's idea of each type.
pub(crate) struct Text<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: &'a str,
}

impl Text<'_> {
    fn bad(&self, expected: impl Into<String>) -> OptionError {
        OptionError::Value {
            name: self.name.to_owned(),
            value: self.value.to_owned(),
            expected: expected.into(),
        }
    }

    pub(crate) fn boolean(&self) -> Result<bool, OptionError> {
        match self.value.to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" => Ok(true),
            "false" | "0" | "off" | "no" => Ok(false),
            _ => Err(self.bad("expected true or false")),
        }
    }

    pub(crate) fn integer<T: std::str::FromStr + PartialOrd + std::fmt::Display>(
        &self,
        min: T,
    ) -> Result<T, OptionError> {
        match self.value.parse::<T>() {
            Ok(number) if number >= min => Ok(number),
            _ => Err(self.bad(format!("expected a whole number of at least {min}"))),
        }
    }

    pub(crate) fn seconds(&self) -> Result<f64, OptionError> {
        match self.value.parse::<f64>() {
            Ok(number) if number.is_finite() && (0.0..=86_400.0).contains(&number) => Ok(number),
            _ => Err(self.bad("expected seconds, 0 to 86400")),
        }
    }

    pub(crate) fn failover(&self) -> Result<FailoverStrategy, OptionError> {
        match self.value {
            "round-robin" => Ok(FailoverStrategy::RoundRobin),
            "shuffle" => Ok(FailoverStrategy::Shuffle),
            _ => Err(self.bad("expected round-robin or shuffle")),
        }
    }

    pub(crate) fn compression(&self) -> Result<Option<Compression>, OptionError> {
        match self.value {
            "" | "none" | "None" => Ok(None),
            name => Compression::from_name(name)
                .map(Some)
                .ok_or_else(|| self.bad("expected gzip or bz2")),
        }
    }

    pub(crate) fn login_method(&self) -> Result<LoginMethod, OptionError> {
        match self.value {
            "PLAIN" => Ok(LoginMethod::Plain),
            "AMQPLAIN" => Ok(LoginMethod::AmqPlain),
            "EXTERNAL" => Ok(LoginMethod::External),
            "RABBIT-CR-DEMO" => Ok(LoginMethod::RabbitCrDemo),
            _ => Err(self.bad("expected PLAIN, AMQPLAIN, EXTERNAL or RABBIT-CR-DEMO")),
        }
    }

    pub(crate) fn ssl_version(&self) -> Result<String, OptionError> {
        const NAMES: &[&str] = &["", "tlsv1", "sslv23", "tlsv1_1", "tlsv1_2", "tlsv1_3"];
        if NAMES.contains(&self.value.to_ascii_lowercase().as_str()) {
            return Ok(self.value.to_owned());
        }
        Err(self.bad("expected TLSv1, SSLv23, TLSv1_1, TLSv1_2 or TLSv1_3"))
    }
}
