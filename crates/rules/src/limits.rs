//! How much memory and time matching may take, with the reason for each number.
//! It never enforces them; windows and the engine do.

/// Bounds of an engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most windows of one rule in one scope: an agent under attack from more sources than this at
    /// once loses the longest idle one, and no other agent's.
    pub groups_per_scope: usize,
    /// Most windows of one rule in all scopes together; some 200 bytes each when small.
    pub groups_per_rule: usize,
    /// Most entries of one window; a window whose condition asks for more keeps as many as that.
    pub entries_per_group: usize,
    /// Most entries of all windows of one rule together; 8 bytes each for times, some 100 with
    /// the value where values are counted.
    pub entries_per_rule: usize,
    /// Most windows of all rules and scopes together; the rule that has most gives one up.
    pub groups_in_all: usize,
    /// Most entries of all windows together; the rule that has most gives a window up.
    pub entries_in_all: usize,
    /// Longest excerpt of a value in a match, in characters.
    pub excerpt_chars: usize,
    /// Most values quoted in a match.
    pub excerpts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            groups_per_scope: 2_048,
            groups_per_rule: 65_536,
            entries_per_group: 1_024,
            entries_per_rule: 1_000_000,
            groups_in_all: 262_144,
            entries_in_all: 4_000_000,
            excerpt_chars: 256,
            excerpts: 16,
        }
    }
}
