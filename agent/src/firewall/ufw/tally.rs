//! What ufw's rules have counted, through the changes at which ufw empties its chains.
//! It changes nothing, and counts nothing where the kernel has other lines than ufw has written.

use std::collections::HashMap;

use super::files::UfwFiles;
use super::rule::{Family, UfwRule};
use crate::firewall::counts::Count;

/// What the rule is known by: its row, or what it matches.
type Key = (Family, String);

/// A line of a chain, in a file or in a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    chain: String,
    /// Which of its chain it is, from 0.
    number: usize,
}

/// What one rule has counted.
#[derive(Clone, Copy, Default, Debug)]
struct Counted {
    /// Before its chain was last emptied.
    before: Count,
    /// Since then, when it was last looked at.
    since: Count,
}

/// What all rules have counted as long as this process knows them.
#[derive(Default, Debug)]
pub(super) struct Tally(HashMap<Key, Counted>);

/// The lines that decide for each rule, in the order of [`super::rule::parse_rules`].
pub(super) fn parse_places(text: &str) -> Vec<Vec<Place>> {
    let mut of_rules: Vec<Vec<Place>> = Vec::new();
    let mut of_chains: HashMap<&str, usize> = HashMap::new();
    let mut is_of_rule = false;
    for line in text.lines() {
        if UfwRule::is_tuple(line) {
            is_of_rule = UfwRule::parse(line).is_some();
            if is_of_rule {
                of_rules.push(Vec::new());
            }
        }
        let Some((chain, rest)) = parse_line(line) else {
            continue;
        };
        let next = of_chains.entry(chain).or_default();
        let number = *next;
        *next += 1;
        // What only notes a packet lets the next line decide.
        let decides = target(rest).is_some_and(|target| !target.contains("-logging-"));
        if let Some(places) = of_rules.last_mut().filter(|_| is_of_rule && decides) {
            let chain = chain.to_owned();
            places.push(Place { chain, number });
        }
    }
    of_rules
}

/// A line of a chain with rules of people: the chain and the rest.
fn parse_line(line: &str) -> Option<(&str, &str)> {
    let (chain, rest) = line.strip_prefix("-A ")?.split_once(' ')?;
    let is_one = chain.ends_with("-user-input") || chain.ends_with("-user-output");
    is_one.then_some((chain, rest))
}

fn target(rest: &str) -> Option<&str> {
    rest.split_ascii_whitespace()
        .skip_while(|word| *word != "-j")
        .nth(1)
}

/// What `iptables -S -v` says that the lines of each chain have counted.
fn parse_counts(listing: &str) -> HashMap<&str, Vec<Count>> {
    let mut counts: HashMap<&str, Vec<Count>> = HashMap::new();
    for (chain, rest) in listing.lines().filter_map(parse_line) {
        counts.entry(chain).or_default().push(parse_count(rest));
    }
    counts
}

/// The counters stand behind all that a rule matches, comments included.
fn parse_count(rest: &str) -> Count {
    let read = || {
        let (_, counters) = rest
            .rsplit_once(" -c ")
            .or_else(|| rest.split_once("-c "))?;
        let mut words = counters.split_ascii_whitespace();
        let mut next = || words.next()?.parse().ok();
        Some(Count {
            packets: next()?,
            bytes: next()?,
        })
    };
    read().unwrap_or_default()
}

/// Reads any text as a listing of counters; gives how many lines have one.
pub(super) fn read_any(text: &str) -> usize {
    parse_counts(text).values().map(Vec::len).sum()
}

impl Tally {
    /// Takes what one version of IP has counted by now, as `iptables -S -v` lists it.
    pub(super) fn take(&mut self, family: Family, files: &UfwFiles, listing: &str) {
        let now = count_rules(family, files, listing);
        for (key, counted) in &mut self.0 {
            if key.0 == family && !now.contains_key(key) {
                counted.fold(Count::default());
            }
        }
        for (key, count) in now {
            self.0.entry(key).or_default().fold(count);
        }
    }

    /// Forgets rules that are no longer there.
    pub(super) fn keep_only(&mut self, files: &UfwFiles) {
        let is_there = |(family, name): &Key| {
            let rules = &files.state.rules[*family as usize];
            rules.iter().any(|rule| name_of(rule) == *name)
        };
        self.0.retain(|key, _| is_there(key));
    }

    /// How many rules are known.
    #[cfg(test)]
    pub(super) fn n_rules(&self) -> usize {
        self.0.len()
    }

    /// What a rule has counted; none when it was never seen in the kernel.
    pub(super) fn of(&self, family: Family, rule: &UfwRule) -> Option<Count> {
        let counted = self.0.get(&(family, name_of(rule)))?;
        Some(counted.before.plus(counted.since))
    }
}

