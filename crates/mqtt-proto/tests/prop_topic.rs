//! The topic trees against the plain matcher: random filters and names come, go and are asked
//! for; cursors stay open across changes; extremes of depth and length.
//!
//! `cargo test --release --test prop_topic -- --ignored --nocapture` prints memory and cost.

mod seed;

use fastrand::Rng;
use mqtt_proto::topic::{
    Cursor, FilterPrints, FilterTrie, LEVELS_MAX, NameTree, TOPIC_BYTES_MAX, TopicError,
    TopicFilter, TopicName,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use seed::Seed;

const LEVELS: &[&str] =
    &["", "a", "b", "ab", "$", "$SYS", "ä", "exactly-22-bytes-long!", "one-more-than-22-bytes!"];

/// Few different levels and little depth, so that names and filters meet often.
fn random_name(rng: &mut Rng) -> String {
    loop {
        let depth = 1 + rng.usize(..5);
        let name =
            (0..depth).map(|_| LEVELS[rng.usize(..LEVELS.len())]).collect::<Vec<_>>().join("/");
        if TopicName::new(&name).is_ok() {
            return name;
        }
    }
}

fn random_filter(rng: &mut Rng) -> String {
    let name = random_name(rng);
    let mut levels: Vec<&str> = name.split('/').collect();
    for level in &mut levels {
        if rng.usize(..3) == 0 {
            *level = "+";
        }
    }
    if rng.usize(..3) == 0 {
        levels.pop();
        levels.push("#");
    }
    levels.join("/")
}

fn matches(filter: &str, name: &str) -> bool {
    TopicFilter::new(filter).unwrap().matches(TopicName::new(name).unwrap())
}

/// A second opinion on the plain matcher: by recursion over the text, written from the standard.
fn matches_by_recursion(filter: &str, name: &str) -> bool {
    fn rest(filter: Option<&str>, name: Option<&str>) -> bool {
        let (filter, name) = match (filter, name) {
            (None, None) | (Some("#"), _) => return true,
            (Some(filter), Some(name)) => (filter, name),
            _ => return false,
        };
        let cut = |text: &'_ str| match text.find('/') {
            Some(at) => (text[..at].to_owned(), Some(text[at + 1..].to_owned())),
            None => (text.to_owned(), None),
        };
        let ((wanted, filter), (level, name)) = (cut(filter), cut(name));
        (wanted == "+" || wanted == level) && rest(filter.as_deref(), name.as_deref())
    }
    let barred = name.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#'));
    !barred && rest(Some(filter), Some(name))
}

#[test]
fn the_oracle_against_a_second_opinion() {
    for seed in 0..20 {
        let _seed = Seed(seed);
        let mut rng = Rng::with_seed(seed);
        let mut hits = 0;
        for _ in 0..10_000 {
            let (filter, name) = (random_filter(&mut rng), random_name(&mut rng));
            let expected = matches_by_recursion(&filter, &name);
            assert_eq!(matches(&filter, &name), expected, "{filter} against {name}");
            hits += usize::from(expected);
        }
        assert!((300..9_700).contains(&hits), "{hits} hits say little");
    }
}

#[test]
fn trie_against_the_oracle() {
    for seed in 0..12 {
        let _seed = Seed(seed);
        let mut rng = Rng::with_seed(seed);
        let mut trie = FilterTrie::new(seed);
        let mut model = BTreeMap::<String, u32>::new();
        let crowd = [5, 100, 2_000][rng.usize(..3)];
        let mut generation = 0;
        for step in 0..4_000 {
            let filter = random_filter(&mut rng);
            if rng.usize(..crowd) >= model.len() {
                let new = !model.contains_key(&filter);
                generation += u64::from(new);
                let value = *model.entry(filter.clone()).or_insert(step);
                assert_eq!(*trie.get_or_insert_with(&filter, || step), value);
            } else if rng.usize(..2) == 0 {
                let removed = model.remove(&filter);
                generation += u64::from(removed.is_some());
                assert_eq!(trie.remove(&filter), removed);
            } else {
                let some = model.keys().nth(rng.usize(..model.len())).unwrap().clone();
                generation += 1;
                assert_eq!(trie.remove(&some), model.remove(&some));
            }
            assert_eq!((trie.len(), trie.generation()), (model.len(), generation));
            assert_eq!(trie.is_empty(), model.is_empty());
            assert_eq!(trie.get(&filter), model.get(&filter));
            assert_eq!(trie.get_mut(&filter), model.get_mut(&filter));
            let name = random_name(&mut rng);
            let mut found = Vec::new();
            trie.visit(&name, |value| found.push(*value));
            found.sort_unstable();
            let hits = model.iter().filter(|(filter, _)| matches(filter, &name));
            let mut expected: Vec<u32> = hits.map(|(_, value)| *value).collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{name}");
        }
        let mut all = BTreeMap::new();
        trie.for_each(|filter, value| assert_eq!(all.insert(filter.to_owned(), *value), None));
        assert_eq!(all, model);
        for filter in model.keys() {
            assert!(trie.remove(filter).is_some());
        }
        let nothing_left = trie.heap_bytes();
        assert!(nothing_left <= 64 * 64 + 8_192, "{nothing_left} bytes");
        trie.visit("a", |_| panic!("the trie is empty"));
    }
}

