//! Rules across options: from what was written to what it means. Certificates come in pairs, a
//! configuration without a listener is local only, global options reach the listeners.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::{
    Address, Auth, Bridge, BridgeVersion, Config, Durability, Listener, LogDestination, Protocol,
    ProxyHeader, Psk, Tls,
};
use crate::directive::Scope;
use crate::directives::find;
use crate::line::Place;
use crate::load::Report;
use crate::plugin::PluginsSettled;
use crate::raw::{AuthDraft, BridgeDraft, Draft, Lines, ListenerDraft};

/// Turns a draft into a configuration; what does not go together is reported.
pub(crate) fn settle(draft: Draft, report: &mut Report) -> Config {
    let Draft {
        mut config,
        auth,
        destinations,
        types,
        default_listener,
        listeners,
        bridges,
        plugins,
        ..
    } = draft;
    let plugins = plugins.settle(report);
    if let Some(destinations) = destinations {
        config.logging.destinations = destinations;
    }
    config.logging.types = types.unwrap_or(config.logging.types);
    check_logging(&config, &draft.lines, report);
    check_durability(&config, &draft.lines, report);

    let has_own_lines = listener_lines(&default_listener.lines).next().is_some();
    // As in Mosquitto: saying what is so anyhow (`protocol mqtt`) opens nothing.
    let opens_default = has_own_lines && !default_listener.is_default();
    let names_address =
        ["port", "bind_address"].iter().any(|name| default_listener.lines.contains_key(name));
    config.general.is_local_only = listeners.is_empty() && !names_address;
    let is_local_only = config.general.is_local_only;
    config.security.auth = merge(&auth, &Auth::default(), is_local_only);
    config.security.auth.dynamic = plugins.reaches_all();
    plugins.give_files(None, &mut config.security.auth, report);
    let settled = Globals {
        auth: config.security.auth.clone(),
        per_listener: config.general.per_listener_settings,
        is_local_only,
    };
    note_default_listener(&default_listener, !listeners.is_empty(), &settled, report);
    if is_local_only || opens_default {
        let own = (&plugins, None);
        config.listeners.push(settle_listener(default_listener, &settled, own, report));
    }
    for (index, listener) in listeners.into_iter().enumerate() {
        let own = (&plugins, Some(index));
        config.listeners.push(settle_listener(listener, &settled, own, report));
    }
    config.security.dynamic = plugins.security;
    if is_local_only {
        config.open_local_only(&[]);
    }
    check_addresses(&config.listeners, report);
    config.bridges = settle_bridges(bridges, report);
    config
}

/// What every listener inherits.
struct Globals {
    auth: Auth,
    per_listener: bool,
    is_local_only: bool,
}

/// The options that only a listener has.
fn listener_lines(lines: &Lines) -> impl Iterator<Item = (&'static str, &Place)> {
    let is_own = |name: &str| find(name).is_some_and(|row| row.scope() != Scope::Either);
    lines.iter().filter(move |(name, _)| is_own(name)).map(|(name, place)| (*name, place))
}

fn first_line(lines: &Lines) -> Option<(&'static str, &Place)> {
    lines.iter().min_by_key(|(_, place)| *place).map(|(name, place)| (*name, place))
}

fn check_logging(config: &Config, lines: &Lines, report: &mut Report) {
    let files = config
        .logging
        .destinations
        .iter()
        .filter(|destination| matches!(destination, LogDestination::File(_)));
    if let (true, Some(place)) = (files.count() > 1, lines.get("log_dest")) {
        report.conflict(place, "log_dest file is given twice", "write to one file");
    }
}

fn check_durability(config: &Config, lines: &Lines, report: &mut Report) {
    let rules = &config.persistence.durability;
    let promises = rules.iter().any(|rule| rule.level > Durability::None);
    if let (true, false, Some(place)) =
        (promises, config.persistence.enabled, lines.get("durability"))
    {
        let what = "durability promises what persistence false cannot keep";
        report.conflict(place, what, "add persistence true");
    }
}

