//! What Azure tells of a region: which sizes of virtual machine it offers at what price, and how much of the quota is
//! used (contract section 6). Pure.

use serde::{Deserialize, Serialize};

use crate::api::Priority;

/// A size of virtual machine that the region offers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VmSize {
    pub name: String,
    /// `standardDSv2Family`.
    pub family: Option<String>,
    #[serde(rename = "vCPUs")]
    pub cores: Option<u64>,
    pub low_priority_capable: Option<bool>,
    pub supported_compute_types: Option<Vec<String>>,
    #[serde(rename = "estimatedVMPrices")]
    pub prices: Option<VmPrices>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VmPrices {
    pub billing_currency: Option<String>,
    pub unit_of_measure: Option<String>,
    pub values: Option<Vec<VmPrice>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VmPrice {
    pub retail_price: Option<f64>,
    pub os_type: Option<String>,
    pub vm_tier: Option<String>,
}

/// What a node costs in an hour, as Azure estimates it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Price {
    pub amount: f64,
    /// `USD`.
    pub currency: String,
}

impl VmSize {
    /// Of a Linux node for an hour; `None` where Azure does not tell.
    pub fn hourly_price(&self, priority: Priority) -> Option<Price> {
        let prices = self.prices.as_ref()?;
        let hourly = prices.unit_of_measure.as_deref().unwrap_or("OneHour");
        let tiers: &[&str] = match priority {
            Priority::Dedicated => &["Standard"],
            Priority::LowPriority => &["LowPriority", "Spot"],
        };
        let of_tier = |tier: &&str| {
            prices.values.iter().flatten().find(|price| {
                price.os_type.as_deref() == Some("Linux") && price.vm_tier.as_deref() == Some(*tier)
            })
        };
        let amount = tiers.iter().find_map(of_tier)?.retail_price?;
        (hourly == "OneHour").then(|| Price {
            amount,
            currency: prices.billing_currency.clone().unwrap_or_default(),
        })
    }
}

/// A quota of the subscription in a region, and how much of it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// `Microsoft.MachineLearningServices/vmFamily/usages`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub current_value: Option<i64>,
    /// Less than nothing is no limit.
    pub limit: Option<i64>,
    pub name: UsageName,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UsageName {
    pub value: Option<String>,
    pub localized_value: Option<String>,
}

impl Usage {
    /// `vmFamily`, `dedicatedCores`, `lowPriorityCores`, `totalCores`.
    pub fn is_of(&self, kind: &str) -> bool {
        let mut parts = self.kind.as_deref().unwrap_or_default().rsplit('/');
        parts.next() == Some("usages")
            && parts
                .next()
                .is_some_and(|part| part.eq_ignore_ascii_case(kind))
    }

    /// The name that people know it by.
    pub fn title(&self) -> &str {
        let name = &self.name;
        let name = name.localized_value.as_ref().or(name.value.as_ref());
        name.map_or("a quota without a name", String::as_str)
    }

    /// How much is left; `None` where there is no limit, or Azure does not tell it.
    pub fn free(&self) -> Option<u64> {
        let limit = self.limit.filter(|limit| *limit >= 0)?;
        let free = limit.saturating_sub(self.current_value?);
        Some(u64::try_from(free).unwrap_or(0))
    }

    /// The row of a VM family: `standardDSv2Family` is `Standard DSv2 Family Cluster Dedicated vCPUs` there.
    pub fn of_family<'a>(usages: &'a [Self], family: &str) -> Option<&'a Self> {
        let wanted = letters_and_digits(family);
        let is_wanted = |name: &Option<String>| {
            name.as_deref()
                .and_then(|name| {
                    letters_and_digits(name)
                        .strip_prefix(&wanted)
                        .map(str::to_owned)
                })
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("cluster"))
        };
        usages.iter().find(|usage| {
            usage.is_of("vmFamily")
                && (is_wanted(&usage.name.value) || is_wanted(&usage.name.localized_value))
        })
    }

    /// Cores of all families together.
    pub fn of_all_families(usages: &[Self], priority: Priority) -> Option<&Self> {
        let kind = match priority {
            Priority::Dedicated => "dedicatedCores",
            Priority::LowPriority => "lowPriorityCores",
        };
        usages.iter().find(|usage| usage.is_of(kind))
    }

    /// How many pools there may be, whatever the kind's name says.
    pub fn of_clusters(usages: &[Self]) -> Option<&Self> {
        usages.iter().find(|usage| usage.is_of("totalCores"))
    }
}