#[test]
fn fingerprints_against_the_oracle() {
    for seed in 0..12 {
        let _seed = Seed(seed);
        let mut rng = Rng::with_seed(seed);
        let mut prints = FilterPrints::new(seed, 4);
        let mut model = BTreeSet::<(String, u8)>::new();
        let crowd = [5, 100, 2_000][rng.usize(..3)];
        let mut refused = 0;
        for _ in 0..4_000 {
            let one = (random_filter(&mut rng), rng.u8(..4));
            if rng.usize(..crowd) >= model.len() {
                if !model.contains(&one) {
                    if prints.insert(&one.0, one.1) {
                        model.insert(one);
                    } else {
                        refused += 1;
                    }
                }
            } else {
                let some = model.iter().nth(rng.usize(..model.len())).unwrap().clone();
                for (filter, tag) in [one, some] {
                    let is_known = model.remove(&(filter.clone(), tag));
                    assert_eq!(prints.remove(&filter, tag), is_known, "{filter}");
                }
            }
            let name = random_name(&mut rng);
            let mut found = Vec::new();
            prints.visit(&name, |tag| found.push(tag));
            found.sort_unstable();
            let hits = model.iter().filter(|(filter, _)| matches(filter, &name));
            let mut expected: Vec<u8> = hits.map(|(_, tag)| *tag).collect();
            expected.sort_unstable();
            // So few filters that none is found by chance.
            assert_eq!(found, expected, "{name}");
        }
        assert!(refused < 2_000, "{refused} say little");
        for (filter, tag) in &model {
            assert!(prints.remove(filter, *tag));
        }
        prints.visit("a", |_| panic!("nothing is left"));
    }
}

/// An open cursor and what the model knows of it.
struct Walk {
    filter: String,
    cursor: Cursor,
    /// Matching names that were there from the opening on.
    constant: BTreeSet<String>,
    /// Matching names that were there at any time since.
    possible: BTreeSet<String>,
    found: BTreeSet<String>,
}

impl Walk {
    fn open(tree: &mut NameTree<u32>, model: &BTreeMap<String, u32>, filter: String) -> Self {
        let cursor = tree.cursor(&filter);
        let hits = model.keys().filter(|name| matches(&filter, name));
        let constant: BTreeSet<String> = hits.cloned().collect();
        let possible = constant.clone();
        Self { filter, cursor, constant, possible, found: BTreeSet::new() }
    }

    fn advance(&mut self, tree: &NameTree<u32>, model: &BTreeMap<String, u32>, max: usize) -> bool {
        let mut seen = 0;
        let done = tree.advance(&mut self.cursor, max, |name, value| {
            seen += 1;
            assert_eq!(model.get(name), Some(value), "{name} as it is now");
            assert!(self.found.insert(name.to_owned()), "{name} was found twice");
        });
        assert!(seen <= max);
        assert!(self.found.is_subset(&self.possible), "{}", self.filter);
        done
    }

    fn close(self, tree: &mut NameTree<u32>, finished: bool) {
        let missed: Vec<_> = self.constant.difference(&self.found).collect();
        assert!(!finished || missed.is_empty(), "{} missed {missed:?}", self.filter);
        tree.close(self.cursor);
    }
}

