//! What a refusal for want of cores says, and what Azure's usages say to it (contract sections 3 and 6).

use std::fmt;

use crate::reconcile::Usage;

/// Azure's own words in a refusal: `has a Standard DSv2 family vCPU quota of 6 and cannot accomodate for at least 1
/// requested managed compute nodes which maps to 8 vCPUs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// `Standard DSv2 family`, or `total` for that of all families.
    family: String,
    limit: u64,
    /// Cores that are needed at least, where it is told.
    need: Option<u64>,
}

const QUOTA_OF: &str = " vCPU quota of ";

impl Shortage {
    /// Reads the message; `None` where it tells no quota of cores.
    pub fn read(message: &str) -> Option<Self> {
        let (before, after) = message.split_once(QUOTA_OF)?;
        let (_, family) = before
            .rsplit_once(" has a ")
            .or_else(|| before.rsplit_once("has a "))?;
        let need = after
            .split_once(" maps to ")
            .and_then(|(_, need)| leading_number(need));
        Some(Self {
            family: family.to_owned(),
            limit: leading_number(after)?,
            need,
        })
    }

    fn row<'a>(&self, usages: &'a [Usage]) -> Option<&'a Usage> {
        let family = self.family.to_ascii_lowercase();
        usages.iter().find(|usage| {
            if family == "total" {
                usage.is_of("dedicatedCores")
            } else {
                usage.title().to_ascii_lowercase().starts_with(&family)
            }
        })
    }

    /// Cores of the quota that nobody uses.
    pub fn free(&self, usages: &[Usage]) -> Option<u64> {
        self.row(usages)?.free()
    }

    /// So many free cores are enough, as far as Azure said what is needed.
    pub fn is_met_by(&self, free: u64) -> bool {
        self.need.is_some_and(|need| need <= free)
    }

    /// Family, need, use and limit in a line.
    pub fn told<'a>(&'a self, usages: &'a [Usage]) -> impl fmt::Display + 'a {
        Told {
            shortage: self,
            usages,
        }
    }
}

struct Told<'a> {
    shortage: &'a Shortage,
    usages: &'a [Usage],
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortage {
            family,
            limit,
            need,
        } = self.shortage;
        write!(f, "quota {family} vCPUs: ")?;
        if let Some(need) = need {
            write!(f, "{need} needed, ")?;
        }
        match self.shortage.row(self.usages) {
            Some(Usage {
                current_value: Some(used),
                limit: Some(limit),
                ..
            }) => write!(f, "{used} of {limit} in use"),
            _ => write!(f, "the limit is {limit}"),
        }
    }
}

fn leading_number(text: &str) -> Option<u64> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn usages() -> Vec<Usage> {
        [
            ("vmFamily", "Standard DSv2 Family Cluster Dedicated vCPUs", 4, 6),
            ("dedicatedCores", "Total Cluster Dedicated Regional vCPUs", 10, 100),
        ]
        .map(|(kind, name, used, limit)| {
            let row = json!({"type": format!("Microsoft.MachineLearningServices/{kind}/usages"),
                             "currentValue": used, "limit": limit, "name": {"value": name, "localizedValue": name}});
            serde_json::from_value(row).unwrap()
        })
        .to_vec()
    }

    #[test]
    fn azures_refusals_tell_family_limit_and_need_and_the_usages_the_rest() {
        for (message, told) in [
            (
                "The specified subscription has a Standard DSv2 family vCPU quota of 6 and cannot accomodate for at least 1 requested managed compute nodes which maps to 8 vCPUs.",
                "quota Standard DSv2 family vCPUs: 8 needed, 4 of 6 in use",
            ),
            (
                "The specified subscription has a total vCPU quota of 0 and cannot accomodate for at least 1",
                "quota total vCPUs: 10 of 100 in use",
            ),
            (
                "it has a Standard NC family vCPU quota of 2 and is less than the requested job node count of 2 which maps to 4 vCPUs",
                "quota Standard NC family vCPUs: 4 needed, the limit is 2",
            ),
        ] {
            let shortage = Shortage::read(message).unwrap();
            assert_eq!(shortage.told(&usages()).to_string(), told);
        }
        assert_eq!(
            Shortage::read("Operation results in exceeding quota limits of Microsoft.Batchlusters"),
            None
        );
    }

    #[test]
    fn there_is_room_when_as_much_is_free_as_azure_said_is_needed() {
        let shortage = |need| Shortage {
            family: "Standard DSv2 family".to_owned(),
            limit: 6,
            need,
        };
        let free = shortage(None).free(&usages()).unwrap();
        assert_eq!(free, 2);
        assert!(shortage(Some(2)).is_met_by(free));
        assert!(!shortage(Some(3)).is_met_by(free));
        assert!(!shortage(None).is_met_by(free));
    }
}
