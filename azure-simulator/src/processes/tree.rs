//! Which processes belong to a run, read from `/proc`.

use std::collections::HashMap;

/// Parents and children of the machine's processes, zombies left out.
#[derive(Debug, Default)]
pub(crate) struct ProcessTree {
    children: HashMap<u32, Vec<u32>>,
}

impl ProcessTree {
    pub(crate) fn read() -> Self {
        let mut tree = Self::default();
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return tree;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            // The command's name, in brackets, may hold anything.
            let Some((_, rest)) = stat.rsplit_once(')') else {
                continue;
            };
            let mut fields = rest.split_whitespace();
            let state = fields.next();
            if let Some(parent) = fields.next().and_then(|parent| parent.parse().ok())
                && state != Some("Z")
            {
                tree.children.entry(parent).or_default().push(pid);
            }
        }
        tree
    }

    /// Everything below `root`, without it.
    pub(crate) fn below(&self, root: u32) -> Vec<u32> {
        let mut found = Vec::new();
        let mut pending = vec![root];
        while let Some(parent) = pending.pop() {
            for child in self.children.get(&parent).into_iter().flatten() {
                found.push(*child);
                pending.push(*child);
            }
        }
        found.sort_unstable();
        found
    }
}
