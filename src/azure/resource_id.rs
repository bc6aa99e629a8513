//! Names of ARM resources: `/subscriptions/…/resourceGroups/…/providers/{namespace}/{type}/{name}…`.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays as it is in a path segment (RFC 3986, unreserved characters).
const ESCAPED_IN_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The longest segment taken. Azure's own longest name is the job id with 255 characters.
const LONGEST_SEGMENT: usize = 260;

/// The id of one ARM resource, of a resource group or of a subscription.
///
/// The casing is kept as it was given, and ids that differ only in casing are equal, as Azure
/// compares them (contract §1). Extension resources (an id with a second `/providers/`) are not
/// taken: the operator has none.
#[derive(Clone)]
pub struct ResourceId {
    subscription: String,
    resource_group: Option<String>,
    provider: Option<Provider>,
}

#[derive(Clone)]
struct Provider {
    namespace: String,
    /// Type and name of every level; never empty.
    levels: Vec<(String, String)>,
}

/// A text that is not the id of an ARM resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{id}' is not the id of an Azure resource: {reason}")]
pub struct InvalidResourceId {
    id: String,
    reason: &'static str,
}

impl ResourceId {
    /// The id of a subscription.
    pub fn subscription(subscription_id: &str) -> Result<Self, InvalidResourceId> {
        Ok(Self {
            subscription: segment(subscription_id)?,
            resource_group: None,
            provider: None,
        })
    }

    /// The id of the resource group `name` of this id's subscription.
    pub fn in_resource_group(&self, name: &str) -> Result<Self, InvalidResourceId> {
        Ok(Self {
            subscription: self.subscription.clone(),
            resource_group: Some(segment(name)?),
            provider: None,
        })
    }

    /// The id of a top-level resource in this id's resource group, or in its subscription where
    /// it has no group: `namespace` as `Microsoft.Network`, `kind` as `virtualNetworks`.
    pub fn resource(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
    ) -> Result<Self, InvalidResourceId> {
        Ok(Self {
            subscription: self.subscription.clone(),
            resource_group: self.resource_group.clone(),
            provider: Some(Provider {
                namespace: segment(namespace)?,
                levels: vec![(segment(kind)?, segment(name)?)],
            }),
        })
    }

    /// The id of a resource below this one: `child("subnets", "default")`.
    pub fn child(&self, kind: &str, name: &str) -> Result<Self, InvalidResourceId> {
        let mut child = self.clone();
        let Some(provider) = &mut child.provider else {
            return Err(InvalidResourceId {
                id: format!("{self}/{kind}/{name}"),
                reason: "only a resource of a provider has children",
            });
        };
        provider.levels.push((segment(kind)?, segment(name)?));
        Ok(child)
    }

    /// The resource, resource group or subscription that this id lies in.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let mut parent = self.clone();
        if let Some(provider) = &mut parent.provider {
            if provider.levels.len() > 1 {
                provider.levels.pop();
            } else {
                parent.provider = None;
            }
            Some(parent)
        } else {
            parent.resource_group.take().map(|_| parent)
        }
    }

    /// Whether this id lies in `ancestor`, at any depth. An id does not lie in itself.
    #[must_use]
    pub fn is_within(&self, ancestor: &Self) -> bool {
        std::iter::successors(self.parent(), Self::parent).any(|parent| parent == *ancestor)
    }

    /// The resources of one type below this one: `collection("computes")` of a workspace.
    pub fn collection(&self, kind: &str) -> Result<Collection, InvalidResourceId> {
        let kind = segment(kind)?;
        if self.provider.is_none() {
            return Err(InvalidResourceId {
                id: format!("{self}/{kind}"),
                reason: "a collection of top-level resources needs its provider",
            });
        }
        Ok(Collection {
            resource_type: format!("{}/{kind}", self.resource_type()),
            segments: vec![kind],
            scope: self.clone(),
        })
    }

    /// The top-level resources of one type in this resource group or subscription.
    pub fn resources(&self, namespace: &str, kind: &str) -> Result<Collection, InvalidResourceId> {
        let (namespace, kind) = (segment(namespace)?, segment(kind)?);
        if self.provider.is_some() {
            return Err(InvalidResourceId {
                id: format!("{self}/providers/{namespace}/{kind}"),
                reason: "extension resources are not supported",
            });
        }
        Ok(Collection {
            resource_type: format!("{namespace}/{kind}"),
            segments: vec!["providers".to_owned(), namespace, kind],
            scope: self.clone(),
        })
    }

    /// The id of the subscription, as it was given.
    #[must_use]
    pub fn subscription_id(&self) -> &str {
        &self.subscription
    }

    /// The name of the resource group, where the id has one.
    #[must_use]
    pub fn resource_group(&self) -> Option<&str> {
        self.resource_group.as_deref()
    }

    /// The name that people know it by: `noaa-isd:3` for a version, `dask-vnet/to-aks` for one side of a peering, whose
    /// name both networks may have, the last name for anything else.
    #[must_use]
    pub fn title(&self) -> String {
        match self.parent() {
            Some(parent) if self.resource_type().ends_with("/versions") => {
                format!("{}:{}", parent.name(), self.name())
            }
            Some(parent) if self.resource_type().ends_with("/virtualNetworkPeerings") => {
                format!("{}/{}", parent.name(), self.name())
            }
            _ => self.name().to_owned(),
        }
    }

    /// The last name in the id: of the resource, of the group or of the subscription.
    #[must_use]
    pub fn name(&self) -> &str {
        match (&self.provider, &self.resource_group) {
            (Some(provider), _) => provider.levels.last().map_or("", |(_, name)| name),
            (None, Some(group)) => group,
            (None, None) => &self.subscription,
        }
    }

    /// The full type: `Microsoft.MachineLearningServices/workspaces/computes`.
    #[must_use]
    pub fn resource_type(&self) -> String {
        match (&self.provider, &self.resource_group) {
            (Some(provider), _) => {
                let mut full = provider.namespace.clone();
                for (kind, _) in &provider.levels {
                    full.push('/');
                    full.push_str(kind);
                }
                full
            }
            (None, Some(_)) => "Microsoft.Resources/resourceGroups".to_owned(),
            (None, None) => "Microsoft.Resources/subscriptions".to_owned(),
        }
    }

    /// The path of the resource in a URL, percent-encoded.
    pub(super) fn url_path(&self) -> String {
        encoded(self.segments())
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        let group = self.resource_group.iter();
        let provider = self.provider.iter();
        ["subscriptions", &self.subscription]
            .into_iter()
            .chain(group.flat_map(|group| ["resourceGroups", group.as_str()]))
            .chain(provider.flat_map(|provider| {
                ["providers", provider.namespace.as_str()]
                    .into_iter()
                    .chain(
                        provider
                            .levels
                            .iter()
                            .flat_map(|(kind, name)| [kind.as_str(), name.as_str()]),
                    )
            }))
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments()
            .try_for_each(|segment| write!(formatter, "/{segment}"))
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ResourceId({self})")
    }
}