/// Says what options above the first `listener` line do, which surprises people.
fn note_default_listener(
    draft: &ListenerDraft,
    has_listeners: bool,
    globals: &Globals,
    report: &mut Report,
) {
    let own = listener_lines(&draft.lines).min_by_key(|(_, place)| *place);
    let names_address =
        draft.lines.contains_key("port") || draft.lines.contains_key("bind_address");
    match own {
        Some((name, place)) if has_listeners && !names_address && !draft.is_default() => report
            .note(
                place,
                format!(
                    "{name} stands above every listener line and opens the default listener, port \
                 1883, beside them; move it below the listener it is meant for"
                ),
            ),
        Some((name, place)) if globals.is_local_only => report.note(
            place,
            format!(
                "{name} belongs to the default listener, which only this machine can reach; add \
                 'listener 1883' above it to let others in"
            ),
        ),
        _ => {}
    }
    let opens = globals.is_local_only || (own.is_some() && !draft.is_default());
    if let (true, false, Some((name, place))) =
        (globals.per_listener, opens, first_line(&draft.lines))
    {
        report.note(
            place,
            format!(
                "{name} stands above every listener line and applies to none of them, because \
                 of per_listener_settings true"
            ),
        );
    }
}

fn merge(draft: &AuthDraft, base: &Auth, is_local_only: bool) -> Auth {
    let path = |own: &Option<PathBuf>, base: &Option<PathBuf>| own.clone().or_else(|| base.clone());
    Auth {
        allow_anonymous: draft.allow_anonymous.unwrap_or(base.allow_anonymous || is_local_only),
        password_file: path(&draft.password_file, &base.password_file),
        acl_file: path(&draft.acl_file, &base.acl_file),
        psk_file: path(&draft.psk_file, &base.psk_file),
        // Set once it is known which listener it is.
        dynamic: false,
        allow_zero_length_clientid: draft
            .allow_zero_length_clientid
            .unwrap_or(base.allow_zero_length_clientid),
        auto_id_prefix: draft.auto_id_prefix.clone().unwrap_or_else(|| base.auto_id_prefix.clone()),
    }
}

fn settle_listener(
    draft: ListenerDraft,
    globals: &Globals,
    (plugins, index): (&PluginsSettled, Option<usize>),
    report: &mut Report,
) -> Listener {
    let mut listener = draft.listener;
    let place = listener
        .place
        .clone()
        .or_else(|| listener_lines(&draft.lines).map(|(_, place)| place).min().cloned());
    listener.place.clone_from(&place);
    listener.auth = if globals.per_listener {
        let mut own = merge(&draft.auth, &Auth::default(), globals.is_local_only);
        plugins.give_files(Some(index), &mut own, report);
        own
    } else {
        globals.auth.clone()
    };
    listener.auth.dynamic = plugins.reaches(index);
    if let Some(allowed) = draft.listener_allow_anonymous {
        listener.auth.allow_anonymous = allowed;
    }
    if let Some(prefix) = draft.listener_auto_id_prefix {
        listener.auth.auto_id_prefix = prefix;
    }
    listener.proxy = draft
        .proxy_version
        .map(|version| ProxyHeader { version, requires_tls: draft.proxy_requires_tls });
    let reads_v2 = draft.proxy_version == Some(2);
    if let (true, false, Some(place)) =
        (draft.proxy_requires_tls, reads_v2, draft.lines.get("proxy_protocol_v2_require_tls"))
    {
        let what = "proxy_protocol_v2_require_tls has nothing to look at";
        report.conflict(place, what, "add enable_proxy_protocol 2, or remove it");
    }
    listener.psk = settle_psk(&draft.tls, &listener.auth, &draft.lines, report);
    if listener.psk.is_none() {
        listener.tls = settle_tls(draft.tls, &draft.lines, report);
    }
    check_identity(&listener, &draft.lines, report);
    check_web(&listener, &draft.lines, report);
    if let Some(place) = place.filter(|_| !globals.is_local_only) {
        note_closed(&listener, &place, report);
    }
    listener
}

