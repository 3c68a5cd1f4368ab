//! Every directive, by group, in the order of the manual. To let a feature arrive, change the
//! `status` of its row; parser, warnings and manual follow.

mod auth;
mod bridge;
mod deprecated;
mod general;
mod limits;
mod listener;
mod logging;
mod messages;
mod persistence;
mod plugin;
mod tls;
mod web;

use crate::directive::Directive;

/// A chapter of the manual.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Its title.
    pub title: &'static str,
    /// What its directives have in common.
    pub about: &'static str,
    /// Its rows.
    pub rows: &'static [Directive],
}

/// Every group.
pub const GROUPS: &[Group] = &[
    Group {
        title: "General",
        about: "The process, its files and its threads.",
        rows: general::ROWS,
    },
    Group {
        title: "Listeners",
        about: "Each `listener` line opens one; the options below it are its own. Without any \
                listener, `mqttd` listens on 127.0.0.1 and ::1, port 1883, and lets anonymous \
                clients in. Listener options above the first `listener` line belong to the \
                default listener.",
        rows: listener::ROWS,
    },
    Group {
        title: "TLS",
        about: "A listener with `certfile` and `keyfile` speaks TLS. Files are PEM.",
        rows: tls::ROWS,
    },
    Group {
        title: "WebSocket and HTTP",
        about: "Options of listeners with `protocol websockets` or `protocol http_api`.",
        rows: web::ROWS,
    },
    Group {
        title: "Authentication and authorisation",
        about: "Options for the broker; with `per_listener_settings true` those marked so belong \
                to the listener above them.",
        rows: auth::ROWS,
    },
    Group {
        title: "Messages and sessions",
        about: "How messages are kept and passed on.",
        rows: messages::ROWS,
    },
    Group {
        title: "Limits",
        about: "Bounds of the broker and of each client.",
        rows: limits::ROWS,
    },
    Group {
        title: "Persistence",
        about: "What is kept on disk, and when it counts as kept.",
        rows: persistence::ROWS,
    },
    Group { title: "Logging", about: "Where log lines go, and which.", rows: logging::ROWS },
    Group {
        title: "Bridges",
        about: "Each `connection` line begins a bridge to another broker; the options below it \
                are its own.",
        rows: bridge::ROWS,
    },
    Group {
        title: "Plugins",
        about: "Mosquitto's plugins are C libraries that `mqttd` cannot load. What three \
                of those that come with Mosquitto do is built in and turned on by the plugin's \
                own lines; for storage there is `persistence`.",
        rows: plugin::ROWS,
    },
    Group {
        title: "Accepted for old files",
        about: "Directives of older files that nothing is left to do for.",
        rows: deprecated::ROWS,
    },
];

/// Every row, in the order of the manual.
pub fn rows() -> impl Iterator<Item = &'static Directive> {
    GROUPS.iter().flat_map(|group| group.rows)
}

/// The row of a name or an alias.
#[must_use]
pub fn find(name: &str) -> Option<&'static Directive> {
    rows().find(|row| row.is_named(name))
}

/// What to do instead of loading this plugin.
pub(crate) fn instead_of_plugin(path: &str) -> &'static str {
    plugin::instead_of(path)
}

/// The known name that takes the fewest edits to reach from `name`, if that is a third of its
/// length or less.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    let limit = (name.chars().count() / 3).max(2);
    let names = rows().flat_map(|row| std::iter::once(&row.name).chain(row.aliases));
    let lower = name.to_ascii_lowercase();
    names
        .map(|known| (edit_distance(&lower, known), *known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= limit)
        .map(|(_, known)| known)
}

/// Names longer than this are no misspelling of a row; bounds the work of [`edit_distance`].
const NAME_BYTES_MAX: usize = 64;

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn edit_distance(a: &str, b: &str) -> usize {
    if a.len() > NAME_BYTES_MAX {
        return usize::MAX;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// A count where zero and less mean no bound.
fn positive(number: i64) -> Option<u32> {
    u32::try_from(number).ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once() {
        let mut names: Vec<&str> =
            rows().flat_map(|row| std::iter::once(&row.name).chain(row.aliases)).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn misspellings_find_their_name() {
        for (wrong, right) in [
            ("allow_anonymus", Some("allow_anonymous")),
            ("listner", Some("listener")),
            ("Listener", Some("listener")),
            ("passwordfile", Some("password_file")),
            ("max_conections", Some("max_connections")),
            ("prot", Some("port")),
            ("zzzzzzzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong), right, "{wrong}");
        }
        assert_eq!(nearest(&"x".repeat(100_000)), None);
    }

    #[test]
    fn names_with_a_key_stand_for_many() {
        assert_eq!(find("plugin_opt_db_path").map(|row| row.name), Some("plugin_opt_KEY"));
        assert_eq!(find("auth_opt_x").map(|row| row.name), Some("plugin_opt_KEY"));
        assert!(find("plugin_opt_").is_none());
        assert_eq!(find("maximum_qos").map(|row| row.name), Some("max_qos"));
    }
}
