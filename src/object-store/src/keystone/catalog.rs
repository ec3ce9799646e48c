//! Service catalogues, as Keystone gives them and as Trove passes them on.

use serde_json::Value;

/// Which endpoint is wanted of a catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointFilter {
    /// Type of the service, such as `object-store`.
    pub service_type: String,
    /// Region; empty for any.
    pub region: String,
    /// `publicURL`, `internalURL` or `adminURL`, with or without `URL`.
    pub interface: String,
}

impl Default for EndpointFilter {
    fn default() -> Self {
        Self {
            service_type: "object-store".to_owned(),
            region: String::new(),
            interface: "publicURL".to_owned(),
        }
    }
}

impl EndpointFilter {
    /// URL of the first endpoint in `catalog` that fits, without a slash at
    /// its end. Both forms are read: version 2, where an endpoint has a URL
    /// for every interface, and version 3, where it has one interface.
    pub fn find(&self, catalog: &Value) -> Option<String> {
        let services = catalog.as_array()?;
        services
            .iter()
            .filter(|service| text(service, "type") == self.service_type)
            .filter_map(|service| service.get("endpoints")?.as_array())
            .flatten()
            .filter(|endpoint| self.is_in_region(endpoint))
            .find_map(|endpoint| self.url(endpoint))
            .map(|url| url.trim_end_matches('/').to_owned())
    }

    fn is_in_region(&self, endpoint: &Value) -> bool {
        self.region.is_empty()
            || text(endpoint, "region") == self.region
            || text(endpoint, "region_id") == self.region
    }

    fn url<'a>(&self, endpoint: &'a Value) -> Option<&'a str> {
        let interface = self.interface.trim_end_matches("URL");
        let url = match endpoint.get("interface") {
            Some(found) if found == interface => text(endpoint, "url"),
            Some(_) => "",
            None => text(endpoint, &format!("{interface}URL")),
        };
        (!url.is_empty()).then_some(url)
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::EndpointFilter;

    fn filter(region: &str, interface: &str) -> EndpointFilter {
        EndpointFilter {
            region: region.to_owned(),
            interface: interface.to_owned(),
            ..EndpointFilter::default()
        }
    }

    #[test]
    fn both_forms_are_read() {
        let version_2 = json!([
            {"type": "compute", "endpoints": [{"region": "one", "publicURL": "http://nova"}]},
            {"type": "object-store", "name": "swift", "endpoints": [
                {"region": "two", "publicURL": "http://two/v1/A"},
                {"region": "one", "publicURL": "http://one/v1/A/", "internalURL": "http://in/A"},
            ]},
        ]);
        let version_3 = json!([
            {"type": "object-store", "endpoints": [
                {"region": "two", "interface": "public", "url": "http://two/v1/A"},
                {"region_id": "one", "interface": "internal", "url": "http://in/A"},
                {"region_id": "one", "interface": "public", "url": "http://one/v1/A"},
            ]},
        ]);
        for catalog in [version_2, version_3] {
            for (region, interface, url) in [
                ("one", "publicURL", Some("http://one/v1/A")),
                ("one", "public", Some("http://one/v1/A")),
                ("one", "internalURL", Some("http://in/A")),
                ("one", "adminURL", None),
                ("", "publicURL", Some("http://two/v1/A")),
                ("three", "publicURL", None),
            ] {
                let found = filter(region, interface).find(&catalog);
                assert_eq!(found.as_deref(), url, "{region} {interface}");
            }
        }
    }

    #[test]
    fn what_is_no_catalogue_has_nothing() {
        for catalog in [
            Value::Null,
            json!({}),
            json!([1, {"type": "object-store"}, {"type": "object-store", "endpoints": [2]}]),
        ] {
            assert_eq!(filter("", "publicURL").find(&catalog), None, "{catalog}");
        }
    }
}
