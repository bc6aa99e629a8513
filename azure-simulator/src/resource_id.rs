//! ARM resource ids: parsing, comparing without regard to case, and building.

use std::fmt;

/// An ARM resource id or collection path below a subscription.
///
/// Segments keep the casing they were given; [`ResourceId::key`] is what two spellings of one
/// resource have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResourceId {
    pub(crate) subscription: String,
    pub(crate) resource_group: Option<String>,
    /// Namespace such as `Microsoft.Network`; empty for the resource group itself.
    pub(crate) provider: String,
    /// Type and name in turn; the name of the last one is absent in a collection's path.
    pub(crate) segments: Vec<(String, Option<String>)>,
}

/// Types whose names the contract documents as case-sensitive (section 1).
const CASE_SENSITIVE: [&str; 5] = ["jobs", "data", "environments", "codes", "versions"];

impl ResourceId {
    /// Parses what stands before the query. `None` where it is no path of a subscription.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        let (word, rest) = parts.split_first()?;
        if !word.eq_ignore_ascii_case("subscriptions") {
            return None;
        }
        let (subscription, mut rest) = rest.split_first()?;
        if let Some(found) = Self::of_resources(subscription, rest) {
            return Some(found);
        }
        let mut resource_group = None;
        if let [word, group, after @ ..] = rest
            && word.eq_ignore_ascii_case("resourceGroups")
        {
            resource_group = Some((*group).to_owned());
            rest = after;
        }
        let mut provider = String::new();
        let mut segments = Vec::new();
        if let [word, namespace, after @ ..] = rest
            && word.eq_ignore_ascii_case("providers")
        {
            provider = (*namespace).to_owned();
            for pair in after.chunks(2) {
                segments.push((pair[0].to_owned(), pair.get(1).map(|n| (*n).to_owned())));
            }
            rest = &[];
        }
        if !rest.is_empty() {
            return None;
        }
        Some(Self {
            subscription: (*subscription).to_owned(),
            resource_group,
            provider,
            segments,
        })
    }

    /// What ARM itself has below a subscription: the list of resource groups, providers.
    fn of_resources(subscription: &str, rest: &[&str]) -> Option<Self> {
        let segment = match rest {
            [groups] if groups.eq_ignore_ascii_case("resourceGroups") => ("resourceGroups", None),
            [providers] if providers.eq_ignore_ascii_case("providers") => ("providers", None),
            [providers, namespace] if providers.eq_ignore_ascii_case("providers") => {
                ("providers", Some((*namespace).to_owned()))
            }
            _ => return None,
        };
        Some(Self {
            subscription: subscription.to_owned(),
            resource_group: None,
            provider: "Microsoft.Resources".to_owned(),
            segments: vec![(segment.0.to_owned(), segment.1)],
        })
    }

    /// Such as `Microsoft.Network/virtualNetworks/subnets`, in the casing given.
    pub(crate) fn resource_type(&self) -> String {
        let mut text = self.provider.clone();
        for (kind, _) in &self.segments {
            text.push('/');
            text.push_str(kind);
        }
        text
    }

    /// Name of the resource; empty for a collection.
    pub(crate) fn name(&self) -> &str {
        match self.segments.last() {
            Some((_, name)) => name.as_deref().unwrap_or_default(),
            None => self.resource_group.as_deref().unwrap_or_default(),
        }
    }

    /// Names of all segments, joined with `/`, as error messages show them.
    pub(crate) fn name_path(&self) -> String {
        let names: Vec<&str> = self
            .segments
            .iter()
            .filter_map(|(_, name)| name.as_deref())
            .collect();
        names.join("/")
    }

    /// Name of the outermost resource, such as the workspace.
    pub(crate) fn root_name(&self) -> &str {
        self.segments
            .first()
            .and_then(|(_, name)| name.as_deref())
            .unwrap_or_default()
    }

    /// The outermost resource that it is in, such as the workspace of a job; itself where it is that.
    pub(crate) fn root(&self) -> Self {
        let mut root = self.clone();
        root.segments.truncate(1);
        root
    }

    pub(crate) fn is_collection(&self) -> bool {
        matches!(self.segments.last(), Some((_, None)))
    }

    /// The resource that this one (or this collection) is a child of; `None` at the top.
    pub(crate) fn parent(&self) -> Option<Self> {
        if self.segments.len() < 2 {
            return None;
        }
        let mut parent = self.clone();
        parent.segments.pop();
        Some(parent)
    }

    /// The collection that this resource is in.
    pub(crate) fn collection(&self) -> Self {
        let mut collection = self.clone();
        if let Some((_, name)) = collection.segments.last_mut() {
            *name = None;
        }
        collection
    }

    pub(crate) fn child(&self, kind: &str, name: Option<&str>) -> Self {
        let mut child = self.clone();
        child
            .segments
            .push((kind.to_owned(), name.map(str::to_owned)));
        child
    }

    /// Splits the action off the path of a POST: `…/jobs/j1/cancel` is the job and `cancel`,
    /// `/subscriptions/s/providers/n/register` the provider and `register`.
    pub(crate) fn split_action(mut self) -> Option<(Self, String)> {
        if !self.is_collection() {
            return None;
        }
        let (action, _) = self.segments.pop()?;
        if self.segments.is_empty() {
            if self.resource_group.is_some() {
                return None;
            }
            self = Self::of_resources(&self.subscription, &["providers", &self.provider])?;
        }
        Some((self, action))
    }

    /// Equal for two spellings of the same resource.
    pub(crate) fn key(&self) -> String {
        let mut key = format!("/subscriptions/{}", self.subscription.to_lowercase());
        if let Some(group) = &self.resource_group {
            key.push_str("/resourcegroups/");
            key.push_str(&group.to_lowercase());
        }
        if !self.provider.is_empty() {
            key.push_str("/providers/");
            key.push_str(&self.provider.to_lowercase());
        }
        for (kind, name) in &self.segments {
            let kind = kind.to_lowercase();
            let exact = CASE_SENSITIVE.contains(&kind.as_str());
            key.push('/');
            key.push_str(&kind);
            if let Some(name) = name {
                key.push('/');
                key.push_str(&if exact {
                    name.clone()
                } else {
                    name.to_lowercase()
                });
            }
        }
        key
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/subscriptions/{}", self.subscription)?;
        if let Some(group) = &self.resource_group {
            write!(f, "/resourceGroups/{group}")?;
        }
        if !self.provider.is_empty() {
            write!(f, "/providers/{}", self.provider)?;
        }
        for (kind, name) in &self.segments {
            write!(f, "/{kind}")?;
            if let Some(name) = name {
                write!(f, "/{name}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str = "/subscriptions/S/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/W";

    #[test]
    fn ids_compare_without_regard_to_case_except_job_names() {
        let one = ResourceId::parse(&format!("{WORKSPACE}/computes/Pool")).unwrap();
        let other =
            ResourceId::parse(&format!("{WORKSPACE}/computes/Pool").to_uppercase()).unwrap();
        assert_eq!(one.key(), other.key());
        let job = ResourceId::parse(&format!("{WORKSPACE}/jobs/Job")).unwrap();
        let another = ResourceId::parse(&format!("{WORKSPACE}/jobs/job")).unwrap();
        assert_ne!(job.key(), another.key());
    }

    #[test]
    fn an_action_is_what_follows_a_resource() {
        let path = ResourceId::parse(&format!("{WORKSPACE}/jobs/j1/cancel")).unwrap();
        let (job, action) = path.split_action().unwrap();
        assert_eq!((job.name(), action.as_str()), ("j1", "cancel"));
        let collection = ResourceId::parse(&format!("{WORKSPACE}/jobs")).unwrap();
        assert!(collection.is_collection());
        let path =
            ResourceId::parse("/subscriptions/s/providers/Microsoft.Network/register").unwrap();
        let (provider, action) = path.split_action().unwrap();
        assert_eq!(provider.resource_type(), "Microsoft.Resources/providers");
        assert_eq!(
            (provider.name(), action.as_str()),
            ("Microsoft.Network", "register")
        );
    }

    #[test]
    fn what_is_no_resource_path_is_not_parsed() {
        for path in [
            "/",
            "/tenants/x",
            "/subscriptions//resourceGroups/x",
            "/subscriptions/s/x",
        ] {
            assert_eq!(ResourceId::parse(path), None, "{path}");
        }
    }
}
