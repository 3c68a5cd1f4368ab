//! What a configuration of Mosquitto becomes: for every line, whether it means the same here, and
//! why not. Judged by the rows and by a whole load, so that it cannot differ from a start.

use std::path::Path;

use crate::directive::{Scope, Status};
use crate::directives::find;
use crate::error::{ConfError, WarningKind};
use crate::line::Place;
use crate::load::read_all;
use crate::source::Source;

/// What a line means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What it means to Mosquitto.
    Same,
    /// Something to know: it is taken in another form or with a remark.
    Mapped(String),
    /// It has no effect.
    Ignored(String),
    /// The broker does not start with it.
    Refused(String),
}

/// A line that holds a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedLine {
    /// Where it stands.
    pub place: Place,
    /// The line, without white space around it; secrets are left out.
    pub text: String,
    /// What it means here.
    pub verdict: Verdict,
}

/// A whole configuration, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Every line of the main file and of the included ones, in the order they are read.
    pub lines: Vec<JudgedLine>,
    /// Mistakes that belong to no line, such as a file that cannot be read.
    pub others: Vec<ConfError>,
}

impl Migration {
    /// Judges the configuration in the file `path`.
    pub fn of(source: &(impl Source + ?Sized), path: &Path) -> Migration {
        let (seen, report) = read_all(source, path);
        let judge = |(place, name, value): &(Place, String, String)| {
            let errors: Vec<String> = report
                .errors
                .iter()
                .filter(|error| error.place == *place)
                .map(|error| match &error.cure {
                    Some(cure) => format!("{}; {cure}", error.kind),
                    None => error.kind.to_string(),
                })
                .collect();
            let remarks = report.warnings.iter().filter(|it| it.place == *place).map(|it| &it.kind);
            let verdict = match errors.is_empty() {
                false => Verdict::Refused(errors.join("; ")),
                true => judge_valid(name, value, remarks),
            };
            let is_secret = find(name).is_some_and(|row| row.is_secret);
            let value = if is_secret { "***" } else { value.as_str() };
            JudgedLine { place: place.clone(), text: format!("{name} {value}"), verdict }
        };
        let lines: Vec<JudgedLine> = seen.iter().map(judge).collect();
        let is_elsewhere = |error: &ConfError| seen.iter().all(|(place, ..)| *place != error.place);
        let others = report.errors.iter().filter(|it| is_elsewhere(it)).cloned().collect();
        Migration { lines, others }
    }

    /// Whether the broker would start with it.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        let is_refused = |line: &JudgedLine| matches!(line.verdict, Verdict::Refused(_));
        self.others.is_empty() && !self.lines.iter().any(is_refused)
    }
}

/// A line without a mistake.
fn judge_valid<'w>(
    name: &str,
    value: &str,
    remarks: impl Iterator<Item = &'w WarningKind>,
) -> Verdict {
    let mut mapped = Vec::new();
    let bridges_work = find("connection").is_some_and(|row| row.status == Status::Works);
    let is_of_bridge = find(name).is_some_and(|row| row.scope() == Scope::Bridge);
    if !bridges_work && (is_of_bridge || name == "connection") {
        return Verdict::Ignored("bridges have no effect yet".into());
    }
    for remark in remarks {
        match remark {
            WarningKind::Unnecessary { why, .. } => return Verdict::Ignored((*why).to_owned()),
            WarningKind::Planned { .. } => return Verdict::Ignored("it has no effect yet".into()),
            other => mapped.push(other.to_string()),
        }
    }
    let Some(row) = find(name) else { return Verdict::Same };
    let is_alias = row.aliases.contains(&name) && row.prefix().is_none();
    if is_alias {
        mapped.insert(0, format!("the name here is `{} {value}`", row.name));
    }
    if mapped.is_empty() { Verdict::Same } else { Verdict::Mapped(mapped.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    #[test]
    fn each_line_is_judged_in_the_order_of_reading() {
        let files =
            Memory::default().with("/m", TEXT).with("/d/a.conf", "max_inflight_messages 5 # few\n");
        let migration = Migration::of(&files, Path::new("/m"));
        let said: Vec<_> = migration
            .lines
            .iter()
            .map(|line| {
                let verdict = match &line.verdict {
                    Verdict::Same => "same",
                    Verdict::Mapped(_) => "mapped",
                    Verdict::Ignored(_) => "ignored",
                    Verdict::Refused(_) => "refused",
                };
                (line.place.line, line.text.as_str(), verdict)
            })
            .collect();
        let wanted = [
            (2, "listener 1883", "same"),
            (3, "allow_anonymous true", "same"),
            (4, "maximum_qos 1", "mapped"),
            (5, "autosave_interval 1800", "ignored"),
            (6, "include_dir /d", "same"),
            (1, "max_inflight_messages 5 # few", "mapped"),
            (7, "plugin /usr/lib/x.so", "refused"),
            (8, "nonsense 1", "refused"),
            (9, "connection east", "ignored"),
            (10, "address east.example", "ignored"),
            (11, "topic # both", "ignored"),
            (12, "remote_username me", "ignored"),
            (13, "remote_password ***", "ignored"),
        ];
        assert_eq!(said, wanted);
        assert!(migration.others.is_empty() && !migration.is_accepted());
        let migration = Migration::of(&files, Path::new("/absent"));
        assert_eq!((migration.lines.len(), migration.others.len()), (0, 1));
        assert!(!migration.is_accepted());
    }

    const TEXT: &str = "# comment\nlistener 1883\nallow_anonymous true\nmaximum_qos 1\n\
        autosave_interval 1800\ninclude_dir /d\nplugin /usr/lib/x.so\nnonsense 1\n\
        connection east\naddress east.example\ntopic # both\nremote_username me\n\
        remote_password secret\n";
}