impl FromStr for ResourceId {
    type Err = InvalidResourceId;

    fn from_str(id: &str) -> Result<Self, InvalidResourceId> {
        let invalid = |reason| InvalidResourceId {
            id: shortened(id),
            reason,
        };
        let path = id
            .strip_prefix('/')
            .ok_or_else(|| invalid("it does not begin with '/'"))?;
        let segments = path.split('/').map(segment).collect::<Result<Vec<_>, _>>();
        let segments = segments.map_err(|error| invalid(error.reason))?;
        let (pairs, rest) = segments.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(invalid("its last segment has no name"));
        }
        let mut pairs = pairs.iter().peekable();
        let mut named = |keyword: &str| {
            pairs
                .next_if(|[kind, _]| kind.eq_ignore_ascii_case(keyword))
                .map(|[_, name]| name.clone())
        };
        let subscription = named("subscriptions")
            .ok_or_else(|| invalid("it does not begin with '/subscriptions/'"))?;
        let resource_group = named("resourceGroups");
        let namespace = named("providers");
        let levels: Vec<_> = pairs
            .map(|[kind, name]| (kind.clone(), name.clone()))
            .collect();
        if levels
            .iter()
            .any(|(kind, _)| kind.eq_ignore_ascii_case("providers"))
        {
            return Err(invalid("extension resources are not supported"));
        }
        let provider = match (namespace, levels.is_empty()) {
            (None, true) => None,
            (Some(namespace), false) => Some(Provider { namespace, levels }),
            (Some(_), true) => return Err(invalid("its provider has no resource")),
            (None, false) => return Err(invalid("a resource type stands where a provider should")),
        };
        Ok(Self {
            subscription,
            resource_group,
            provider,
        })
    }
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&str, &str)| a.eq_ignore_ascii_case(b);
        self.segments().count() == other.segments().count()
            && self.segments().zip(other.segments()).all(same)
    }
}

impl Eq for ResourceId {}

impl Hash for ResourceId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for segment in self.segments() {
            segment.to_ascii_lowercase().hash(state);
        }
    }
}

impl PartialOrd for ResourceId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ResourceId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.segments()
            .map(str::to_ascii_lowercase)
            .cmp(other.segments().map(str::to_ascii_lowercase))
    }
}

/// All resources of one type in one place, as a LIST reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    scope: ResourceId,
    segments: Vec<String>,
    resource_type: String,
}

impl Collection {
    /// The full type of the listed resources.
    #[must_use]
    pub fn resource_type(&self) -> &str {
        &self.resource_type
    }

    pub(super) fn url_path(&self) -> String {
        let own = self.segments.iter().map(String::as_str);
        encoded(self.scope.segments().chain(own))
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.scope)?;
        self.segments
            .iter()
            .try_for_each(|segment| write!(formatter, "/{segment}"))
    }
}

/// Takes a segment that can be one segment only: a name with a slash or of dots would address
/// another resource, and Azure forbids the rest in every name.
fn segment(text: &str) -> Result<String, InvalidResourceId> {
    let reason = if text.is_empty() {
        "a segment is empty"
    } else if text == "." || text == ".." {
        "a segment consists of dots"
    } else if text.len() > LONGEST_SEGMENT {
        "a segment is too long"
    } else if text.contains(['/', '\\', '?', '#', '%', '&', '<', '>'])
        || text.contains(char::is_control)
    {
        "a segment has a character that no Azure name has"
    } else {
        return Ok(text.to_owned());
    };
    Err(InvalidResourceId {
        id: shortened(text),
        reason,
    })
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_SEGMENT).collect()
}

fn encoded<'a>(segments: impl Iterator<Item = &'a str>) -> String {
    let mut path = String::new();
    for segment in segments {
        path.push('/');
        path.extend(utf8_percent_encode(segment, ESCAPED_IN_SEGMENT));
    }
    path
}

#[cfg(test)]
mod tests;
