//! Every row: its name is one of Mosquitto's or ours, its example lands in the field it should
//! (golden file `tests/rows.golden`), its value is checked from both sides.

mod support;

use std::fmt::Write as _;
use std::path::Path;

use mqttd_conf::{
    Config, Directive, Meaning, Memory, PluginLine, Scope, Status, Value, find, rows,
};

/// Every option of Mosquitto 2.0 and 2.1, and those of older files that it still knows.
const MOSQUITTO: &str = "
    accept_protocol_versions acl_file address addresses allow_anonymous allow_duplicate_messages
    allow_zero_length_clientid auth_opt_x auth_plugin auth_plugin_deny_special_chars auto_id_prefix
    autosave_interval autosave_on_changes bind_address bind_interface bridge_alpn
    bridge_attempt_unsubscribe bridge_bind_address bridge_cafile bridge_capath bridge_certfile
    bridge_ciphers bridge_ciphers_tls1.3 bridge_identity bridge_insecure bridge_keyfile
    bridge_max_packet_size bridge_max_topic_alias bridge_outgoing_retain bridge_protocol_version
    bridge_psk bridge_receive_maximum bridge_reload_type bridge_require_ocsp
    bridge_session_expiry_interval bridge_tcp_keepalive bridge_tcp_user_timeout
    bridge_tls_use_os_certs bridge_tls_version cafile capath certfile check_retain_source ciphers
    ciphers_tls1.3 cleansession clientid clientid_prefixes connection connection_messages crlfile
    dhparamfile disable_client_cert_date_checks enable_control_api enable_proxy_protocol
    global_max_clients global_max_connections global_plugin http_dir idle_timeout include_dir
    keepalive_interval keyfile listener listener_allow_anonymous listener_auto_id_prefix
    local_cleansession local_clientid local_password local_username log_dest log_facility
    log_timestamp log_timestamp_format log_type max_connections max_inflight_bytes
    max_inflight_messages max_keepalive max_packet_size max_qos max_queued_bytes
    max_queued_messages max_topic_alias max_topic_alias_broker maximum_qos memory_limit
    message_size_limit mount_point notification_topic notifications notifications_local_only
    packet_buffer_size password password_file per_listener_settings persistence persistence_file
    persistence_location persistent_client_expiration pid_file plugin plugin_load plugin_opt_x
    plugin_use port protocol proxy_protocol_v2_require_tls psk_file psk_hint queue_qos0_messages
    remote_clientid remote_password remote_username require_certificate restart_timeout
    retain_available retain_expiry_interval retained_persistence retry_interval round_robin
    set_tcp_nodelay socket_domain start_type sys_interval threshold tls_engine
    tls_engine_kpass_sha1 tls_keyform tls_version topic try_private upgrade_outgoing_qos
    use_identity_as_username use_subject_as_username use_username_as_clientid user username
    websockets_headers_size websockets_log_level websockets_origin
    store_clean_interval ffdc_output max_log_entries trace_level trace_output";

const OURS: &str = "
    max_subscriptions max_topic_levels max_message_rate max_byte_rate rate_excess
    max_subscribe_rate max_connect_rate max_login_failures max_login_failures_user
    login_ban_time login_failure_delay log_format
    check_payload_format response_information
    durability threads shards trusted_proxy unix_socket_mode";

#[test]
fn every_option_of_mosquitto_has_a_row_and_every_row_is_known() {
    let known: Vec<&str> = MOSQUITTO.split_whitespace().chain(OURS.split_whitespace()).collect();
    for name in &known {
        assert!(find(name).is_some(), "{name} has no row");
    }
    for row in rows() {
        assert!(known.iter().any(|name| row.is_named(name)), "{} is in no list", row.name);
    }
}

