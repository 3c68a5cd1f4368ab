//! Filters put into and taken out of a `FilterTrie`, names matched against it, each compared with
//! asking every filter by itself. Input: lines; the first character says what to do with the rest.

use std::collections::BTreeSet;

use mqtt_proto::topic::{FilterTrie, TopicFilter, TopicName};

/// See the file's head. What is no text says nothing.
pub fn trie(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    let mut trie = FilterTrie::new(1);
    let mut model = BTreeSet::new();
    for line in data.lines() {
        let mut characters = line.chars();
        let Some(what) = characters.next() else { continue };
        let text = characters.as_str();
        match what {
            '-' => assert_eq!(trie.remove(text).is_some(), model.remove(text)),
            '+' if TopicFilter::new(text).is_ok() => {
                trie.get_or_insert_with(text, || text.to_owned());
                model.insert(text.to_owned());
            }
            _ => {
                let Ok(name) = TopicName::new(text) else { continue };
                let mut found = Vec::new();
                trie.visit(text, |filter| found.push(filter.clone()));
                found.sort();
                let wanted = model.iter().filter(|it| TopicFilter::new(it).unwrap().matches(name));
                assert!(found.iter().eq(wanted), "{text}: {found:?}");
            }
        }
        assert_eq!(trie.len(), model.len());
    }
}