impl Counted {
    /// A counter that went back was begun anew.
    fn fold(&mut self, now: Count) {
        if now.packets < self.since.packets || now.bytes < self.since.bytes {
            self.before = self.before.plus(self.since);
        }
        self.since = now;
    }
}

/// What each rule has counted since its chain was last emptied.
fn count_rules(family: Family, files: &UfwFiles, listing: &str) -> HashMap<Key, Count> {
    let counts = parse_counts(listing);
    let places = &files.places[family as usize];
    let mut now = HashMap::new();
    for (rule, places) in files.state.rules[family as usize].iter().zip(places) {
        let found = places
            .iter()
            .map(|place| counts.get(place.chain.as_str())?.get(place.number).copied());
        // Of a rule of which a line is missing nothing is known.
        let Some(found) = found.collect::<Option<Vec<_>>>() else {
            continue;
        };
        if found.is_empty() {
            continue;
        }
        let sum: &mut Count = now.entry((family, name_of(rule))).or_default();
        *sum = found.into_iter().fold(*sum, Count::plus);
    }
    now
}

fn name_of(rule: &UfwRule) -> String {
    rule.row()
        .map_or_else(|| rule.matches.clone(), |row| row.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::ufw::files;
    use proptest::prelude::*;

    const FILE: &str = "\
### RULES ###

### tuple ### allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 in_+ comment=686964
-A ufw-user-input -i + -p tcp --dport 80 -j ACCEPT

### tuple ### odd
-A ufw-user-input -j DROP

### tuple ### deny_log any 53 0.0.0.0/0 any 0.0.0.0/0 in
-A ufw-user-logging-input -p tcp --dport 53 -j RETURN
-A ufw-user-input -p tcp --dport 53 -j ufw-user-logging-input
-A ufw-user-input -p tcp --dport 53 -j DROP
-A ufw-user-input -p udp --dport 53 -j ufw-user-logging-input
-A ufw-user-input -p udp --dport 53 -j DROP

### tuple ### limit tcp 22 0.0.0.0/0 any 0.0.0.0/0 in
-A ufw-user-input -p tcp --dport 22 -m conntrack --ctstate NEW -m recent --set
-A ufw-user-input -p tcp --dport 22 -m recent --update -j ufw-user-limit
-A ufw-user-input -p tcp --dport 22 -j ufw-user-limit-accept

### tuple ### reject any any 0.0.0.0/0 any 0.0.0.0/0 out
-A ufw-user-output -o + -j REJECT
### END RULES ###
COMMIT
";

    /// A listing in which the lines of what comes in have counted these packets.
    fn listing(packets: [u64; 9], out: u64) -> String {
        let incoming = packets.iter().map(|n| {
            let bytes = n * 60;
            format!("-A ufw-user-input -m comment --comment \"-c 9 9\" -c {n} {bytes} -j X\n")
        });
        let head = "-P INPUT DROP -c 7 7\n-N ufw-user-input\n".to_owned();
        let tail = format!("-A ufw-user-output -c {out} {out} -j REJECT\n");
        head + &incoming.collect::<String>() + &tail
    }

    fn packets(tally: &Tally, files: &UfwFiles) -> Vec<Option<u64>> {
        let rules = files.state.rules[0].iter();
        let count = |rule| Some(tally.of(Family::Four, rule)?.packets);
        rules.map(count).collect()
    }

    #[test]
    fn a_rule_has_counted_what_its_deciding_lines_have() {
        let files = files::of_text(FILE);
        let mut tally = Tally::default();

        tally.take(
            Family::Four,
            &files,
            &listing([1, 99, 99, 2, 99, 3, 99, 4, 5], 6),
        );

        let counted = packets(&tally, &files);
        assert_eq!(counted, [Some(1), Some(5), Some(9), Some(6)]);
        let http = &files.state.rules[0][0];
        assert_eq!(tally.of(Family::Four, http).unwrap().bytes, 60);
        assert_eq!(tally.of(Family::Six, http), None);
    }

    #[test]
    fn what_was_counted_before_a_chain_was_emptied_is_not_forgotten() {
        let files = files::of_text(FILE);
        let mut tally = Tally::default();
        for n in [3, 5, 0, 1] {
            tally.take(Family::Four, &files, &listing([n; 9], n));
        }

        tally.take(Family::Four, &files, "");
        tally.keep_only(&files);
        assert_eq!(packets(&tally, &files)[0], Some(6));

        tally.keep_only(&files::of_text(""));
        assert_eq!(packets(&tally, &files)[0], None);
    }

    proptest! {
        #[test]
        fn any_listing_is_counted_or_passed_over(listing in "(-A ufw-user-input )?[ -~\n]{0,200}") {
            Tally::default().take(Family::Four, &files::of_text(FILE), &listing);
            parse_places(&listing);
        }
    }
}