/// Options that mean nothing on a listener without a certificate, and whether leaving them
/// without effect would let in what they were to keep out.
const NEED_CERTIFICATE: &[(&str, bool)] = &[
    ("cafile", true),
    ("capath", true),
    ("crlfile", true),
    ("require_certificate", true),
    ("tls_version", false),
    ("ciphers", false),
    ("ciphers_tls1.3", false),
    ("disable_client_cert_date_checks", false),
    ("use_identity_as_username", false),
    ("use_subject_as_username", false),
];

/// `psk_hint` turns pre-shared keys on.
fn settle_psk(tls: &Tls, auth: &Auth, lines: &Lines, report: &mut Report) -> Option<Psk> {
    let (hint, place) = (tls.psk_hint.clone()?, lines.get("psk_hint")?);
    for name in ["certfile", "keyfile"] {
        if let Some(place) = lines.get(name) {
            let what = format!("psk_hint and {name} exclude each other on one listener");
            report.conflict(place, what, "give each a listener of its own");
        }
    }
    if auth.psk_file.is_none() {
        let what = "psk_hint turns pre-shared keys on, and there are none";
        report.conflict(place, what, "add psk_file PATH");
    }
    const CERTIFICATES: [&str; 6] = [
        "cafile",
        "capath",
        "crlfile",
        "require_certificate",
        "use_subject_as_username",
        "disable_client_cert_date_checks",
    ];
    for name in CERTIFICATES {
        if let Some(place) = lines.get(name) {
            report.note(place, format!("{name} has no effect beside psk_hint"));
        }
    }
    Some(Psk {
        hint,
        version_min: tls.version_min,
        ciphers: tls.ciphers.clone(),
        ciphers_tls13: tls.ciphers_tls13.clone(),
    })
}

const PROXY: &str = "enable_proxy_protocol";

fn settle_tls(tls: Tls, lines: &Lines, report: &mut Report) -> Option<Tls> {
    match (lines.get("certfile"), lines.get("keyfile")) {
        (Some(place), None) => {
            report.conflict(place, "certfile stands without keyfile", "add keyfile PATH");
            None
        }
        (None, Some(place)) => {
            report.conflict(place, "keyfile stands without certfile", "add certfile PATH");
            None
        }
        (None, None) => {
            for (name, guards) in NEED_CERTIFICATE {
                let Some(place) = lines.get(name) else { continue };
                // A PROXY header may tell the name in a certificate that the proxy has seen.
                if *name == "use_identity_as_username" && lines.contains_key(PROXY) {
                    continue;
                }
                let is_off = *name == "require_certificate" && !tls.require_certificate;
                if *guards && !is_off {
                    let what = format!("{name} has no effect without certfile and keyfile");
                    report.conflict(place, what, "add both, or remove it");
                } else {
                    report.note(place, format!("{name} has no effect without certfile"));
                }
            }
            None
        }
        (Some(_), Some(_)) => {
            if let (true, None, None, Some(place)) = (
                tls.require_certificate,
                &tls.cafile,
                &tls.capath,
                lines.get("require_certificate"),
            ) {
                let what = "require_certificate true has no authority to check certificates with";
                report.conflict(place, what, "add cafile PATH or capath PATH");
            }
            Some(tls)
        }
    }
}

fn check_identity(listener: &Listener, lines: &Lines, report: &mut Report) {
    let identity = listener.identity;
    if let (true, true, Some(place)) = (
        identity.use_identity_as_username,
        identity.use_subject_as_username,
        lines.get("use_subject_as_username"),
    ) {
        let what = "use_identity_as_username and use_subject_as_username exclude each other";
        report.conflict(place, what, "remove one of them");
    }
}

