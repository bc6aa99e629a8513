//! `GET locations/{loc}/vmSizes` (contract section 6).

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arm::error::ArmError;
use crate::arm::request::{ArmRequest, Verb};
use crate::azure::Transaction;
use crate::kinds::Kind;
use crate::world::World;

pub(crate) struct VmSizes;

impl Kind for VmSizes {
    fn resource_type(&self) -> &'static str {
        "Microsoft.MachineLearningServices/locations/vmSizes"
    }

    fn query_parameters(&self, _: &Verb) -> &'static [&'static str] {
        &[]
    }

    fn list(&self, transaction: &mut Transaction<'_>, _: &ArmRequest) -> Result<Answer, ArmError> {
        let sizes = all(&transaction.settings.world);
        Ok(Answer::ok(json!({"value": sizes})))
    }
}

/// Sizes of the D, DS, E and F families: name, family, cores, memory in GB, temporary disk in MB,
/// price of an hour on Linux in USD (East US, pay as you go).
const SIZES: &[(&str, &str, u64, f64, u64, f64)] = &[
    ("Standard_DS1_v2", "standardDSv2Family", 1, 3.5, 7168, 0.073),
    (
        "Standard_DS2_v2",
        "standardDSv2Family",
        2,
        7.0,
        14336,
        0.146,
    ),
    (
        "Standard_DS3_v2",
        "standardDSv2Family",
        4,
        14.0,
        28672,
        0.293,
    ),
    (
        "Standard_DS4_v2",
        "standardDSv2Family",
        8,
        28.0,
        57344,
        0.585,
    ),
    (
        "Standard_DS5_v2",
        "standardDSv2Family",
        16,
        56.0,
        114_688,
        1.17,
    ),
    (
        "Standard_DS11_v2",
        "standardDSv2Family",
        2,
        14.0,
        28672,
        0.185,
    ),
    (
        "Standard_DS12_v2",
        "standardDSv2Family",
        4,
        28.0,
        57344,
        0.371,
    ),
    (
        "Standard_DS13_v2",
        "standardDSv2Family",
        8,
        56.0,
        114_688,
        0.741,
    ),
    (
        "Standard_DS14_v2",
        "standardDSv2Family",
        16,
        112.0,
        229_376,
        1.482,
    ),
    (
        "Standard_D2s_v3",
        "standardDSv3Family",
        2,
        8.0,
        16384,
        0.096,
    ),
    (
        "Standard_D4s_v3",
        "standardDSv3Family",
        4,
        16.0,
        32768,
        0.192,
    ),
    (
        "Standard_D8s_v3",
        "standardDSv3Family",
        8,
        32.0,
        65536,
        0.384,
    ),
    (
        "Standard_D16s_v3",
        "standardDSv3Family",
        16,
        64.0,
        131_072,
        0.768,
    ),
    (
        "Standard_D32s_v3",
        "standardDSv3Family",
        32,
        128.0,
        262_144,
        1.536,
    ),
    (
        "Standard_E2s_v3",
        "standardESv3Family",
        2,
        16.0,
        32768,
        0.126,
    ),
    (
        "Standard_E4s_v3",
        "standardESv3Family",
        4,
        32.0,
        65536,
        0.252,
    ),
    (
        "Standard_E8s_v3",
        "standardESv3Family",
        8,
        64.0,
        131_072,
        0.504,
    ),
    (
        "Standard_E16s_v3",
        "standardESv3Family",
        16,
        128.0,
        262_144,
        1.008,
    ),
    (
        "Standard_F4s_v2",
        "standardFSv2Family",
        4,
        8.0,
        32768,
        0.169,
    ),
    (
        "Standard_F8s_v2",
        "standardFSv2Family",
        8,
        16.0,
        65536,
        0.338,
    ),
    (
        "Standard_F16s_v2",
        "standardFSv2Family",
        16,
        32.0,
        131_072,
        0.677,
    ),
];

/// The world's sizes.
pub(crate) fn all(world: &World) -> Vec<Value> {
    if let Some(sizes) = &world.vm_sizes {
        return sizes.clone();
    }
    SIZES
        .iter()
        .map(|(name, family, cores, memory, disk, price)| {
            let tier = |tier: &str, share: f64| {
                json!({"retailPrice": (price * share * 1000.0).round() / 1000.0,
                       "osType": "Linux", "vmTier": tier})
            };
            json!({
                "name": name,
                "family": family,
                "vCPUs": cores,
                "gpus": 0,
                "osVhdSizeMB": 1_047_552,
                "maxResourceVolumeMB": disk,
                "memoryGB": memory,
                "lowPriorityCapable": true,
                "premiumIO": true,
                "estimatedVMPrices": {
                    "billingCurrency": "USD",
                    "unitOfMeasure": "OneHour",
                    "values": [tier("Standard", 1.0), tier("LowPriority", 0.2)],
                },
                "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
            })
        })
        .collect()
}

/// USD for an hour of a size on Linux.
pub(crate) fn hourly_price(size: &Value, low_priority: bool) -> f64 {
    let tiers: &[&str] = if low_priority {
        &["LowPriority", "Spot"]
    } else {
        &["Standard"]
    };
    let prices = size["estimatedVMPrices"]["values"].as_array();
    let price = prices.into_iter().flatten().find(|price| {
        price["osType"] == "Linux" && tiers.iter().any(|tier| price["vmTier"] == *tier)
    });
    price.map_or(0.0, |price| {
        price["retailPrice"].as_f64().unwrap_or_default()
    })
}

/// A size of the world, by its name in any casing.
pub(crate) fn find(world: &World, name: &str) -> Option<Value> {
    all(world).into_iter().find(|size| {
        size["name"]
            .as_str()
            .is_some_and(|known| known.eq_ignore_ascii_case(name))
    })
}
