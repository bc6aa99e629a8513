//! The one table from Azure's error codes to what they mean here: code to class and hint, and by
//! the class ([`class`](super::class)) to retry and to whether the user has to act; what each class
//! is called in conditions is `reconcile::trouble`'s one exhaustive match. Sources: contract §3,
//! and the tables of Azure Service Operator, whose users' reports say to retry slowly rather than
//! to give up: only a request that is wrong in itself is `Invalid`.

use super::class::Class;

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The class of the error.
    pub class: Class,
    /// What the user should do next, where there is something to do.
    pub hint: Option<&'static str>,
}

impl From<Class> for Verdict {
    /// The verdict on what is known by its class alone.
    fn from(class: Class) -> Self {
        Self { class, hint: None }
    }
}

/// Code, class, hint. Codes are compared without regard to casing.
#[rustfmt::skip]
const CODES: &[(&str, Class, Option<&str>)] = &[
    // What is not there.
    ("ResourceNotFound", Class::NotFound, None),
    ("NotFound", Class::NotFound, None),
    ("ResourceGroupNotFound", Class::GroupNotFound, Some("create the resource group, or correct its name")),
    ("ParentResourceNotFound", Class::NotFound, None),
    ("RESOURCE_DOES_NOT_EXIST", Class::NotFound, None),

    // What passes by itself: another write is under way, or something still holds on.
    ("AnotherOperationInProgress", Class::Conflict, None),
    ("RetryableError", Class::Conflict, None),
    ("RetryableErrorDueToAnotherOperation", Class::Conflict, None),
    ("ReferencedResourceNotProvisioned", Class::Conflict, None),
    ("Conflict", Class::Conflict, None),
    ("PreconditionFailed", Class::Conflict, None),
    ("ResourceGroupBeingDeleted", Class::Conflict, None),
    ("InUseSubnetCannotBeDeleted", Class::Conflict, Some("nodes leave a subnet some minutes after their pool is deleted; whatever else uses the subnet has to be removed by its owner")),
    ("InUseSubnetCannotBeUpdated", Class::Conflict, None),
    ("InUseVirtualNetworkCannotBeDeleted", Class::Conflict, None),

    // Too many requests.
    ("TooManyRequests", Class::Throttled, None),
    ("SubscriptionRequestsThrottled", Class::Throttled, None),
    ("ResourceRequestsThrottled", Class::Throttled, None),
    ("ResourceCollectionRequestsThrottled", Class::Throttled, None),

    // The token.
    ("InvalidAuthenticationToken", Class::Unauthenticated, None),
    ("ExpiredAuthenticationToken", Class::Unauthenticated, None),
    ("AuthenticationFailed", Class::Unauthenticated, None),
    ("InvalidAuthenticationTokenTenant", Class::Unauthenticated, Some("the identity is of another tenant than the subscription: check AZURE_TENANT_ID")),

    // Roles, policies, locks.
    ("AuthorizationFailed", Class::Denied, Some("give the identity a role with the action that the message names; a new role takes up to ten minutes to be seen")),
    ("LinkedAuthorizationFailed", Class::Denied, Some("give the identity the action on the linked resource too: a pool needs Microsoft.Network/virtualNetworks/subnets/join/action on its subnet")),
    ("RequestDisallowedByPolicy", Class::PolicyDenied, Some("an Azure Policy forbids it: change the manifest so that it complies, or ask for an exemption")),
    ("RequestDisallowedByAzure", Class::PolicyDenied, Some("Azure does not allow this here for the subscription: choose another region or another size")),
    ("ScopeLocked", Class::Locked, Some("a lock on the resource, its group or the subscription forbids it: remove the lock")),
    ("SubscriptionNotFound", Class::SubscriptionNotFound, Some("correct the subscription id, or give the identity a role in that subscription")),
    ("DisabledSubscription", Class::Denied, Some("enable the subscription")),
    ("ReadOnlyDisabledSubscription", Class::Denied, Some("enable the subscription")),
    ("PrincipalNotFound", Class::Denied, Some("a new identity takes minutes to be seen everywhere")),

    // Quota and capacity.
    ("ClusterMinNodesExceedCoreQuota", Class::QuotaExceeded, Some(QUOTA)),
    ("ClusterCoreQuotaReached", Class::QuotaExceeded, Some(QUOTA)),
    ("JobNodeCountExceedsCoreQuota", Class::QuotaExceeded, Some(QUOTA)),
    ("QuotaExceeded", Class::QuotaExceeded, Some(QUOTA)),
    ("ResourceQuotaExceeded", Class::QuotaExceeded, Some(QUOTA)),
    ("SkuNotAvailable", Class::NoCapacity, Some(CAPACITY)),
    ("AllocationFailed", Class::NoCapacity, Some(CAPACITY)),
    ("RegionIsOfferRestricted", Class::NoCapacity, Some(CAPACITY)),
    ("SubnetIsFull", Class::NoCapacity, Some("choose a larger subnet: every node takes one address, and Azure keeps five")),

    // What Azure does not take as things stand.
    ("MissingSubscriptionRegistration", Class::Rejected, Some(REGISTER)),
    ("MissingRegistrationForLocation", Class::Rejected, Some(REGISTER)),
    ("SubscriptionNotRegistered", Class::Rejected, Some(REGISTER)),
    ("InvalidSubscriptionRegistrationState", Class::Rejected, Some(REGISTER)),
    ("NoRegisteredProviderFound", Class::Rejected, Some("the region or the api-version is not offered for this resource type; the message lists those that are")),
    ("InvalidResourceReference", Class::Rejected, None),
    ("FailedIdentityOperation", Class::Rejected, None),
    ("InvalidParameter", Class::Rejected, Some(REQUEST)),
    ("InvalidParameterValue", Class::Rejected, Some(REQUEST)),
    ("ReservedResourceName", Class::Rejected, Some("choose another name")),
    ("NetcfgSubnetRangesOverlap", Class::Rejected, Some("choose an address range that no other subnet of the network has")),
    ("NetcfgSubnetRangeOutsideVnet", Class::Rejected, Some("choose an address range inside the network's")),

    // What is wrong in itself: the same request can never succeed.
    ("InvalidResourceType", Class::Invalid, Some(BUG)),
    ("InvalidResourceNamespace", Class::Invalid, Some(BUG)),
    ("InvalidApiVersionParameter", Class::Invalid, Some(BUG)),
    ("MissingApiVersionParameter", Class::Invalid, Some(BUG)),
    ("InvalidRequestContent", Class::Invalid, None),
    ("InvalidRequestFormat", Class::Invalid, None),
    ("InvalidResourceName", Class::Invalid, None),
    ("InvalidResourceLocation", Class::Invalid, Some("a resource of that name exists in another region: choose another name")),
    ("LocationRequired", Class::Invalid, Some(BUG)),
    ("MissingRequiredParameter", Class::Invalid, None),
    ("PropertyChangeNotAllowed", Class::Invalid, None),
    ("JobPropertyImmutable", Class::Invalid, None),
    ("Immutable", Class::Invalid, None),

    // Azure's own trouble.
    ("InternalServerError", Class::Unavailable, None),
    ("ServiceError", Class::Unavailable, None),
    ("ServiceUnavailable", Class::Unavailable, None),
    ("ServerTimeout", Class::Unavailable, None),
    ("GatewayTimeout", Class::Unavailable, None),
];

