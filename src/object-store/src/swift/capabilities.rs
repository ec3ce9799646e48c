//! What a Swift allows, from its `/info`.

use bytes::Bytes;
use hyper::{Request, Uri};
use serde::Deserialize;

use super::account::Account;

/// Swift's own default.
const USUAL_MAX_PARTS: u32 = 1000;

#[derive(Debug, Deserialize)]
struct Info {
    slo: Option<Slo>,
}

#[derive(Debug, Deserialize)]
struct Slo {
    max_manifest_segments: Option<u32>,
}

/// Most parts of a large object. It can be switched off to ask, and then
/// Swift's default is as good as any other guess: never an error.
pub(super) async fn max_parts(account: &Account) -> u32 {
    let Ok(storage) = account.url.parse::<Uri>() else {
        return USUAL_MAX_PARTS;
    };
    for path in places(storage.path()) {
        let url = Uri::builder()
            .scheme(storage.scheme_str().unwrap_or("http"))
            .authority(account.host())
            .path_and_query(path)
            .build();
        let request = url.map(|url| {
            let mut request = Request::new(Bytes::new());
            *request.uri_mut() = url;
            request
        });
        let Ok(request) = request else { continue };
        // It needs no token and is given none.
        match account.http().ask(request, 1).await {
            Ok(answer) if answer.status == 200 => {
                if let Some(most) = parse(&answer.body) {
                    return most;
                }
            }
            Ok(answer) => tracing::debug!("GET {path}: {}", answer.status),
            Err(error) => tracing::debug!("GET {path}: {error}"),
        }
    }
    USUAL_MAX_PARTS
}

/// Where `/info` can be: radosgw has all of Swift below a prefix.
fn places(storage_path: &str) -> Vec<&'static str> {
    if storage_path.starts_with("/swift/") {
        vec!["/swift/info", "/info"]
    } else {
        vec!["/info"]
    }
}

fn parse(info: &[u8]) -> Option<u32> {
    let info: Info = serde_json::from_slice(info).ok()?;
    info.slo?.max_manifest_segments.filter(|most| *most > 0)
}

#[cfg(test)]
mod tests {
    use super::{parse, places};

    #[test]
    fn the_limit_is_found() {
        assert_eq!(
            parse(br#"{"slo": {"max_manifest_segments": 250}, "swift": {}}"#),
            Some(250)
        );
        for info in ["", "[]", "{}", r#"{"slo": {"max_manifest_segments": 0}}"#] {
            assert_eq!(parse(info.as_bytes()), None, "{info}");
        }
    }

    #[test]
    fn radosgw_has_a_prefix() {
        assert_eq!(places("/v1/AUTH_1"), ["/info"]);
        assert_eq!(places("/swift/v1/AUTH_1"), ["/swift/info", "/info"]);
    }
}