fn check_web(listener: &Listener, lines: &Lines, report: &mut Report) {
    if let (true, Some(place)) =
        (listener.protocol != Protocol::Websockets, lines.get("websockets_origin"))
    {
        report.note(place, "websockets_origin has no effect without protocol websockets");
    }
    for name in ["http_dir", "trusted_proxy"] {
        if let (Protocol::Mqtt, Some(place)) = (listener.protocol, lines.get(name)) {
            let what = "has no effect without protocol websockets or http_api";
            report.note(place, format!("{name} {what}"));
        }
    }
}

/// A listener that refuses everybody is allowed and rarely meant.
fn note_closed(listener: &Listener, place: &Place, report: &mut Report) {
    let is_secure = listener.tls.is_some() || listener.psk.is_some();
    let names_by_certificate = is_secure
        && (listener.identity.use_identity_as_username
            || listener.identity.use_subject_as_username);
    let auth = &listener.auth;
    let has_users = auth.password_file.is_some() || auth.dynamic;
    if !auth.allow_anonymous && !has_users && !names_by_certificate {
        let address = &listener.address;
        report.note(
            place,
            format!(
                "nobody can connect to {address}: anonymous clients are not allowed and there is \
                 no password_file; add password_file PATH or allow_anonymous true"
            ),
        );
    }
}

fn check_addresses(listeners: &[Listener], report: &mut Report) {
    let mut seen: BTreeMap<String, &Option<Place>> = BTreeMap::new();
    for listener in listeners {
        let domain = match &listener.address {
            Address::Tcp { .. } => listener.socket_domain,
            Address::Unix { .. } => None,
        };
        let key = format!("{} {domain:?}", listener.address);
        let (Some(first), Some(place)) = (seen.insert(key, &listener.place), &listener.place)
        else {
            continue;
        };
        let first = first.as_ref().map_or_else(String::new, |first| format!(" at {first}"));
        let what = format!("a listener on {} is already opened{first}", listener.address);
        report.conflict(place, what, "give each listener its own port or address");
    }
}

fn settle_bridges(drafts: Vec<BridgeDraft>, report: &mut Report) -> Vec<Bridge> {
    let mut first: BTreeMap<String, Place> = BTreeMap::new();
    let mut bridges = Vec::with_capacity(drafts.len());
    for BridgeDraft { bridge, lines } in drafts {
        if let Some(place) = bridge.place.clone() {
            check_bridge(&bridge, &place, &lines, report);
            if let Some(before) = first.get(&bridge.name) {
                let what = format!("a bridge named '{}' already stands at {before}", bridge.name);
                report.conflict(&place, what, "give each bridge its own name");
            } else {
                first.insert(bridge.name.clone(), place);
            }
        }
        bridges.push(bridge);
    }
    bridges
}

fn check_bridge(bridge: &Bridge, place: &Place, lines: &Lines, report: &mut Report) {
    let name = &bridge.name;
    if bridge.addresses.is_empty() && !lines.contains_key("address") {
        let what = format!("bridge '{name}' has no remote broker");
        report.conflict(place, what, "add address HOST:PORT below it");
    }
    if bridge.topics.is_empty() && !lines.contains_key("topic") {
        let what = format!("bridge '{name}' carries no topic");
        report.conflict(place, what, "add topic PATTERN below it");
    }
    let both = |one: &str, other: &str, report: &mut Report| {
        if let (Some(place), None) = (lines.get(one), lines.get(other)) {
            report.conflict(place, format!("{one} stands without {other}"), "give both or neither");
        }
    };
    both("bridge_certfile", "bridge_keyfile", report);
    both("bridge_keyfile", "bridge_certfile", report);
    both("bridge_identity", "bridge_psk", report);
    both("bridge_psk", "bridge_identity", report);
    // 5.0 allows a password alone, 3.1.1 does not (3.1.2.9).
    if bridge.session.version != BridgeVersion::V5 {
        both("remote_password", "remote_username", report);
    }
    if let (true, Some(place)) = (bridge.tls.is_enabled(), lines.get("bridge_psk")) {
        let what = "bridge_psk and certificates exclude each other";
        report.conflict(place, what, "remove one of them");
    }
}