const QUOTA: &str =
    "ask for more quota of that VM family in the region, or ask for fewer or smaller nodes";
const CAPACITY: &str = "choose another VM size or another region, or wait until Azure has capacity";
const REGISTER: &str = "register the resource provider that the message names: az provider register --namespace <namespace>";
const REQUEST: &str = "change what the message names in the manifest";
const BUG: &str = "this is an error of the operator: report it with the request id";

/// What only the message tells, as some answers wrap a quota in a general code (contract §3).
const QUOTA_PHRASES: &[&str] = &["vcpu quota", "core quota", "exceeding quota limits"];

/// Classes an error by its codes, the most specific one first, then by its message, then by the
/// HTTP status of the answer that carried it (`None` for an error inside a resource). What is
/// unknown is `Rejected`, which is retried slowly.
pub(super) fn classify<'a>(
    codes: impl IntoIterator<Item = &'a str>,
    message: &str,
    status: Option<u16>,
) -> Verdict {
    let known = codes.into_iter().find_map(|code| {
        CODES
            .iter()
            .find(|(known, ..)| known.eq_ignore_ascii_case(code))
    });
    if let Some(&(_, class, hint)) = known {
        // A refusal may name something else that is missing; that does not make the resource absent.
        let class = match (class, status) {
            (class, Some(status)) if class.is_not_found() && status != 404 => Class::Rejected,
            (class, _) => class,
        };
        return Verdict { class, hint };
    }
    let message = message.to_ascii_lowercase();
    if QUOTA_PHRASES.iter().any(|phrase| message.contains(phrase)) {
        return Verdict {
            class: Class::QuotaExceeded,
            hint: Some(QUOTA),
        };
    }
    let class = match status {
        Some(401) => Class::Unauthenticated,
        Some(403) => Class::Denied,
        Some(404) => Class::NotFound,
        Some(409 | 412) => Class::Conflict,
        Some(429) => Class::Throttled,
        Some(408 | 500..) => Class::Unavailable,
        // `BadRequest`, `UserError`, `ValidationError` and all that is not known here.
        _ => Class::Rejected,
    };
    let hint = matches!((class, status), (Class::Rejected, Some(400))).then_some(REQUEST);
    Verdict { class, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_stands_in_the_table_once() {
        let mut codes: Vec<_> = CODES
            .iter()
            .map(|(code, ..)| code.to_ascii_lowercase())
            .collect();
        let all = codes.len();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }

    #[test]
    fn errors_are_classed_by_code_then_by_message_then_by_status() {
        for (codes, message, status, expected) in [
            (&["ResourceNotFound"][..], "", Some(404), Class::NotFound),
            (&["resourcenotfound"], "", Some(404), Class::NotFound),
            (
                &["SubscriptionNotFound"],
                "",
                Some(404),
                Class::SubscriptionNotFound,
            ),
            (&["NotFound", "UserError"], "", Some(400), Class::Rejected),
            (
                &["JobPropertyImmutable", "UserError"],
                "",
                Some(400),
                Class::Invalid,
            ),
            (&["UserError"], "", Some(400), Class::Rejected),
            (&["SomethingNew"], "", Some(400), Class::Rejected),
            (&["SomethingNew"], "", None, Class::Rejected),
            (&["SomethingNew"], "", Some(405), Class::Rejected),
            (&["SomethingNew"], "", Some(401), Class::Unauthenticated),
            (&["SomethingNew"], "", Some(403), Class::Denied),
            (&["SomethingNew"], "", Some(404), Class::NotFound),
            (&["SomethingNew"], "", Some(409), Class::Conflict),
            (&["SomethingNew"], "", Some(429), Class::Throttled),
            (&["SomethingNew"], "", Some(408), Class::Unavailable),
            (&["SomethingNew"], "", Some(503), Class::Unavailable),
            (
                &["ReferencedResourceNotProvisioned", "RetryableError"],
                "",
                Some(429),
                Class::Conflict,
            ),
            (
                &["BadRequest"],
                "The specified subscription has a total vCPU quota of 0 and cannot accomodate for at least 1 node",
                Some(400),
                Class::QuotaExceeded,
            ),
            (
                &["BadRequest"],
                "Operation results in exceeding quota limits of Microsoft.Batchlusters",
                Some(400),
                Class::QuotaExceeded,
            ),
            (&[], "", Some(502), Class::Unavailable),
        ] {
            let verdict = classify(codes.iter().copied(), message, status);
            assert_eq!(verdict.class, expected, "{codes:?} {status:?}");
        }
    }

    #[test]
    fn what_the_user_has_to_mend_comes_with_a_hint() {
        for code in [
            "AuthorizationFailed",
            "ScopeLocked",
            "ClusterMinNodesExceedCoreQuota",
            "MissingSubscriptionRegistration",
        ] {
            assert!(classify([code], "", Some(400)).hint.is_some(), "{code}");
        }
    }
}