#[test]
fn tree_and_its_cursors_against_the_oracle() {
    for seed in 0..12 {
        let _seed = Seed(seed);
        let mut rng = Rng::with_seed(seed);
        let mut tree = NameTree::new(seed);
        let mut model = BTreeMap::<String, u32>::new();
        let mut walks: Vec<Walk> = Vec::new();
        let crowd = [5, 100, 1_000][rng.usize(..3)];
        for step in 0..20_000 {
            let name = random_name(&mut rng);
            match rng.usize(..10) {
                0..=3 if rng.usize(..crowd) >= model.len() => {
                    assert_eq!(tree.insert(&name, step), model.insert(name.clone(), step));
                    for walk in walks.iter_mut().filter(|walk| matches(&walk.filter, &name)) {
                        walk.possible.insert(name.clone());
                    }
                }
                0..=5 if !model.is_empty() => {
                    let some = model.keys().nth(rng.usize(..model.len())).unwrap().clone();
                    let gone = if rng.usize(..3) == 0 { name } else { some };
                    assert_eq!(tree.remove(&gone), model.remove(&gone));
                    for walk in &mut walks {
                        walk.constant.remove(&gone);
                    }
                }
                6 if walks.len() < 4 => {
                    walks.push(Walk::open(&mut tree, &model, random_filter(&mut rng)));
                }
                7..=8 if !walks.is_empty() => {
                    let at = rng.usize(..walks.len());
                    if walks[at].advance(&tree, &model, 1 + rng.usize(..20)) {
                        walks.swap_remove(at).close(&mut tree, true);
                    }
                }
                9 if !walks.is_empty() && rng.usize(..20) == 0 => {
                    walks.swap_remove(rng.usize(..walks.len())).close(&mut tree, false);
                }
                _ => {
                    assert_eq!(tree.get(&name), model.get(&name));
                    assert_eq!(tree.get_mut(&name), model.get_mut(&name));
                }
            }
            assert_eq!((tree.len(), tree.is_empty()), (model.len(), model.is_empty()));
        }
        for mut walk in walks {
            while !walk.advance(&tree, &model, 7) {}
            walk.close(&mut tree, true);
        }
        let mut all = BTreeMap::new();
        tree.for_each(|name, value| assert_eq!(all.insert(name.to_owned(), *value), None));
        assert_eq!(all, model);
        for name in model.keys() {
            assert!(tree.remove(name).is_some());
        }
        let nothing_left = tree.heap_bytes();
        assert!(nothing_left <= 64 * 64 + 8_192, "{nothing_left} bytes");
    }
}

fn answers(tree: &mut NameTree<u32>, filter: &str) -> Vec<String> {
    let mut cursor = tree.cursor(filter);
    let mut found = Vec::new();
    while !tree.advance(&mut cursor, 3, |name, _| found.push(name.to_owned())) {}
    tree.close(cursor);
    found
}

#[test]
fn the_deepest_and_the_longest() {
    let deepest = vec!["x"; LEVELS_MAX].join("/");
    let longest = "y".repeat(TOPIC_BYTES_MAX);
    let widest = format!("{}/{}", "ü".repeat(TOPIC_BYTES_MAX / 4), "z".repeat(TOPIC_BYTES_MAX / 2));
    let all_plus = vec!["+"; LEVELS_MAX].join("/");
    let (mut trie, mut tree) = (FilterTrie::new(1), NameTree::new(1));
    for (n, text) in [&deepest, &longest, &widest].into_iter().enumerate() {
        assert!(TopicName::new(text).is_ok() && TopicFilter::new(text).is_ok());
        trie.get_or_insert_with(text, || n as u32);
        assert_eq!(tree.insert(text, n as u32), None);
    }
    assert!(TopicFilter::new(&all_plus).is_ok());
    trie.get_or_insert_with(&all_plus, || 9);
    for (name, expected) in [(&deepest, &[0, 9][..]), (&longest, &[1]), (&widest, &[2])] {
        let mut found = Vec::new();
        trie.visit(name, |value| found.push(*value));
        found.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(answers(&mut tree, name), [name.as_str()]);
    }
    assert_eq!(answers(&mut tree, &all_plus), [deepest.as_str()]);
    assert_eq!(answers(&mut tree, "#").len(), 3);
    assert_eq!(answers(&mut tree, "+/+"), [widest.as_str()]);
    assert_eq!(TopicName::new(&format!("{deepest}/x")), Err(TopicError::TooManyLevels));
    assert_eq!(TopicFilter::new(&format!("{longest}y")), Err(TopicError::TooLong));
    assert_eq!((tree.remove(&deepest), trie.remove(&deepest)), (Some(0), Some(0)));
    assert_eq!(trie.get(&all_plus), Some(&9));
}