/// What has to stand with an example so that it makes sense.
fn companions(name: &str) -> &'static str {
    match name {
        "certfile" => "keyfile /k",
        "keyfile" => "certfile /c",
        "require_certificate" => "certfile /c\nkeyfile /k\ncafile /ca",
        "cafile"
        | "capath"
        | "crlfile"
        | "use_identity_as_username"
        | "tls_version"
        | "use_subject_as_username"
        | "ciphers"
        | "ciphers_tls1.3"
        | "disable_client_cert_date_checks" => "certfile /c\nkeyfile /k",
        "http_dir" | "trusted_proxy" => "protocol websockets",
        "proxy_protocol_v2_require_tls" => "enable_proxy_protocol 2",
        "psk_hint" => "psk_file /p",
        "durability" => "persistence true",
        "bridge_certfile" => "bridge_keyfile /k",
        "bridge_keyfile" => "bridge_certfile /c",
        "bridge_identity" => "bridge_psk 00",
        "bridge_psk" => "bridge_identity i",
        "remote_password" => "remote_username u",
        "plugin" | "global_plugin" => "plugin_opt_config_file /d.json",
        "plugin_load" => "plugin_opt_config_file /d.json\nplugin_use dynsec",
        _ => "",
    }
}

/// A file with the section of the row, without its line.
fn base(row: &Directive) -> &'static str {
    match (&row.meaning, row.scope()) {
        (Meaning::Section(..), _) => "",
        (_, Scope::Listener) if row.name == "listener_allow_anonymous" => {
            "listener 1883\npassword_file p\n"
        }
        (_, Scope::Listener) => "listener 1883\nlistener_allow_anonymous true\n",
        (Meaning::Plugin(PluginLine::Use), _) => {
            "plugin_load dynsec /mosquitto_dynamic_security.so\nplugin_opt_config_file /d.json\n"
        }
        (Meaning::Plugin(PluginLine::Option), _) => {
            "plugin /mosquitto_dynamic_security.so\nplugin_opt_config_file /d.json\n"
        }
        (_, Scope::Bridge) => "connection one\naddress host\ntopic t\n",
        _ => "",
    }
}

/// The same with its line.
fn file_with(row: &Directive, line: &str) -> String {
    match row.name {
        "connection" => format!("{line}\naddress host\ntopic t\n"),
        "address" => format!("connection one\ntopic t\n{line}\n"),
        "topic" => format!("connection one\naddress host\n{line}\n"),
        _ => format!("{}{line}\n{}\n", base(row), companions(row.name)),
    }
}

/// Rows whose example leaves the configuration as it is.
fn is_idle(row: &Directive) -> bool {
    matches!(row.status, Status::Unnecessary(_))
        || ["include_dir", "tls_keyform"].contains(&row.name)
}

