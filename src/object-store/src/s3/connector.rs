//! The SDK's requests on our own HTTP client: one TLS stack, one set of
//! timeouts, one place that repeats.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;
use hyper::header::RANGE;
use hyper::{Method, Request, Response};

use crate::http::{Http, host};

/// How many stall timeouts joining the parts of an object may take.
const JOIN_PATIENCE: u32 = 5;

/// Our client in the place of the SDK's.
#[derive(Debug, Clone)]
pub(super) struct Connector(pub(super) Http);

impl HttpClient for Connector {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.0.clone();
        HttpConnectorFuture::new(async move { send(&http, request).await })
    }
}

async fn send(http: &Http, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?;
    let (parts, body) = request.into_parts();
    // All bodies are bytes in memory, so this copies nothing.
    let bytes = body
        .collect()
        .await
        .map_err(ConnectorError::user)?
        .to_bytes();
    // Only the bytes of objects are read as they come, and always by range.
    let streamed = parts.headers.contains_key(RANGE);
    let patience = match parts.method {
        Method::POST => JOIN_PATIENCE,
        _ => 1,
    };
    let host = host(&parts.uri);
    let failed = |error: crate::http::Transport| ConnectorError::other(error.into(), None);
    let response = http
        .send(Request::from_parts(parts, bytes), patience)
        .await
        .map_err(failed)?;
    let response = if streamed && response.status().is_success() {
        response.map(SdkBody::from_body_1_x)
    } else {
        let answer = http.collect(&host, response).await.map_err(failed)?;
        let mut response = Response::new(SdkBody::from(answer.body));
        *response.status_mut() = hyper::StatusCode::from_u16(answer.status)
            .map_err(|error| ConnectorError::other(error.into(), None))?;
        *response.headers_mut() = answer.headers;
        response
    };
    HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
}