fn letters_and_digits(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|character| character.to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As contract section 6 has it.
    fn ds3() -> VmSize {
        serde_json::from_value(json!({
            "name": "Standard_DS3_v2", "family": "standardDSv2Family", "vCPUs": 4, "gpus": 0,
            "lowPriorityCapable": true, "supportedComputeTypes": ["AmlCompute", "ComputeInstance", "MIR"],
            "estimatedVMPrices": {"billingCurrency": "USD", "unitOfMeasure": "OneHour", "values": [
                {"retailPrice": 0.55, "osType": "Windows", "vmTier": "Standard"},
                {"retailPrice": 0.06, "osType": "Linux", "vmTier": "Spot"},
                {"retailPrice": 0.29, "osType": "Linux", "vmTier": "Standard"},
            ]},
        }))
        .unwrap()
    }

    fn row(kind: &str, name: &str, used: i64, limit: i64) -> Usage {
        serde_json::from_value(json!({
            "id": "x", "unit": "Count", "currentValue": used, "limit": limit,
            "type": format!("Microsoft.MachineLearningServices/{kind}/usages"),
            "name": {"value": name, "localizedValue": name},
        }))
        .unwrap()
    }

    #[test]
    fn the_price_is_that_of_linux_in_the_tier_that_is_asked_for() {
        let amount = |priority| ds3().hourly_price(priority).map(|price| price.amount);
        assert_eq!(amount(Priority::Dedicated), Some(0.29));
        assert_eq!(amount(Priority::LowPriority), Some(0.06));
        assert_eq!(VmSize::default().hourly_price(Priority::Dedicated), None);
    }

    #[test]
    fn a_price_for_another_time_than_an_hour_is_none() {
        let mut size = ds3();
        size.prices.as_mut().unwrap().unit_of_measure = Some("OneSecond".into());
        assert_eq!(size.hourly_price(Priority::Dedicated), None);
    }

    #[test]
    fn rows_are_found_by_their_type_and_a_family_by_its_name_in_any_spelling() {
        let usages = [
            row("totalCores", "Clusters", 3, 500),
            row(
                "dedicatedCores",
                "Total Cluster Dedicated Regional vCPUs",
                8,
                100,
            ),
            row(
                "lowPriorityCores",
                "Total Cluster LowPriority Regional vCPUs",
                0,
                50,
            ),
            row(
                "vmFamily",
                "Standard DSv2 Promo Family Cluster Dedicated vCPUs",
                0,
                1,
            ),
            row(
                "vmFamily",
                "Standard DSv2 Family Cluster Dedicated vCPUs",
                2,
                24,
            ),
        ];
        let free = |usage: Option<&Usage>| usage.and_then(Usage::free);
        assert_eq!(
            free(Usage::of_family(&usages, "standardDSv2Family")),
            Some(22)
        );
        assert_eq!(
            free(Usage::of_family(&usages, "STANDARDDSV2FAMILY")),
            Some(22)
        );
        assert_eq!(free(Usage::of_family(&usages, "standardDSFamily")), None);
        assert_eq!(
            free(Usage::of_all_families(&usages, Priority::Dedicated)),
            Some(92)
        );
        assert_eq!(
            free(Usage::of_all_families(&usages, Priority::LowPriority)),
            Some(50)
        );
        assert_eq!(free(Usage::of_clusters(&usages)), Some(497));
    }

    #[test]
    fn what_has_no_limit_or_is_over_it_says_so() {
        assert_eq!(row("vmFamily", "F", 2, -1).free(), None);
        assert_eq!(row("vmFamily", "F", 9, 4).free(), Some(0));
        assert_eq!(Usage::default().free(), None);
    }
}