/// All mixtures of a literal and `+` over 12 levels: 4,096 filters, of which a visit sees each
/// once, and no more nodes than there are.
#[test]
fn every_branch_of_a_full_binary_trie() {
    let mut trie = FilterTrie::new(1);
    for bits in 0..1_u32 << 12 {
        let levels: Vec<_> =
            (0..12).map(|level| if bits >> level & 1 == 0 { "x" } else { "+" }).collect();
        trie.get_or_insert_with(&levels.join("/"), || bits);
    }
    let mut found = Vec::new();
    trie.visit(&["x"; 12].join("/"), |bits| found.push(*bits));
    found.sort_unstable();
    assert!(found.into_iter().eq(0..1 << 12));
}

/// Neither tree trusts its caller to have checked the text.
#[test]
fn unchecked_text_does_no_harm() {
    let deep = "/".repeat(100_000);
    let wild = "+/".repeat(100_000);
    let (mut trie, mut tree) = (FilterTrie::new(1), NameTree::new(1));
    for text in ["", "#/a", "a#", "+", "a\0", &deep, &wild] {
        trie.get_or_insert_with(text, || 1);
        assert_eq!(tree.insert(text, 1), None);
    }
    for text in ["", "#", "+/#", "a/#/b", &deep, &wild] {
        trie.visit(text, |value| assert_eq!(*value, 1));
        answers(&mut tree, text);
    }
    for text in ["", "#/a", "a#", "+", "a\0", &deep, &wild] {
        assert_eq!((trie.remove(text), tree.remove(text)), (Some(1), Some(1)));
    }
}

fn device_filter(n: u32) -> String {
    format!("site/{}/device-{n:07}/state", n % 100)
}

#[test]
#[ignore = "prints a measurement"]
fn memory_per_filter() {
    for count in [10_000, 100_000, 1_000_000, 1_060_000] {
        let (mut flat, mut deep) = (FilterTrie::new(1), FilterTrie::new(1));
        for n in 0..count {
            flat.get_or_insert_with(&format!("device/{n:07}"), || n);
            deep.get_or_insert_with(&device_filter(n), || n);
        }
        let per_filter = |trie: &FilterTrie<u32>| trie.heap_bytes() as f64 / f64::from(count);
        let (flat, deep) = (per_filter(&flat), per_filter(&deep));
        println!("{count:>9} filters: {flat:6.1} B with one own node, {deep:6.1} B with two");
        assert!(flat <= 120.0, "{flat} bytes per filter with one own node");
    }
}

#[test]
#[ignore = "prints a measurement"]
fn cost_of_a_visit() {
    const VISITS: u32 = 1_000_000;
    for count in [100, 10_000, 1_000_000] {
        let mut trie = FilterTrie::new(1);
        for n in 0..count {
            trie.get_or_insert_with(&device_filter(n), || n);
        }
        trie.get_or_insert_with("site/+/+/alarm", || 0);
        trie.get_or_insert_with("#", || 0);
        let mut rng = Rng::with_seed(1);
        for (kind, among) in [("the same 100 names", 100), ("names among all", count)] {
            let names: Vec<String> =
                (0..1_000).map(|_| device_filter(rng.usize(..among as usize) as u32)).collect();
            let start = Instant::now();
            let mut found = 0_u32;
            for n in 0..VISITS {
                trie.visit(&names[n as usize % names.len()], |_| found += 1);
            }
            let nanos = start.elapsed().as_nanos() as f64 / f64::from(VISITS);
            println!("{count:>9} filters, {kind}: {nanos:6.1} ns a visit");
            assert_eq!(found, 2 * VISITS);
        }
    }
}
