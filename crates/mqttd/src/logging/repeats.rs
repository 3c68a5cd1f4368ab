//! A line that comes again and again is written once and counted: a log is not to be flooded by
//! whatever is stuck in a loop.

use mqttd_conf::LogType;

/// Seconds after which a line that goes on is written again.
const SILENCE_SECONDS: i64 = 10;

/// The last line, and how often it has come again since it was written.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    last: Option<(LogType, String)>,
    count: u64,
    /// When it was written, seconds since 1970.
    written: i64,
}

/// What to do with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is counted, not written.
    Counted,
    /// It is written; before it, if there is one, the summary of what was counted.
    Written(Option<(LogType, String)>),
}

impl Repeats {
    pub(super) fn judge(&mut self, log_type: LogType, words: &str, second: i64) -> Judgement {
        let same = self.last.as_ref().is_some_and(|(of, last)| *of == log_type && last == words);
        if same && second < self.written.saturating_add(SILENCE_SECONDS) {
            self.count += 1;
            return Judgement::Counted;
        }
        let summary = self.summary();
        match &mut self.last {
            Some((of, last)) => {
                *of = log_type;
                words.clone_into(last);
            }
            None => self.last = Some((log_type, words.to_owned())),
        }
        self.written = second;
        Judgement::Written(summary)
    }

    /// Another line stands between.
    pub(super) fn interrupt(&mut self) -> Option<(LogType, String)> {
        let summary = self.summary();
        self.last = None;
        summary
    }

    /// What is to be said of a line that has not come for a while.
    pub(super) fn settle(&mut self, second: i64) -> Option<(LogType, String)> {
        if second < self.written.saturating_add(SILENCE_SECONDS) {
            return None;
        }
        let summary = self.summary()?;
        self.last = None;
        Some(summary)
    }

    /// Whether a line has been counted and not yet spoken of.
    pub(super) fn holds_some(&self) -> bool {
        self.count > 0
    }

    fn summary(&mut self) -> Option<(LogType, String)> {
        let count = std::mem::take(&mut self.count);
        let (log_type, _) = self.last.as_ref().filter(|_| count > 0)?;
        let times = if count == 1 { "once" } else { &format!("{count} times") };
        Some((*log_type, format!("The last line came {times} more.")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: LogType = LogType::Notice;

    fn judge(repeats: &mut Repeats, words: &str, second: i64) -> Option<Option<String>> {
        match repeats.judge(KIND, words, second) {
            Judgement::Counted => None,
            Judgement::Written(summary) => Some(summary.map(|(_, words)| words)),
        }
    }

    #[test]
    fn what_comes_again_is_counted_and_told() {
        let mut repeats = Repeats::default();
        assert_eq!(judge(&mut repeats, "a", 100), Some(None));
        assert_eq!(judge(&mut repeats, "b", 100), Some(None));
        assert_eq!(judge(&mut repeats, "b", 101), None);
        let told = |text: &str| Some(Some(text.to_owned()));
        assert_eq!(judge(&mut repeats, "a", 102), told("The last line came once more."));
        for second in 103..112 {
            assert_eq!(judge(&mut repeats, "a", second), None);
        }
        assert_eq!(judge(&mut repeats, "a", 112), told("The last line came 9 times more."));
        assert_eq!(repeats.judge(LogType::Error, "a", 112), Judgement::Written(None));
    }

    #[test]
    fn silence_is_told_too() {
        let mut repeats = Repeats::default();
        assert_eq!(repeats.settle(100), None);
        judge(&mut repeats, "a", 100);
        assert_eq!(repeats.settle(200), None);
        judge(&mut repeats, "a", 300);
        judge(&mut repeats, "a", 301);
        assert_eq!(repeats.settle(309), None);
        assert_eq!(judge(&mut repeats, "a", 309), None);
        let told = repeats.settle(310);
        assert_eq!(told, Some((KIND, "The last line came 2 times more.".to_owned())));
        assert_eq!(repeats.settle(311), None);
        assert_eq!(judge(&mut repeats, "a", 311), Some(None));
    }
}
