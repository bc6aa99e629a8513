//! A client of the API server whose writes go out only while this operator leads.

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use tower::{BoxError, service_fn};

use super::Lead;

/// The same client, which refuses to write while `lead` is not ours. Reads go through.
pub(crate) fn only_while_leading(client: &Client, lead: &Lead) -> Client {
    let namespace = client.default_namespace().to_owned();
    let (client, lead) = (client.clone(), lead.clone());
    let service = service_fn(move |request: Request<Body>| {
        let (client, lead) = (client.clone(), lead.clone());
        async move {
            if !request.method().is_safe() {
                lead.check()?;
            }
            let answer: Result<Response<Body>, BoxError> =
                client.send(request).await.map_err(BoxError::from);
            answer
        }
    });
    Client::new(service, namespace)
}