fn load(text: &str) -> Result<String, Vec<String>> {
    let source = Memory::default().with("/m", text).with("/etc/mqttd/conf.d/a.conf", "");
    match Config::load(&source, Path::new("/m")) {
        Ok((config, _)) => Ok(format!("{config:#?}")),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn examples_land_where_they_should() {
    let mut out = String::new();
    for row in rows() {
        let _ = writeln!(out, "{}", row.example);
        let base = load(base(row)).unwrap();
        match (row.status, load(&file_with(row, row.example))) {
            (Status::Refused(_), Err(errors)) => {
                let _ = writeln!(out, "    {}", errors.join("\n    "));
            }
            (Status::Refused(_), Ok(_)) => panic!("{} is not refused", row.name),
            (_, Err(errors)) => panic!("{}: {errors:?}", row.example),
            (_, Ok(found)) => {
                let added = support::added_lines(&base, &found);
                assert!(!added.is_empty() || is_idle(row), "{} changes nothing", row.example);
                out.push_str(&added);
            }
        }
    }
    support::check_golden(Path::new("tests/rows.golden"), &out);
}

/// Values that `row` must take and must not take.
fn values(row: &Directive) -> (Vec<String>, Vec<String>) {
    match &row.meaning {
        Meaning::Global(value) => values_of(row, value),
        Meaning::Listener(value) | Meaning::DefaultListener(value) => values_of(row, value),
        Meaning::Auth(value) => values_of(row, value),
        Meaning::Bridge(value) => values_of(row, value),
        Meaning::Plugin(_) | Meaning::Section(..) => forms(row.name),
    }
}

fn values_of<T>(row: &Directive, value: &Value<T>) -> (Vec<String>, Vec<String>) {
    let all = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    match value {
        Value::Flag(_) => (
            all(&["true", "false", "1", "0", "true # yes", "true  #yes", "true yes"]),
            all(&["", "yes", "True", "2", "#true", "truefalse"]),
        ),
        Value::Integer(min, max, _) => (
            vec![min.to_string(), max.to_string(), format!("{max} # most"), format!("{max:#x}")],
            vec![
                (i128::from(*min) - 1).to_string(),
                (i128::from(*max) + 1).to_string(),
                format!("{max}k"),
                String::new(),
                "many".to_owned(),
            ],
        ),
        Value::Text(_) => (all(&["a", "a b", "ü#", "#a"]), all(&[""])),
        Value::Path(_) => (all(&["/a", "a b", "/ü#"]), all(&["", "# /a"])),
        Value::Parsed(..) => forms(row.name),
        Value::Ignored => (all(&["", "a", "1 # b"]), Vec::new()),
    }
}

/// Values of the rows with a form of their own.
fn forms(name: &str) -> (Vec<String>, Vec<String>) {
    let (good, bad): (&[&str], &[&str]) = match name {
        "plugin" | "global_plugin" => (
            &["/a/mosquitto_dynamic_security.so", "/a/dynamic-security.so # ours"],
            &["", "/a.so", "/dynamic_security/a.so"],
        ),
        "plugin_load" => (
            &["dynsec /mosquitto_dynamic_security.so", "dynsec  /dynamic-security.so"],
            &["", "dynsec", "dynsec /a.so"],
        ),
        "plugin_use" => (&["dynsec", "dynsec # ours"], &["", "absent"]),
        "plugin_opt_KEY" => (&["/d.json", "/d.json # ours", ""], &[]),
        "include_dir" => (&["/etc/mqttd/conf.d", "/etc/mqttd/conf.d # more"], &["", "/absent"]),
        "listener" => (
            &["1", "65535 ::1", "0 /s", "1883 # all", "1883 a # b"],
            &["", "0", "65536", "-1", "mqtt", "1883 a b"],
        ),
        "connection" => (&["a", "a b", "a # b"], &[""]),
        "persistent_client_expiration" => {
            (&["1s", "2h", "3d # b", "4w", "5m", "6y"], &["", "1", "d", "0d", "1x", "-1d"])
        }
        "durability" => (
            &["none", "process", "sync", "sync a/#", "sync #", "sync # all"],
            &["", "full", "sync a#b", "sync +a"],
        ),
        "log_dest" => (
            &["none", "stdout", "stderr", "syslog", "journald", "topic", "file /a b # c"],
            &["", "file", "dlt", "android", "stdout x"],
        ),
        "log_type" => (&["all", "none", "error", "internal # x"], &["", "loud", "error warning"]),
        "auto_id_prefix" | "listener_auto_id_prefix" => (
            &["a", "12345678901234567890123456789012345678901234567890"],
            &["", "123456789012345678901234567890123456789012345678901"],
        ),
        "log_format" => (&["text", "json # lines"], &["", "xml"]),
        "rate_excess" => (&["slow", "disconnect # at once"], &["", "drop"]),
        "protocol" => (&["mqtt", "websockets", "http_api"], &["", "mqtts", "ws"]),
        "accept_protocol_versions" => {
            (&["3", "4,5", "3, 4, 5", "4 5", ",4,"], &["", "6", ",", "4,6"])
        }
        "socket_domain" => (&["ipv4", "ipv6"], &["", "unix"]),
        "trusted_proxy" => {
            (&["10.0.0.1", "10.0.0.0/8 # lan", "::1", "fd00::/8"], &["", "proxy", "10.0.0.0/33"])
        }
        "unix_socket_mode" => (&["0660", "777", "0600 # us"], &["", "0888", "1777", "rw"]),
        "mount_point" => (&["a/", "a b"], &["", "a/#", "+/a"]),
        "tls_version" | "bridge_tls_version" => {
            (&["tlsv1.2", "tlsv1.3 # new"], &["", "tlsv1.1", "1.2"])
        }
        "tls_keyform" => (&["pem"], &["", "engine"]),
        "address" => (&["a", "a:1 b:2", "[::1]:1883", "a # b"], &["", "a:0", "a:b"]),
        "topic" => (
            &["#", "# out # all", "a in 2 l/ r/", "\"a b\" both", "\"\" in 0 a b"],
            &["", "a up", "a in 3", "\"\"", "a#"],
        ),
        "bridge_protocol_version" => (&["mqttv31", "mqttv311", "mqttv50"], &["", "5"]),
        "start_type" => (&["automatic", "lazy", "once"], &["", "manual"]),
        "restart_timeout" => (&["5", "5 30", "5 30 60"], &["", "0", "30 5", "a"]),
        "bridge_reload_type" => (&["lazy", "immediate"], &["", "now"]),
        "bridge_tcp_keepalive" => (&["1 2 3"], &["", "1 2", "0 1 1", "1 2 3 4"]),
        "bridge_psk" => (&["00fF"], &["", "0", "xy"]),
        _ => panic!("{name} has no values to try"),
    };
    let all = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    (all(good), all(bad))
}

#[test]
fn values_are_checked_from_both_sides() {
    for row in rows().filter(|row| !matches!(row.status, Status::Refused(_))) {
        let name = row.name.replace("KEY", "x");
        let (good, bad) = values(row);
        for value in good {
            let line = format!("{name} {value}");
            if let Err(errors) = load(&file_with(row, &line)) {
                panic!("{line}: {errors:?}");
            }
        }
        for value in bad {
            let line = format!("{name} {value}");
            let errors = load(&file_with(row, &line)).expect_err(&line);
            let about = |error: &String| error.contains(&format!(": {name} "));
            let is_include = row.name == "include_dir" && value == "/absent";
            assert!(errors.iter().any(about) || is_include, "{line}: {errors:?}");
        }
    }
}

#[test]
fn text_and_paths_stand_once_and_the_last_flag_or_number_counts() {
    let check = |text: &str, wanted: Result<&str, &str>| match (load(text), wanted) {
        (Ok(found), Ok(wanted)) => assert!(found.contains(wanted), "{text}: {found}"),
        (Err(errors), Err(wanted)) => assert_eq!(errors, [wanted], "{text}"),
        (found, _) => panic!("{text}: {found:?}"),
    };
    check(
        "pid_file a\npid_file a",
        Err("/m:2: pid_file is already given at /m:1; remove one of the two lines"),
    );
    check("max_keepalive 5\nmax_keepalive 6", Ok("max_keepalive: Some(\n            6,"));
    check("listener 1\nmax_qos 1\nlistener 2\nmax_qos 0", Ok("max_qos: 1"));
    check("listener 1\nmax_qos 1\nmaximum_qos 0", Ok("max_qos: 0"));
    check("log_type error\nlog_type debug", Ok("\"debug\""));
}

#[test]
fn secrets_are_not_shown() {
    let secrets = "remote_username u\nremote_password hidden\nlocal_password hidden\n\
                   bridge_identity i\nbridge_psk 5ec5e7\n";
    let text = format!("connection one\naddress host\ntopic t\n{secrets}");
    let source = Memory::default().with("/m", text.as_str());
    let (config, _) = Config::load(&source, Path::new("/m")).unwrap();
    let bridge = &config.bridges[0];
    assert_eq!(bridge.remote.password.as_deref(), Some("hidden"));
    assert_eq!(bridge.local.password.as_deref(), Some("hidden"));
    assert_eq!(bridge.tls.psk.key.as_deref(), Some("5ec5e7"));
    let shown = format!("{config:?}");
    assert!(!shown.contains("hidden") && !shown.contains("5ec5e7"), "{shown}");

    let errors = load(&text.replace("5ec5e7", "5ec5e")).unwrap_err();
    assert!(errors.iter().all(|error| !error.contains("5ec5e")), "{errors:?}");
}

#[test]
fn writing_down_the_default_of_what_is_missing_is_no_mistake() {
    let text = "listener 1\nallow_anonymous true\nproxy_protocol_v2_require_tls false";
    assert!(load(text).is_ok());
    assert!(load(&text.replace("false", "true")).is_err());
    let source = Memory::default().with("/m", "enable_control_api false # as before");
    let (_, warnings) = Config::load(&source, Path::new("/m")).unwrap();
    assert_eq!(warnings.len(), 1, "only the comment: {warnings:?}");
}
