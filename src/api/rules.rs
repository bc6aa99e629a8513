//! CEL rules that more than one field states, for the API server to enforce at apply.
//!
//! A rule's message names the field and the way out. Rules that speak of a field which may be
//! absent stand on its parent: the API server skips a field's own rules when the field is not
//! there, and its transition rules when it is removed.

use kube::core::{Reason, Rule};

const AFTER_A_CHANGE: &str =
    "cannot be changed: delete this DaskCluster and create another one with the new value";

/// A field that is always there keeps its value.
pub(super) fn immutable(field: &str) -> Rule {
    unchanged(field, format!("self.{field} == oldSelf.{field}"))
}

/// An optional field is neither added nor changed nor removed.
pub(super) fn immutable_if_given(field: &str) -> Rule {
    let rule = format!(
        "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    );
    unchanged(field, rule)
}

/// The network stays what and where it is; a made one may become a taken-over one, and the other way round.
pub(super) fn immutable_network() -> Rule {
    let policy = same_or_both_own("network.creationPolicy");
    let peerings = same_entries("network.peerings");
    let rule = format!(
        "has(self.network) == has(oldSelf.network) && (!has(self.network) || (self.network.virtualNetwork == oldSelf.network.virtualNetwork && self.network.subnet == oldSelf.network.subnet && self.network.nodePublicIp == oldSelf.network.nodePublicIp && {policy} && {peerings}))"
    );
    unchanged("network", rule)
}

/// A `creationPolicy` that stays, or goes from one that makes the resource the cluster's own to the other.
pub(super) fn immutable_creation_policy() -> Rule {
    unchanged("creationPolicy", same_or_both_own("creationPolicy"))
}

fn same_or_both_own(field: &str) -> String {
    format!(
        "(self.{field} == oldSelf.{field} || (self.{field} != 'UseExisting' && oldSelf.{field} != 'UseExisting'))"
    )
}

/// An empty list and none at all are the same.
fn same_entries(field: &str) -> String {
    format!(
        "(has(self.{field}) && size(self.{field}) > 0) == (has(oldSelf.{field}) && size(oldSelf.{field}) > 0) && (!has(self.{field}) || !has(oldSelf.{field}) || self.{field} == oldSelf.{field})"
    )
}

fn unchanged(field: &str, rule: String) -> Rule {
    Rule::new(rule)
        .message(format!("{field} {AFTER_A_CHANGE}").as_str())
        .field_path(format!(".{field}"))
        .reason(Reason::FieldValueForbidden)
}

/// `field` is asked for by the rule on its parent.
pub(super) fn required(field: &str, rule: &str, message: &str) -> Rule {
    Rule::new(rule)
        .message(message)
        .field_path(field)
        .reason(Reason::FieldValueRequired)
}

/// `field` does nothing or is not allowed here, by the rule on its parent.
pub(super) fn forbidden(field: &str, rule: &str, message: &str) -> Rule {
    Rule::new(rule)
        .message(message)
        .field_path(field)
        .reason(Reason::FieldValueForbidden)
}

/// `field` has a value that the rule on its parent does not take.
pub(super) fn invalid(field: &str, rule: &str, message: &str) -> Rule {
    Rule::new(rule)
        .message(message)
        .field_path(field)
        .reason(Reason::FieldValueInvalid)
}

/// The name of a resource group; Azure takes letters and digits of every script.
pub(super) fn resource_group_name() -> Rule {
    Rule::from((
        r"self.matches(r'^[-\p{L}\p{Nd}_.()]{0,89}[-\p{L}\p{Nd}_()]$')",
        "resourceGroup must be the name of a resource group: up to 90 letters, digits and -_.() and no . at the end",
    ))
}

/// The name of a pool, but for its end.
pub(super) fn pool_name() -> Rule {
    Rule::from((
        "self.matches(r'^[a-zA-Z][a-zA-Z0-9-]{2,23}$')",
        "compute.name must be 3 to 24 letters, digits and -, and start with a letter",
    ))
}

/// The end of a pool's name.
pub(super) fn pool_name_end() -> Rule {
    Rule::from((
        "!self.matches(r'-[0-9]+$')",
        "compute.name must not end in - and digits, which Azure refuses: write ds13x1, not ds13-1",
    ))
}

/// The name of a size of virtual machine; the region says whether there is one.
pub(super) fn vm_size() -> Rule {
    Rule::from((
        "self.matches(r'^[A-Za-z0-9][A-Za-z0-9_-]{2,39}$')",
        "vmSize must be the name of a VM size, such as STANDARD_DS13_V2: 3 to 40 letters, digits, _ and -",
    ))
}

/// The name of a data asset, environment or experiment (Azure's pattern for all three).
pub(super) fn asset_name(field: &str) -> Rule {
    Rule::new("self.matches(r'^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$')").message(
        format!("{field} must start with a letter or digit and go on with letters, digits, - and _, up to 255 characters")
            .as_str(),
    )
}

/// The version of a data asset or environment. Azure's label `latest` is none: it moves.
pub(super) fn asset_version() -> Rule {
    Rule::from((
        "self.matches(r'^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$') && self != 'latest'",
        "version must be one fixed version, such as \"1\": it starts with a letter or digit and goes on with letters, digits and -_. (latest is a label that moves, and no version)",
    ))
}

/// An IPv4 range; the other rules on ranges hold their peace where this one speaks.
pub(super) fn ipv4_range() -> Rule {
    Rule::from((
        "isCIDR(self) && cidr(self).ip().family() == 4",
        "addressPrefix must be an IPv4 range, such as 10.20.0.0/16 (IPv6 is not supported)",
    ))
}

/// A range that names its network address.
pub(super) fn no_host_bits() -> Rule {
    Rule::from((
        "!isCIDR(self) || cidr(self) == cidr(self).masked()",
        "addressPrefix must not have bits set behind its prefix length: write 10.20.0.0/16, not 10.20.0.1/16",
    ))
}

/// A range that neither Azure, the hosts nor Docker on the nodes keep for themselves.
pub(super) fn no_reserved_range() -> Rule {
    Rule::from((
        "!isCIDR(self) || cidr(self).ip().family() != 4 || !(cidr(self).containsIP('168.63.129.16') || ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '172.17.0.0/16', '224.0.0.0/3'].exists(range, cidr(range).containsCIDR(self) || cidr(self).containsCIDR(range)))",
        "addressPrefix must not overlap 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 172.17.0.0/16 (Docker's bridge on the nodes) or 224.0.0.0/3, nor hold Azure's 168.63.129.16: take one out of 10.0.0.0/8 or 192.168.0.0/16",
    ))
}
