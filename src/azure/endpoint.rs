//! Which Azure cloud the operator talks to.

use reqwest::Url;

const PUBLIC_AUTHORITY_HOST: &str = "https://login.microsoftonline.com";
const PUBLIC_RESOURCE_MANAGER: &str = "https://management.azure.com";

/// Where a cloud hands out tokens and where its resource manager (ARM) answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    authority_host: Url,
    resource_manager: Url,
    audience: String,
}

/// An address that cannot be an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} '{address}' {reason}")]
pub struct InvalidEndpoint {
    name: &'static str,
    address: String,
    reason: &'static str,
}

impl Endpoint {
    /// Takes the values of `AZURE_AUTHORITY_HOST`, `AZURE_RESOURCE_MANAGER_ENDPOINT` and
    /// `AZURE_RESOURCE_MANAGER_AUDIENCE` (names as in Azure Service Operator); each left out
    /// means Azure's public cloud.
    ///
    /// Tokens are asked for the audience. Where none is given it is the resource manager's own
    /// address without a trailing slash, which is what Azure's public and sovereign clouds
    /// register; a private link or another address of the same cloud has to name the audience.
    pub fn new(
        authority_host: Option<&str>,
        resource_manager: Option<&str>,
        audience: Option<&str>,
    ) -> Result<Self, InvalidEndpoint> {
        let authority_host = https_origin(
            "AZURE_AUTHORITY_HOST",
            authority_host.unwrap_or(PUBLIC_AUTHORITY_HOST),
        )?;
        let resource_manager = https_origin(
            "AZURE_RESOURCE_MANAGER_ENDPOINT",
            resource_manager.unwrap_or(PUBLIC_RESOURCE_MANAGER),
        )?;
        let audience = match audience {
            // Azure tells audiences apart by a trailing slash, so a given one is kept verbatim.
            Some(audience) => audience.to_owned(),
            None => resource_manager.as_str().trim_end_matches('/').to_owned(),
        };
        Ok(Self {
            authority_host,
            resource_manager,
            audience,
        })
    }

    /// The host that hands out tokens (Entra).
    #[must_use]
    pub fn authority_host(&self) -> &Url {
        &self.authority_host
    }

    /// The address of ARM.
    #[must_use]
    pub fn resource_manager(&self) -> &Url {
        &self.resource_manager
    }

    /// The scope that a token for ARM is asked with.
    #[must_use]
    pub fn scope(&self) -> String {
        format!("{}/.default", self.audience)
    }

    /// Whether `url` leads to this cloud's ARM. Only then may a token go with it: paging links
    /// and polling links come from answers and could name any host.
    pub(super) fn serves(&self, url: &Url) -> bool {
        url.origin() == self.resource_manager.origin()
    }

    /// An endpoint that speaks plain HTTP, for tests of this crate against a local server.
    #[cfg(test)]
    pub(super) fn insecure(address: &str) -> Self {
        let url: Url = address.parse().unwrap();
        Self {
            authority_host: url.clone(),
            resource_manager: url,
            audience: address.to_owned(),
        }
    }
}

fn https_origin(name: &'static str, address: &str) -> Result<Url, InvalidEndpoint> {
    let invalid = |reason| InvalidEndpoint {
        name,
        address: address.to_owned(),
        reason,
    };
    let url: Url = address
        .parse()
        .map_err(|_| invalid("is not an absolute URL"))?;
    if url.scheme() != "https" {
        return Err(invalid("does not begin with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidEndpoint {
            name,
            address: "…".to_owned(),
            reason: "has a user or a password in it",
        });
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("has a path or a query; only the host is wanted"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_means_the_public_cloud() {
        let endpoint = Endpoint::new(None, None, None).unwrap();
        assert_eq!(endpoint.scope(), "https://management.azure.com/.default");
        assert_eq!(
            endpoint.authority_host().as_str(),
            "https://login.microsoftonline.com/"
        );
    }

    #[test]
    fn a_moved_resource_manager_is_its_own_audience_unless_one_is_named() {
        let address = Some("https://127.0.0.1:8443/");
        let endpoint = Endpoint::new(address, address, None).unwrap();
        assert_eq!(endpoint.scope(), "https://127.0.0.1:8443/.default");
        let named = Endpoint::new(address, address, Some("https://management.azure.com/"));
        assert_eq!(
            named.unwrap().scope(),
            "https://management.azure.com//.default"
        );
    }

    #[test]
    fn what_is_not_https_or_more_than_a_host_is_refused() {
        for address in [
            "http://management.azure.com",
            "management.azure.com",
            "",
            "https://management.azure.com/subscriptions",
            "https://management.azure.com/?x=y",
            "https://user:secret@management.azure.com",
        ] {
            let refused = Endpoint::new(None, Some(address), None).unwrap_err();
            assert!(
                refused
                    .to_string()
                    .starts_with("AZURE_RESOURCE_MANAGER_ENDPOINT")
            );
            assert!(!refused.to_string().contains("secret"));
        }
    }

    #[test]
    fn only_the_same_scheme_host_and_port_is_arm() {
        let endpoint = Endpoint::new(None, Some("https://arm.test:8443"), None).unwrap();
        let serves = |url: &str| endpoint.serves(&url.parse().unwrap());
        assert!(serves("https://arm.test:8443/subscriptions/x?y=z"));
        assert!(serves("https://ARM.test:8443/"));
        assert!(!serves("https://arm.test/subscriptions"));
        assert!(!serves("http://arm.test:8443/"));
        assert!(!serves("https://arm.test.evil.example:8443/"));
        assert!(!serves("https://arm.test:8443@evil.example/"));
    }
}
